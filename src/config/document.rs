//! A parsed document, and everything that is noted while it is read: issues, files, secrets,
//! accepted warnings and positions.
//!
//! All readers of one file share one `Document`. `reader` walks its tables, and `item` converts its
//! values. A document may also be one that is not there, which only records what the readers ask
//! for; see `recorder`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Value;

use super::accepted::AcceptedWarning;
use super::issues::{Issue, IssueSeverity};
use super::key_path::{FilePosition, KeyPath};
use super::recorder::Recorder;

/// The state that all readers of one file share.
pub(super) struct Document<'a> {
    text: &'a str,
    folder: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    issues: RefCell<Vec<Issue>>,
    /// The names of files and the places of secrets as they are written, by key path.
    written: RefCell<BTreeMap<String, Value>>,
    accepted: RefCell<Vec<AcceptedWarning>>,
    /// The files and folders that are named to be read.
    files: RefCell<Vec<PathBuf>>,
    /// The position of every key that was asked for and is in the file.
    places: RefCell<BTreeMap<String, FilePosition>>,
    /// Present if the readers run for the sake of their questions alone.
    recorder: Option<&'a Recorder>,
}

/// Everything that was recorded while reading, beside the configuration itself.
pub(super) struct DocumentFindings {
    pub(super) issues: Vec<Issue>,
    pub(super) written: BTreeMap<String, Value>,
    pub(super) accepted: Vec<AcceptedWarning>,
    pub(super) files: Vec<PathBuf>,
    pub(super) places: BTreeMap<String, FilePosition>,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        text: &'a str,
        folder: &'a Path,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            text,
            folder,
            environment,
            issues: RefCell::default(),
            written: RefCell::default(),
            accepted: RefCell::default(),
            files: RefCell::default(),
            places: RefCell::default(),
            recorder: None,
        }
    }

    /// A document that is not there. It has every key that a reader asks for, and `recorder`
    /// records the questions.
    pub(super) fn recorded(recorder: &'a Recorder) -> Self {
        Self { recorder: Some(recorder), ..Self::new("", Path::new(""), &|_| None) }
    }

    pub(super) fn recorder(&self) -> Option<&'a Recorder> {
        self.recorder
    }

    /// The line and column at which a span begins.
    pub(super) fn position(&self, span: &Range<usize>) -> FilePosition {
        let before = self.text.get(..span.start).unwrap_or_default();
        // Columns count characters and not bytes: editors jump by characters.
        let last = before.rsplit('\n').next().unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        FilePosition { line, column: last.chars().count() + 1 }
    }

    pub(super) fn add(&self, issue: Issue) {
        self.issues.borrow_mut().push(issue);
    }

    /// True if something was reported about a key of this section.
    pub(super) fn has_issue_below(&self, section: &str) -> bool {
        let issues = self.issues.borrow();
        issues.iter().any(|issue| {
            let rest = issue.path.as_str().strip_prefix(section);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Reports an error about the file as a whole, with a key path but no line.
    pub(super) fn missing(&self, path: &str, remedy: impl Into<String>) {
        self.add(Issue {
            position: None,
            path: KeyPath::default().below(path),
            value: String::new(),
            remedy: remedy.into(),
            severity: IssueSeverity::Error,
        });
    }

    /// The value of an environment variable, for a secret.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// The path, relative to the configuration's folder; an absolute path stays as it is.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Records how a value is written that the checked form does not say: the name of a file, or
    /// where a secret is. Invariant: it is no secret itself.
    pub(super) fn note_written(&self, at: &KeyPath, value: impl Into<Value>) {
        self.written.borrow_mut().insert(at.as_str().to_owned(), value.into());
    }

    /// Records a file or folder that is named to be read. A part that writes to a file does not name
    /// it here.
    pub(super) fn note_file(&self, path: &Path) {
        self.files.borrow_mut().push(path.to_owned());
    }

    pub(super) fn note_accepted(&self, accepted: Vec<AcceptedWarning>) {
        self.accepted.borrow_mut().extend(accepted);
    }

    pub(super) fn note_place(&self, at: &KeyPath, position: FilePosition) {
        self.places.borrow_mut().insert(at.as_str().to_owned(), position);
    }

    /// The position of a key that a reader has asked for; `None` if it is not in the file.
    pub(super) fn place(&self, at: &KeyPath) -> Option<FilePosition> {
        self.places.borrow().get(at.as_str()).copied()
    }

    pub(super) fn into_findings(self) -> DocumentFindings {
        DocumentFindings {
            issues: self.issues.into_inner(),
            written: self.written.into_inner(),
            accepted: self.accepted.into_inner(),
            files: self.files.into_inner(),
            places: self.places.into_inner(),
        }
    }
}
