//! Whether answers are right: they are if the file that is made of them passes `check`. So there is
//! one set of rules, that of the configuration.

use std::path::Path;

use super::answers::Answers;
use super::template;
use crate::clock::Clock;
use crate::config::{self, Issue, IssueSeverity};
use crate::server;

/// The problems that `check` has with the file of these answers at `path`. Whether the state folder
/// can be made is left out: that is a matter of the machine and the user that the gateway runs as.
pub(super) fn problems(
    answers: &Answers,
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Vec<Issue> {
    let text = template::gateway_toml(answers);
    let is_error = |issue: &Issue| issue.severity == IssueSeverity::Error;
    match config::parse(&text, path, environment) {
        Err(issues) => issues.iter().filter(|issue| is_error(issue)).cloned().collect(),
        Ok(loaded) => {
            let found = server::check_start(&loaded, Clock::system().now()).into_iter();
            found.filter(|issue| is_error(issue) && issue.path.as_str() != "state.dir").collect()
        }
    }
}
