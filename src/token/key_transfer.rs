//! The signing keys of a store that is moved to another kind of store.
//!
//! Without its keys a moved store would be of no use: no token of its sessions would be accepted. They
//! move as the document of a shared store, whether they come from such a document or from a folder,
//! and with the ids of the revoked keys. Without these, a revoked key whose file is still in a folder
//! would come back.
//!
//! A folder of the operator's is left alone.

use std::path::Path;

use serde_json::Value;

use super::KeyError;
use super::key_info::{KeyPlace, KeyRingOptions};
use super::key_storage::{KeyDocument, KeyStorage};
use super::ring_state::{self, RingState};
use crate::session::shared::{SIGNING_KEYS, SharedStore};

/// The keys for an export: those in the document of `store`, else those in the folder `managed`.
/// `None` if there are none and none was revoked. No gateway may run meanwhile.
///
/// # Errors
/// The store or the folder cannot be read, or a key in the folder is refused.
pub async fn export_keys(
    options: &KeyRingOptions,
    managed: &Path,
    store: Option<&SharedStore>,
) -> Result<Option<Value>, KeyError> {
    let document: Option<KeyDocument> = match store {
        Some(store) => store.document(SIGNING_KEYS).await?,
        None => None,
    };
    let mut document = document.unwrap_or_default();
    if options.place != KeyPlace::SharedDocument {
        // Keys of a time when they were kept in the document.
        document.keys.clear();
    }
    if document.keys.is_empty() && options.place.is_managed() {
        let revoked = document.revoked_ids();
        let mut state = RingState::empty(options.clone(), KeyStorage::Copy(document), revoked);
        state.take_over(managed, options.now)?;
        document = state.into_document(options.now);
    }
    if document == KeyDocument::default() {
        return Ok(None);
    }
    serde_json::to_value(&document).map(Some).map_err(|error| unusable(&error))
}

/// Puts the keys of an export into the folder of a gateway that keeps its keys there, and removes the
/// revoked ones from it. If the keys are kept elsewhere, nothing is done. No gateway may run meanwhile.
///
/// # Errors
/// A key is refused, or the folder cannot be read or written. The import may be repeated.
pub fn import_keys(options: &KeyRingOptions, document: Value) -> Result<(), KeyError> {
    let KeyPlace::ManagedFolder(dir) = &options.place else { return Ok(()) };
    let document: KeyDocument =
        serde_json::from_value(document).map_err(|error| unusable(&error))?;
    let folder = KeyStorage::Folder(dir.clone());
    folder.make()?;
    let mut state = RingState::empty(options.clone(), folder, document.revoked_ids());
    state.load(options.now)?;
    state.remove_revoked()?;
    let moved = KeyStorage::Copy(document);
    let (keys, ..) = ring_state::read(&moved, &options.algorithms, options.now)?;
    for moved in keys {
        let known = state.keys.iter().find(|known| known.key.kid() == moved.key.kid());
        match known.map(|known| known.path.clone()) {
            // The times in a file from before an earlier move may be out of date.
            Some(path) => {
                let text = moved.key.write(moved.created, moved.signs_from);
                state.storage.replace(&path, text.expose())?;
            }
            None => state.add(moved.key, moved.created, moved.signs_from)?,
        }
    }
    Ok(())
}

fn unusable(error: &serde_json::Error) -> KeyError {
    KeyError::Document { cause: error.to_string() }
}
