//! The reasons why a file of users cannot be used.

use super::atomic_write::AccessError;
use super::problem::FileProblems;

/// The reasons why a users file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Access(#[from] AccessError),

    #[error(transparent)]
    Problems(#[from] FileProblems),
}

impl FileError {
    /// True if the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Access(AccessError::Missing { .. }))
    }
}
