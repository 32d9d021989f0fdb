//! What is wrong with a configuration, and how the operator reads it.
//!
//! An `Issue` says where (line and key path), what stands there and what would be accepted;
//! never a secret's value. `Issues` is all of them at once, in the order of the file.

use std::fmt;
use std::path::Path;

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

    /// A path below that is written out already: `reply.json`, `[2]`.
    #[must_use]
    pub(super) fn below(&self, path: &str) -> Self {
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

/// Whether the gateway starts all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is accepted, but the operator should know.
    Warning,
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Line of the file, from 1; `None` where something is missing from the whole of it.
    pub line: Option<usize>,
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
    pub(super) fn of_file(line: Option<usize>, remedy: String) -> Self {
        let (path, value) = (KeyPath::default(), String::new());
        Self { line, path, value, remedy, severity: Severity::Error }
    }
}

/// One line: for a log.
impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.path, self.remedy)
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
        // What no line says comes last: it is about the file as a whole.
        issues.sort_by_key(|issue| issue.line.unwrap_or(usize::MAX));
        Self { file: file.display().to_string(), issues }
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

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |severity| -> Vec<&Issue> {
            self.issues.iter().filter(|issue| issue.severity == severity).collect()
        };
        let mut before = "";
        for (issues, one, many) in [
            (of(Severity::Error), "problem", "problems"),
            (of(Severity::Warning), "warning", "warnings"),
        ] {
            if issues.is_empty() {
                continue;
            }
            let noun = if issues.len() == 1 { one } else { many };
            write!(f, "{before}{} has {} {noun}:\n\n", self.file, issues.len())?;
            write_table(f, &issues)?;
            before = "\n";
        }
        Ok(())
    }
}

/// A wider entry pushes its own line's remedy to the right, not everybody's.
const WIDEST: usize = 44;

fn write_table(f: &mut fmt::Formatter<'_>, issues: &[&Issue]) -> fmt::Result {
    let line = |issue: &Issue| issue.line.map(|line| format!("line {line}")).unwrap_or_default();
    let widest = |width: &dyn Fn(&Issue) -> usize| {
        issues.iter().map(|issue| width(issue)).filter(|width| *width <= WIDEST).max().unwrap_or(0)
    };
    let lines = widest(&|issue| line(issue).len());
    let paths = widest(&|issue| issue.path.as_str().chars().count());
    let values = widest(&|issue| issue.value.chars().count());
    for issue in issues {
        if issue.path.as_str().is_empty() {
            for text in issue.remedy.lines() {
                writeln!(f, "{}", format!("  {text}").trim_end())?;
            }
            continue;
        }
        // A column that nobody fills is left out.
        let column = |text: &str, width: usize| match width {
            0 => String::new(),
            width => format!("  {text:width$}"),
        };
        let (line, value) = (column(&line(issue), lines), column(&issue.value, values));
        let path = column(issue.path.as_str(), paths);
        writeln!(f, "{line}{path}{value}  {}", issue.remedy)?;
    }
    Ok(())
}
