//! What is wrong with a configuration, and how the operator reads it.
//!
//! An `Issue` says where (line and key path), what stands there and what would be accepted;
//! never a secret's value. `Issues` is all of them at once, in the order of the file.

use std::fmt;
use std::path::Path;

use super::warnings::WarningName;

/// Where a key is: `upstream[1].servers[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(String);

impl KeyPath {
    /// The key of this name below.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let name = if !name.is_empty() && name.bytes().all(is_bare) {
            name.to_owned()
        } else {
            format!("{name:?}")
        };
        if self.0.is_empty() { Self(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The element of this number below.
    #[must_use]
    pub fn index(&self, number: usize) -> Self {
        Self(format!("{}[{number}]", self.0))
    }

    /// Whether it is `outer` or below it.
    pub(super) fn is_within(&self, outer: &Self) -> bool {
        let rest = self.0.strip_prefix(outer.0.as_str());
        rest.is_some_and(|rest| {
            outer.0.is_empty() || rest.is_empty() || rest.starts_with(['.', '['])
        })
    }

    /// A path below that is written out already: `reply.json`, `[2]`.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        if path.is_empty() || path.starts_with('[') || self.0.is_empty() {
            Self(format!("{}{path}", self.0))
        } else {
            Self(format!("{}.{path}", self.0))
        }
    }

    /// As written in messages.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where something stands in a file; both numbers begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    /// In characters.
    pub column: usize,
}

/// Whether the gateway starts all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is accepted, but the operator should know; by its name it can be accepted for good.
    Warning(WarningName),
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// `None` where something is missing from the whole file.
    pub position: Option<Position>,
    /// Empty where the text is no TOML at all.
    pub path: KeyPath,
    /// What stands there, as in the file but shortened; `***` for a secret, empty for a missing
    /// key.
    pub value: String,
    /// What is wrong with it and what would be accepted.
    pub remedy: String,
    pub severity: Severity,
}

impl Issue {
    /// An error of the file as a whole, or of its syntax.
    pub(super) fn of_file(position: Option<Position>, remedy: String) -> Self {
        let (path, value) = (KeyPath::default(), String::new());
        Self { position, path, value, remedy, severity: Severity::Error }
    }

    /// What a start would refuse of the files and folders that the configuration names.
    pub fn of_start(cause: String) -> Self {
        Self::of_file(None, cause)
    }

    /// What is wrong; of a warning with the name by which it is accepted.
    pub(super) fn message(&self) -> String {
        match self.severity {
            Severity::Error => self.remedy.clone(),
            Severity::Warning(name) => format!("{} [{name}]", self.remedy),
        }
    }
}

/// One line: for a log.
impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, .. }) = self.position {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.path, self.message())
    }
}

/// Everything that was found in one file, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issues {
    file: String,
    issues: Vec<Issue>,
}

impl Issues {
    /// The issues of `file`, which is named in the text.
    pub fn new(file: &Path, mut issues: Vec<Issue>) -> Self {
        // What no line says comes last: it is about the file as a whole. What is said of one
        // line stays in the order in which it was found.
        issues.sort_by_key(|issue| issue.position.map_or(usize::MAX, |at| at.line));
        Self { file: file.display().to_string(), issues }
    }

    /// The file, as it was named.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether the file is refused.
    pub fn has_error(&self) -> bool {
        self.issues.iter().any(|issue| issue.severity == Severity::Error)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.issues.iter()
    }

    /// True if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }
}

impl std::error::Error for Issues {}
