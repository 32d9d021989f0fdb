//! Problems of a users file, as an operator reads them.
//!
//! All problems of a file are listed together. No message contains a password or a hash: messages
//! go to logs and terminals.

use std::fmt;

/// One problem: its place, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// Key path, for example `user[2].password`; empty for a syntax error.
    pub path: String,
    /// The mistake, and what would be accepted.
    pub message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "line {}: {}", self.line, self.message)
        } else {
            write!(f, "line {}: {} {}", self.line, self.path, self.message)
        }
    }
}

/// All problems of one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblems {
    /// The name of the file as it is configured.
    pub file: String,
    pub list: Vec<FileProblem>,
}

impl fmt::Display for FileProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.as_slice() {
            [one] => write!(f, "{}, {one}", self.file),
            all => {
                write!(f, "{} has {} problems:", self.file, all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for FileProblems {}
