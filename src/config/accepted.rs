//! The warnings that an operator has accepted.
//!
//! `accept = ["reveal_unknown_user"]` in a table silences the warning of that name about this table
//! and everything below it. An acceptance that silences nothing is itself a warning.

use super::issues::{Issue, IssueSeverity};
use super::key_path::{FilePosition, KeyPath};
use super::warnings::WarningName;

/// One name in an `accept`, with the place where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AcceptedWarning {
    /// The table that contains the `accept`.
    pub(super) at: KeyPath,
    pub(super) name: WarningName,
    /// The key path and the position of the name itself.
    pub(super) element: (KeyPath, FilePosition),
}

impl AcceptedWarning {
    /// True if this acceptance silences `issue`: the names are equal, and the issue is about the
    /// table or something below it. Nothing else about the issue matters, so later warnings of the
    /// same name are silenced too.
    pub(super) fn covers(&self, issue: &Issue) -> bool {
        issue.severity == IssueSeverity::Warning(self.name) && issue.path.is_within(&self.at)
    }
}

/// Removes the warnings that were accepted, and adds a warning for each acceptance that silences
/// nothing. Errors are never silenced. Called once, when all warnings of the file are known.
pub(super) fn silence(issues: &mut Vec<Issue>, accepted: &[AcceptedWarning]) {
    let is_unused = |one: &&AcceptedWarning| {
        !one.name.is_of_the_day() && !issues.iter().any(|issue| one.covers(issue))
    };
    let unused = accepted.iter().filter(is_unused).map(|one| {
        let (path, position) = one.element.clone();
        Issue {
            position: Some(position),
            path,
            value: format!("{:?}", one.name.as_str()),
            remedy: "accepts a warning that is not given here: leave it out".to_owned(),
            severity: IssueSeverity::Warning(WarningName::AcceptUnused),
        }
    });
    // Collected before anything is removed: an acceptance that silences a warning must be seen to
    // do so.
    let unused: Vec<Issue> = unused.collect();
    issues.retain(|issue| !accepted.iter().any(|one| one.covers(issue)));
    issues.extend(unused);
}
