//! What can be wrong with keys.

use std::io;
use std::path::PathBuf;

use crate::algorithm::Algorithm;

/// Why a key is not usable; the text names the fault and never the key's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadKey(pub &'static str);

/// A key could not be read, kept, made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file of the folder is not a usable key.
    #[error("key file `{path}` is refused")]
    File {
        path: PathBuf,
        #[source]
        source: BadKey,
    },

    /// The folder or a file in it could not be read or written.
    #[error("`{path}` cannot be read or written")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    /// An imported key is not usable.
    #[error("the key is refused")]
    Refused(#[from] BadKey),

    /// Two keys have the same id, so a token could mean either.
    #[error("two keys are called `{kid}`")]
    Twice { kid: String },

    /// The operator's folder lacks a key that the configuration needs.
    #[error("no key signs {}", .0.as_str())]
    NoKey(Algorithm),

    /// There is no key of this id.
    #[error("no key is called `{kid}`")]
    Unknown { kid: String },

    /// Keys in a folder of the operator's are changed by him alone.
    #[error("`{dir}` is managed by the operator: add or remove files there")]
    NotManaged { dir: PathBuf },

    /// The self test: a key whose signature does not verify must never sign a token.
    #[error("the {} key `{kid}` does not verify what it signs", .algorithm.as_str())]
    SelfTest { kid: String, algorithm: Algorithm },

    /// The cryptographic library would not make a key or a signature.
    #[error("a signature or key for {} could not be made", .0.as_str())]
    Crypto(Algorithm),
}
