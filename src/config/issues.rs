//! The problems of a configuration, in the form in which they are reported to the operator.
//!
//! An `Issue` names the place (line and key path), the value found there, and what would be
//! accepted. It never contains the value of a secret. `Issues` holds all problems of one file in
//! the order of the file. `report` writes them out.

use std::fmt;
use std::path::Path;

use super::key_path::{FilePosition, KeyPath};
use super::warnings::WarningName;

/// Whether an issue keeps the gateway from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssueSeverity {
    /// The configuration is refused: the gateway does not start, and a reload keeps the old one.
    Error,
    /// The configuration is accepted, but the operator should know. The name is the one to write in
    /// `accept`. A warning never changes the way in which the gateway runs. Every warning has a
    /// name, so that each can be accepted by itself.
    Warning(WarningName),
}

/// One problem of a configuration, or one warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// `None` if something is missing from the file as a whole.
    pub position: Option<FilePosition>,
    /// Empty if the text is no TOML and no key can be named.
    pub path: KeyPath,
    /// The value found there, as in the file but shortened. `***` for a secret, empty for a key
    /// that is missing. It is escaped as a TOML string, so control characters do not reach the
    /// terminal.
    pub value: String,
    /// The fault, followed by what would be accepted.
    pub remedy: String,
    pub severity: IssueSeverity,
}

impl Issue {
    /// An error of the file as a whole, or of its syntax.
    pub(super) fn of_file(position: Option<FilePosition>, remedy: String) -> Self {
        let path = KeyPath::default();
        let value = String::new();
        Self { position, path, value, remedy, severity: IssueSeverity::Error }
    }

    /// The remedy, for a warning followed by the name to accept it by.
    pub(super) fn message(&self) -> String {
        match self.severity {
            IssueSeverity::Error => self.remedy.clone(),
            IssueSeverity::Warning(name) => format!("{} [{name}]", self.remedy),
        }
    }
}

/// One line, for a log.
impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(FilePosition { line, .. }) = self.position {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.path, self.message())
    }
}

/// All issues of one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issues {
    file: String,
    issues: Vec<Issue>,
}

impl Issues {
    /// Sorts `issues` by line. `file` is named in the report.
    pub fn new(file: &Path, mut issues: Vec<Issue>) -> Self {
        // Issues without a line come last, because they are about the file as a whole. The sort is
        // stable: several issues of one line keep the order in which they were found. Readers thus
        // see the causes in the order in which they would read the file.
        issues.sort_by_key(|issue| issue.position.map_or(usize::MAX, |at| at.line));
        Self { file: file.display().to_string(), issues }
    }

    /// The file's name, as it was given on the command line.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// True if the configuration is refused: at least one issue is an error.
    pub fn has_error(&self) -> bool {
        self.issues.iter().any(|issue| issue.severity == IssueSeverity::Error)
    }

    /// All issues, errors and warnings.
    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.issues.iter()
    }

    /// True if there is neither an error nor a warning.
    pub fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }
}

impl std::error::Error for Issues {}
