//! The reasons why a stored password hash cannot be used, and why a password could not be verified.
//!
//! Messages never repeat the hash: they go to logs and terminals.

use std::fmt;

use crate::settings::WeakScheme;

/// The reasons why a stored password cannot be used. A message neither repeats what was written nor
/// says what to do: the remedy depends on the kind of source, which adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    #[error("is empty")]
    Empty,

    #[error("is a password in plain text or an old crypt(3) hash")]
    PlainText,

    #[error("is a `{scheme}` hash, which is too weak to take")]
    Weak { scheme: &'static str },

    #[error("is a `{scheme}` hash, which is weak: the source takes it with allow_weak = [\"{scheme}\"]", scheme = scheme.as_str())]
    NotAllowed { scheme: WeakScheme },

    #[error("is a hash of a kind we do not know")]
    Unknown,

    #[error("is a damaged {scheme} hash")]
    Malformed { scheme: &'static str },

    #[error("costs too much to check at every login: {limit}")]
    TooCostly { limit: &'static str },

    #[error("is too quick to guess: {limit}")]
    TooQuick { limit: &'static str },
}

/// A hash could not be computed. That says nothing about whether the password is right.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not hash a password: {cause}")]
pub struct HashError {
    cause: String,
}

impl HashError {
    pub(super) fn new(cause: impl fmt::Display) -> Self {
        Self { cause: cause.to_string() }
    }
}
