//! What is wrong with a dialect, all of it at once.

/// One thing wrong with a dialect's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Key path within the dialect, for example `endpoint[1].reply.json.token`; empty where the
    /// table as a whole is meant.
    pub path: String,
    /// What stands there; empty where something is missing.
    pub value: String,
    /// What would be accepted.
    pub message: String,
}

/// Collects problems while a dialect is checked.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(
        &mut self,
        path: impl Into<String>,
        value: impl ToString,
        message: impl Into<String>,
    ) {
        let (path, value, message) = (path.into(), value.to_string(), message.into());
        self.0.push(Problem { path, value, message });
    }

    /// `checked`, unless anything was found.
    pub(super) fn finish<T>(self, checked: T) -> Result<T, Vec<Problem>> {
        if self.0.is_empty() { Ok(checked) } else { Err(self.0) }
    }
}
