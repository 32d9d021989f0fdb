//! The problems of a configuration, in the form in which they are reported to the operator.
//!
//! An `Issue` names the place (line and key path), the value found there, and what would be
//! accepted. It never contains the value of a secret. `Issues` holds all problems of one file in
//! the order of the file. `report` writes them out.

use std::fmt;
use std::path::Path;

use super::warnings::WarningName;

/// The path of a key: `upstream[1].servers[0]`. The empty path stands for the whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(String);

impl KeyPath {
    /// The path of the key `name` below this one. A name that TOML would not accept bare is quoted.
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

    /// The path of the element with this number, counted from 0.
    #[must_use]
    pub fn index(&self, number: usize) -> Self {
        Self(format!("{}[{number}]", self.0))
    }

    /// True if this path is `outer` itself or below it.
    pub(super) fn is_within(&self, outer: &Self) -> bool {
        let rest = self.0.strip_prefix(outer.0.as_str());
        // `routes` begins with `route` but is not below it, so a separator has to follow.
        rest.is_some_and(|rest| {
            outer.0.is_empty() || rest.is_empty() || rest.starts_with(['.', '['])
        })
    }

    /// Appends a relative path that is already written out: `reply.json`, `[2]`.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        if path.is_empty() || path.starts_with('[') || self.0.is_empty() {
            Self(format!("{}{path}", self.0))
        } else {
            Self(format!("{}.{path}", self.0))
        }
    }

    /// What it stands in; `None` at the top.
    fn outer(&self) -> Option<Self> {
        let end = self.0.rfind(['.', '['])?;
        Some(Self(self.0.get(..end)?.to_owned()))
    }

    /// It, and then everything that it stands in, from the inside out.
    pub(super) fn outwards(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self.clone()), Self::outer)
    }

    /// The path as it is written in messages.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in a file. Both numbers begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilePosition {
    pub line: usize,
    /// Counted in characters, not in bytes.
    pub column: usize,
}

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
