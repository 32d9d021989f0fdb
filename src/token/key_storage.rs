//! Where the files of signing keys are: in a folder, or in a document that gateways share.
//!
//! A folder is read and written in place (`key_dir`). A document is worked on as a copy in memory:
//! `ring_state` plans its changes on the copy, and `signing_keys` puts the result into the shared
//! store on the condition that nobody changed the document meanwhile. The content of a key is not
//! interpreted here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::KeyError;
use super::key_dir::{self, FolderState, KeyFile};
use crate::clock::Timestamp;

/// Upper bound on the ids of revoked keys that are remembered. Each is a command of an operator, so
/// that the bound is not reached; if it were, the oldest would be forgotten, whose keys are long
/// gone from every folder.
const REVOKED: usize = 4096;

/// The signing keys that gateways share, as the store keeps them. The names are part of what is
/// stored.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KeyDocument {
    /// The text of each key by the name that its file would have. Empty where the gateways keep
    /// their keys in folders.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, KeyText>,
    /// The ids of revoked keys, and when each was revoked. They hold for keys in folders as well.
    #[serde(default)]
    pub(super) revoked: BTreeMap<Arc<str>, Timestamp>,
}

/// The text of a private key, which no log shows.
#[derive(Clone, PartialEq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(super) struct KeyText(String);

impl KeyDocument {
    /// The ids of the revoked keys.
    pub(super) fn revoked_ids(&self) -> BTreeSet<Arc<str>> {
        self.revoked.keys().cloned().collect()
    }

    /// The document with exactly these ids as revoked. Those that are new in it are revoked `now`.
    #[must_use]
    pub(super) fn with_revoked(mut self, ids: &BTreeSet<Arc<str>>, now: Timestamp) -> Self {
        self.revoked.retain(|id, _| ids.contains(id));
        for id in ids {
            self.revoked.entry(id.clone()).or_insert(now);
        }
        while self.revoked.len() > REVOKED {
            let oldest = self.revoked.iter().min_by_key(|(_, at)| **at).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            self.revoked.remove(&oldest);
        }
        self
    }
}

impl fmt::Debug for KeyDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyDocument")
            .field("keys", &self.keys.keys())
            .field("revoked", &self.revoked)
            .finish()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The files of a ring's keys.
#[derive(Clone, Debug)]
pub(super) enum KeyStorage {
    Folder(PathBuf),
    /// A copy of the document. What is written to it is nowhere else.
    Copy(KeyDocument),
}

impl KeyStorage {
    /// Creates the folder if it is missing.
    pub(super) fn make(&self) -> Result<(), KeyError> {
        match self {
            Self::Folder(dir) => key_dir::make(dir),
            Self::Copy(_) => Ok(()),
        }
    }

    /// True if there is something to read.
    pub(super) fn exists(&self) -> bool {
        match self {
            Self::Folder(dir) => dir.exists(),
            Self::Copy(_) => true,
        }
    }

    /// A fingerprint that changes when somebody else changes the files. Nobody else changes a copy.
    pub(super) fn look(&self) -> Result<FolderState, KeyError> {
        match self {
            Self::Folder(dir) => key_dir::look(dir),
            Self::Copy(_) => Ok(FolderState::default()),
        }
    }

    /// Reads every key file. `warnings` receives sentences for the operator.
    pub(super) fn read(&self, warnings: &mut Vec<String>) -> Result<Vec<KeyFile>, KeyError> {
        match self {
            Self::Folder(dir) => key_dir::read(dir, warnings),
            Self::Copy(document) => {
                let file = |(name, text): (&String, &KeyText)| KeyFile {
                    path: PathBuf::from(name),
                    text: Zeroizing::new(text.0.clone()),
                    // Each text names its times: it was written by a gateway.
                    modified: Timestamp::default(),
                };
                Ok(document.keys.iter().map(file).collect())
            }
        }
    }

    /// Writes a new file and returns its path.
    pub(super) fn write(&mut self, name: &str, text: &str) -> Result<PathBuf, KeyError> {
        match self {
            Self::Folder(dir) => key_dir::write(dir, name, text),
            Self::Copy(document) => {
                document.keys.insert(name.to_owned(), KeyText(text.to_owned()));
                Ok(PathBuf::from(name))
            }
        }
    }

    /// Replaces a file.
    pub(super) fn replace(&mut self, path: &Path, text: &str) -> Result<(), KeyError> {
        match self {
            Self::Folder(dir) => key_dir::replace(dir, path, text),
            Self::Copy(_) => self.write(&path.to_string_lossy(), text).map(drop),
        }
    }

    /// Removes a file. One that is already gone is no error.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), KeyError> {
        match self {
            Self::Folder(dir) => key_dir::remove(dir, path),
            Self::Copy(document) => {
                document.keys.remove(path.to_string_lossy().as_ref());
                Ok(())
            }
        }
    }

    /// The path that a new file of this name would have.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(dir) => dir.join(name),
            Self::Copy(_) => PathBuf::from(name),
        }
    }
}
