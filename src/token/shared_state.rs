//! The state of a ring and the document that gateways share: changes are planned on a copy, a
//! document is adopted, and the keys that it names as revoked are revoked here.
//!
//! The state of a running ring never changes a document. It only adopts what is in the store, so that
//! it signs with no key that the other gateways do not have.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::KeyError;
use super::key_info::{KeyPlace, RingKey};
use super::key_storage::{KeyDocument, KeyStorage};
use super::ring_state::{self, RingState};
use super::rotation;
use crate::clock::Timestamp;

impl RingState {
    /// A state under the same options that knows no key, to plan a change of the document on a copy.
    pub(super) fn scratch(&self) -> Self {
        let storage = KeyPlace::SharedDocument.storage();
        let mut scratch = Self::empty(self.options.clone(), storage, BTreeSet::new());
        scratch.earlier = self.earlier;
        scratch
    }

    /// Reads a copy of `document`, and revokes the keys with an id in `revoked` in it.
    ///
    /// # Errors
    /// The document has a key that cannot be used, or a successor cannot be made.
    pub(super) fn read(
        mut self,
        document: KeyDocument,
        revoked: BTreeSet<Arc<str>>,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        self.storage = KeyStorage::Copy(document);
        self.load(now)?;
        // Each key is revoked by itself: if it signed, its successor takes over at once.
        for kid in revoked {
            match self.revoke(&kid, now) {
                Ok(failures) => failures.into_iter().next().map_or(Ok(()), Err)?,
                Err(KeyError::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
            self.revoked.insert(kid);
        }
        Ok(self)
    }

    /// The planned document.
    pub(super) fn into_document(self, now: Timestamp) -> KeyDocument {
        let document = match self.storage {
            KeyStorage::Copy(document) => document,
            KeyStorage::Folder(_) => KeyDocument::default(),
        };
        document.with_revoked(&self.revoked, now)
    }

    /// Takes the keys of a folder over, if there are none yet. Returns how many there were.
    ///
    /// # Errors
    /// A file of the folder is refused.
    pub(super) fn take_over(&mut self, dir: &Path, now: Timestamp) -> Result<usize, KeyError> {
        if !self.keys.is_empty() || !dir.exists() {
            return Ok(0);
        }
        let folder = KeyStorage::Folder(dir.to_owned());
        let (keys, ..) = ring_state::read(&folder, &self.options.algorithms, now)?;
        for ring_key in keys {
            if !self.revoked.contains(ring_key.key.kid()) {
                self.add(ring_key.key, ring_key.created, ring_key.signs_from)?;
            }
        }
        Ok(self.keys.len())
    }

    /// Goes on with the keys of `document`, except those in `revoked`.
    ///
    /// # Errors
    /// The document has a key that cannot be used. Then the last keys stay, without those that are
    /// revoked.
    pub(super) fn adopt(
        &mut self,
        document: KeyDocument,
        revoked: BTreeSet<Arc<str>>,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        // This comes first: whatever else is in the document, a revoked key is not used any more.
        self.keys.retain(|ring_key| !revoked.contains(ring_key.key.kid()));
        let is_same = self.revoked == revoked
            && matches!(&self.storage, KeyStorage::Copy(last) if *last == document);
        self.revoked = revoked;
        if is_same {
            return Ok(());
        }
        let last = std::mem::replace(&mut self.storage, KeyStorage::Copy(document));
        self.load(now).inspect_err(|_| self.storage = last)
    }

    /// True if the document needs a change: a key is due, over or revoked.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let mut algorithms = self.options.algorithms.iter();
        self.has_undeleted()
            || algorithms.any(|one| rotation::due(&self.keys, *one, &self.options, now).is_some())
            || !self.over(now).is_empty()
    }

    /// Goes on without the keys in `revoked`, which all gateways agree on. In a managed folder their
    /// files are removed, and a key that signed is succeeded.
    ///
    /// # Errors
    /// The folder cannot be read or written. The revoked keys are not used all the same.
    pub(super) fn obey(
        &mut self,
        revoked: BTreeSet<Arc<str>>,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        // A key that an operator has brought back is read again.
        if !self.revoked.is_subset(&revoked) {
            self.forget_look();
        }
        self.revoked = revoked;
        let is_revoked = |ring_key: &RingKey| self.revoked.contains(ring_key.key.kid());
        let is_signer = |ring_key: &RingKey| {
            rotation::signer(&self.keys, ring_key.key.algorithm(), now)
                .is_some_and(|signer| signer.key.kid() == ring_key.key.kid())
        };
        let gone: Vec<_> = self.keys.iter().filter(|one| is_revoked(one)).cloned().collect();
        let signers: Vec<_> = gone.iter().filter(|one| is_signer(one)).cloned().collect();
        self.keys.retain(|ring_key| !self.revoked.contains(ring_key.key.kid()));
        if gone.is_empty() || !matches!(self.options.place, KeyPlace::ManagedFolder(_)) {
            return Ok(());
        }
        // Gateways may have the folder in common. Then the one that was ordered to revoke the key
        // has made its successor, which is read here.
        self.load(now)?;
        for last in signers {
            let algorithm = last.key.algorithm();
            let next = rotation::signer(&self.keys, algorithm, now);
            if !next.is_some_and(|next| rotation::is_later(next, &last)) {
                self.succeed(algorithm, now)?;
            }
        }
        self.remove_revoked()
    }
}
