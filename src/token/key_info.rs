//! Plain values of the key ring: the options it is opened with, the keys it lists, the events it
//! reports.
//!
//! `ring` and `rotation` create these values; `admin`, `cli` and the audit log read them. Nothing
//! here reads files or decides anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::key_storage::{KeyDocument, KeyStorage};
use super::signing::SigningKey;
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;

/// Where the keys of a ring are, and who changes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A folder in which the gateway creates and rotates the keys.
    ManagedFolder(PathBuf),
    /// A folder that the operator manages. It is only read.
    OperatorFolder(PathBuf),
    /// The document of the shared store. The gateways create and rotate the keys together, and each
    /// has a copy in memory.
    SharedDocument,
}

impl KeyPlace {
    /// True if keys are created and rotated here, and not by the operator.
    pub(super) fn is_managed(&self) -> bool {
        !matches!(self, Self::OperatorFolder(_))
    }

    /// The storage, of which nothing is read yet.
    pub(super) fn storage(&self) -> KeyStorage {
        match self {
            Self::ManagedFolder(dir) | Self::OperatorFolder(dir) => KeyStorage::Folder(dir.clone()),
            Self::SharedDocument => KeyStorage::Copy(KeyDocument::default()),
        }
    }
}

/// The options with which a key ring is opened.
#[derive(Clone, Debug)]
pub struct KeyRingOptions {
    /// Where the keys are, and who changes them.
    pub place: KeyPlace,
    /// The algorithms that tokens are signed with. Each needs a signing key.
    pub algorithms: Vec<Algorithm>,
    /// How long a key signs before its successor takes over.
    pub rotate_every: Duration,
    /// How long a key is published before it signs. Clients cache the JWKS; within this time they
    /// fetch it again and know the key before its first token.
    pub publish_before: Duration,
    /// How long a key still verifies after its successor took over. It is the longest life of any
    /// token, so that no valid token loses its key.
    pub keep_for: Duration,
    pub now: Timestamp,
}

/// The longer times of earlier options, by which tokens were signed that may still be valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarlierTimes {
    keep_for: Duration,
    rotate_every: Duration,
    /// The end of the last token of that time.
    until: Timestamp,
}

impl EarlierTimes {
    /// The times that keys must be kept by after a change from `last` to `next`. Options that stay
    /// the same add nothing, so many reloads keep no key for longer.
    pub(super) fn after(
        before: Option<Self>,
        last: &KeyRingOptions,
        next: &KeyRingOptions,
    ) -> Option<Self> {
        let before = before.filter(|earlier| next.now < earlier.until);
        if last.keep_for <= next.keep_for && last.rotate_every <= next.rotate_every {
            return before;
        }
        let KeyRingOptions { keep_for, rotate_every, .. } = *last;
        let until = next.now.plus(keep_for);
        Some(before.map_or(Self { keep_for, rotate_every, until }, |before| Self {
            keep_for: keep_for.max(before.keep_for),
            rotate_every: rotate_every.max(before.rotate_every),
            until: until.max(before.until),
        }))
    }

    /// `options` with the longer times, as long as they count.
    pub(super) fn lengthen(
        earlier: Option<Self>,
        options: &KeyRingOptions,
        now: Timestamp,
    ) -> KeyRingOptions {
        let mut options = options.clone();
        if let Some(earlier) = earlier.filter(|earlier| now < earlier.until) {
            options.keep_for = options.keep_for.max(earlier.keep_for);
            options.rotate_every = options.rotate_every.max(earlier.rotate_every);
        }
        options
    }
}

/// The use of a key at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, but not signing yet.
    Pending,
    Signing,
    /// Verifies older tokens and signs no new ones.
    Retired,
}

/// A key as `key list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub kid: Arc<str>,
    pub algorithm: Algorithm,
    pub created: Timestamp,
    pub signs_from: Timestamp,
    pub state: KeyState,
}

/// A change of the keys, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A key was created, imported or found in the folder, and is published now.
    Added { kid: Arc<str>, algorithm: Algorithm, signs_from: Timestamp },
    /// A key signs from now on.
    Signs { kid: Arc<str>, algorithm: Algorithm },
    /// A key was removed. Its tokens are refused.
    Removed { kid: Arc<str>, algorithm: Algorithm },
    /// The folder could not be read or written. The last good keys stay in use.
    Failed { cause: String },
}

/// A signing key with its times and its file.
#[derive(Clone, Debug)]
pub(super) struct RingKey {
    pub(super) key: Arc<SigningKey>,
    pub(super) created: Timestamp,
    pub(super) signs_from: Timestamp,
    pub(super) path: PathBuf,
}
