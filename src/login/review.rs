//! Sessions end when their users change.
//!
//! Looked at before the first connection is accepted, whenever a source says that its users may
//! have changed, and after a reload, which may not know their issuer any more. A source that does
//! not answer is not waited for once for every one of its users.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Services;
use crate::clock::Timestamp;
use crate::identity::SessionId;
use crate::session::{Revoke, Session, StoreError};
use crate::telemetry::audit::{Actor, AuditEvent};
use crate::users::{SourceError, User};

/// How long a review waits for a source that has no answers, all its users together: refusals of
/// some of them cost nothing, silence costs one time-out.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of a review.
#[derive(Debug, Default)]
pub(crate) struct Reviewed {
    pub(crate) ended: usize,
    /// Sessions whose source could not be asked; to be looked at again.
    pub(crate) left: HashSet<SessionId>,
}

/// Ends every session whose user is gone, disabled or not as he was at login: of all, or of
/// `only` those. Sessions whose source cannot be asked stay: their next refresh is answered 503.
///
/// # Errors
/// When the store could not be asked, or not write; what could be ended has been.
pub(crate) async fn review_sessions(
    services: &Services,
    only: Option<&HashSet<SessionId>>,
    now: Timestamp,
) -> Result<Reviewed, StoreError> {
    let mut sessions = services.store.list(None, usize::MAX, now).await?;
    sessions.retain(|session| only.is_none_or(|only| only.contains(&session.id)));
    // What is known here comes first: nobody gains time by a directory that does not answer.
    sessions.sort_by_key(|session| !services.users.is_local(&session.source));
    let (mut reviewed, mut patience) = (Reviewed::default(), Patience::default());
    let mut failed = None;
    for session in sessions {
        let still_is = services.still_is(&session, now);
        match patience.ask(&session.source, still_is).await {
            Some(true) => continue,
            Some(false) => {}
            None => {
                reviewed.left.insert(session.id);
                continue;
            }
        }
        let actor = Actor { address: None, request_id: "-", login: &session.login };
        let event = AuditEvent::Revoked { session: session.id, cause: "the user changed" };
        services.audit.write(now, &actor, &event);
        // In force at once, even where it could not be written: the others must not wait for it.
        let revoked = services.store.revoke(Revoke::Session(session.id), now).await;
        failed = revoked.err().or(failed);
        services.streams.end(session.id);
        reviewed.ended += 1;
    }
    failed.map_or(Ok(reviewed), Err)
}

impl Services {
    /// Whether the user of `session` still is who he was when it began.
    pub(super) async fn still_is(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<bool, SourceError> {
        if let Some(still) = self.still_trades(session, now) {
            return Ok(still);
        }
        let user = self.users.find(&session.source, &session.user_id, &session.username).await?;
        let is_same = |user: &User| {
            // What a source's ids are worth may be configured otherwise now.
            user.version == session.user_version && self.subject(user) == session.subject
        };
        Ok(user.as_ref().is_some_and(is_same))
    }
}

/// How long one review has waited in vain, for each source.
#[derive(Debug, Default)]
pub(super) struct Patience(HashMap<String, Duration>);

impl Patience {
    /// What `source` says; `None` where it cannot say, or has used up this review's patience.
    pub(super) async fn ask<T>(
        &mut self,
        source: &str,
        question: impl Future<Output = Result<T, SourceError>>,
    ) -> Option<T> {
        if self.0.get(source).is_some_and(|waited| *waited >= PATIENCE) {
            return None;
        }
        let asked = Instant::now();
        match question.await {
            Ok(answer) => Some(answer),
            Err(error) => {
                if !self.0.contains_key(source) {
                    tracing::warn!(%error, "users could not be compared with what they have open");
                }
                *self.0.entry(source.to_owned()).or_default() += asked.elapsed();
                None
            }
        }
    }
}
