//! Why users cannot be read from a database, until somebody has seen that they can.
//!
//! Two things look at a database: a probe, which connects and has the query understood, and a
//! login, which runs it. A probe cannot see what only running the query shows, so it does not take
//! back what a login has found there, nor says more than it has seen.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::database::DatabaseError;

/// The evidence that a problem is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverWhen {
    /// The database is reached and understands the query.
    Probed,
    /// The query was run, and its answer could be used.
    Answered,
}

impl OverWhen {
    /// For what running a query has met.
    pub(super) fn of(error: &DatabaseError) -> Self {
        match error {
            DatabaseError::Connect { .. } | DatabaseError::Slow { .. } => Self::Probed,
            DatabaseError::Query { .. }
            | DatabaseError::Rows { .. }
            | DatabaseError::Column { .. }
            | DatabaseError::Twice { .. } => Self::Answered,
        }
    }
}

/// The problem that a source has now, if any.
#[derive(Debug, Default)]
pub(super) struct LastProblem(ArcSwapOption<Problem>);

#[derive(Debug)]
struct Problem {
    text: String,
    over: OverWhen,
}

impl LastProblem {
    /// For the operator.
    pub(super) fn text(&self) -> Option<String> {
        self.0.load().as_deref().map(|problem| problem.text.clone())
    }

    /// Notes a problem of the source called `source`; logged once for as long as it lasts.
    pub(super) fn found(&self, source: &str, cause: &str, over: OverWhen) {
        let text = format!("`{source}`: {cause}");
        let before = self.0.swap(Some(Arc::new(Problem { text: text.clone(), over })));
        if before.is_none_or(|before| before.text != text) {
            tracing::warn!(source, cause, "users cannot be read");
        }
    }

    /// A login has read users.
    pub(super) fn answered(&self, source: &str) {
        if self.0.swap(None).is_some() {
            tracing::info!(source, "users are read from the database again");
        }
    }

    /// A probe has found nothing wrong.
    pub(super) fn probed(&self, source: &str) {
        let problem = self.0.load_full();
        let Some(problem) = problem.filter(|problem| problem.over == OverWhen::Probed) else {
            return;
        };
        // Unless a login has found another meanwhile.
        let before = self.0.compare_and_swap(&Some(problem.clone()), None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &problem)) {
            tracing::info!(
                source,
                "the database is reached again and understands the query; whether it finds users, \
                 the next login shows"
            );
        }
    }
}
