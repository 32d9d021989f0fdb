//! The reasons why a store could not be moved. Each text says what is wrong, and what an operator
//! can do about it; none contains anything of a row.

use std::io;
use std::path::PathBuf;

use crate::{StoreError, StoreOpenError};

/// The reason why a file of an export could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ExportFileError {
    #[error("`{}` exists already: name another file", path.display())]
    Exists { path: PathBuf },

    #[error("`{}` cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("`{}` was not written by `tollhouse store export`", path.display())]
    NoExport { path: PathBuf },

    #[error(
        "`{}` was written by a later version (format {found}, this one knows up to {known}): \
         import it with that version",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },

    #[error(
        "`{}` was sealed with another key, or its first lines were changed: name the key of the \
         export with --seal",
        path.display()
    )]
    OtherKey { path: PathBuf },

    #[error("`{}` ends too early: a part of it is missing; export again", path.display())]
    Cut { path: PathBuf },

    #[error(
        "`{}` was changed after it was written (part {number} is not what it was): export again",
        path.display()
    )]
    Changed { path: PathBuf, number: u64 },
}

/// The reason why an export or an import did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(transparent)]
    Open(#[from] StoreOpenError),

    #[error(transparent)]
    File(#[from] ExportFileError),

    #[error(
        "{at} is not empty ({found}): an import goes into an empty store only, because it would \
         mix what two stores know of the same users"
    )]
    NotEmpty { at: String, found: String },

    #[error(
        "an import of another file into this store was begun and not finished: import that file \
         again, or empty the store"
    )]
    OtherImport,

    #[error("the gateway `{name}` uses this store: stop it before importing")]
    NodeRuns { name: String },

    #[error("another import into `{}` is under way", path.display())]
    ImportRuns { path: PathBuf },

    #[error("{0}")]
    BadRows(&'static str),

    #[error("`{}` cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("a thread could not be started")]
    Thread(#[source] io::Error),

    /// The other end of the transfer has ended; its own error says why.
    #[error("the transfer was cut off")]
    Stopped,
}
