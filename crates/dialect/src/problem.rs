//! Problems of a dialect, collected while it is checked.
//!
//! Checking does not stop at the first mistake: an operator who writes a dialect should see all of
//! them at once. `config` adds the file and the line.

/// One mistake in a dialect's table. Together the three texts say where it is, what is written
/// there, and what would be accepted. The operator sees them in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectProblem {
    /// Key path within the dialect, for example `endpoint[1].reply.json.token`. Empty if the table
    /// as a whole is meant. `config` puts the path of the dialect in front.
    pub path: String,
    /// The value that is written there; empty if something is missing.
    pub value: String,
    /// A message that says what would be accepted.
    pub message: String,
}

/// Collects problems while a dialect is checked. Each function of the checks gets it and adds what
/// it finds, so that one mistake does not hide the next.
#[derive(Debug, Default)]
pub(super) struct DialectProblems(Vec<DialectProblem>);

impl DialectProblems {
    pub(super) fn add(
        &mut self,
        path: impl Into<String>,
        value: impl ToString,
        message: impl Into<String>,
    ) {
        let path = path.into();
        let value = value.to_string();
        let message = message.into();
        self.0.push(DialectProblem { path, value, message });
    }

    /// Number of problems so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `checked` if there were no problems, otherwise all problems.
    pub(super) fn finish<T>(self, checked: T) -> Result<T, Vec<DialectProblem>> {
        if self.0.is_empty() { Ok(checked) } else { Err(self.0) }
    }
}
