//! Errors of keys: why a key is refused, and why the key ring fails.
//!
//! The texts name the fault and the place, never the content of a key, because they appear in logs
//! and in answers to operators.

use std::io;
use std::path::PathBuf;

use crate::algorithm::Algorithm;
use crate::session::StoreError;

/// The fault of an unusable key. The text names the fault and never the key's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadKey(pub &'static str);

/// The reasons for which a key could not be read, stored, created or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file of the folder is not a usable key.
    #[error("key file `{path}` is refused")]
    File {
        path: PathBuf,
        #[source]
        source: BadKey,
    },

    /// The folder, or a file in it, could not be read or written.
    #[error("`{path}` cannot be read or written")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    /// An imported key is not usable.
    #[error("the key is refused")]
    Refused(#[from] BadKey),

    /// Two keys have the same id. A token that names this id could mean either of them.
    #[error("two keys are called `{kid}`")]
    Twice { kid: String },

    /// The operator's folder has no key for an algorithm that the configuration needs.
    #[error("no key signs {}", .0.as_str())]
    NoKey(Algorithm),

    /// No key has this id.
    #[error("no key is called `{kid}`")]
    Unknown { kid: String },

    /// The folder belongs to the operator, who alone changes the keys in it.
    #[error("`{dir}` is managed by the operator: add or remove files there")]
    NotManaged { dir: PathBuf },

    /// The self test failed. A key whose signature does not verify must never sign a token.
    #[error("the {} key `{kid}` does not verify what it signs", .algorithm.as_str())]
    SelfTest { kid: String, algorithm: Algorithm },

    /// The cryptographic library could not create a key or a signature.
    #[error("a signature or key for {} could not be made", .0.as_str())]
    Crypto(Algorithm),

    /// The keys are in the shared store, where only all gateways together change them.
    #[error("the signing keys are in the shared store")]
    InStore,

    /// The shared store could not be read or changed.
    #[error("the signing keys in the shared store cannot be read or changed")]
    Store(#[from] StoreError),

    /// The document in the shared store has a key that cannot be used.
    #[error("the signing keys in the shared store cannot be used: {cause}")]
    Document { cause: String },

    /// Other gateways changed the keys each time.
    #[error("other gateways change the signing keys all the time: try again")]
    Contended,

    /// A panic while a key was made or read.
    #[error("the signing keys could not be changed")]
    Panicked,
}

impl KeyError {
    /// True if the keys themselves are fine, and another attempt may succeed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Contended)
    }
}
