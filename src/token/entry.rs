//! The ring's plain values: what it is opened with, what it holds, what it tells.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::signing::SigningKey;
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;

/// What a ring is opened with.
#[derive(Clone, Debug)]
pub struct KeyRingOptions {
    /// Where the files are.
    pub dir: PathBuf,
    /// Ours to make and rotate; else the operator's.
    pub managed: bool,
    /// Algorithms that tokens are signed with.
    pub algorithms: Vec<Algorithm>,
    /// How long a key signs.
    pub rotate_every: Duration,
    /// How long a key is published before it signs.
    pub publish_before: Duration,
    /// How long a key verifies after its successor took over: the longest life of any token.
    pub keep_for: Duration,
    pub now: Timestamp,
}

/// What a key is for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, signs later.
    Pending,
    Signing,
    /// Only verifies.
    Retired,
}

/// One line of `key list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub kid: Arc<str>,
    pub algorithm: Algorithm,
    pub created: Timestamp,
    pub signs_from: Timestamp,
    pub state: KeyState,
}

/// What became of keys, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A key was made, imported or found, and is published.
    Added { kid: Arc<str>, algorithm: Algorithm, signs_from: Timestamp },
    /// A key signs from now on.
    Signs { kid: Arc<str>, algorithm: Algorithm },
    /// A key is gone: its tokens are refused.
    Removed { kid: Arc<str>, algorithm: Algorithm },
    /// The folder could not be read or written; the last good keys stay.
    Failed { cause: String },
}

/// A key and its times.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) key: Arc<SigningKey>,
    pub(super) created: Timestamp,
    pub(super) signs_from: Timestamp,
    pub(super) path: PathBuf,
}
