//! The key ring: the gateway's signing keys as readers see them, and their changes.
//!
//! A managed ring creates a key `publish_before` the key signs, so that clients that cache the JWKS
//! know it in time, and keeps a retired key for as long as one of its tokens can be valid. A folder
//! that the operator manages is only read; there the newest file of an algorithm signs. Signing and
//! verifying read a snapshot without a lock; only changes take the lock. What a change is, `ring_state`
//! says.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::key_info::{KeyEntry, KeyEvent, KeyPlace, KeyRingOptions, KeyState, RingKey};
use super::key_look::{KeyLook, KeyLooks};
use super::key_storage::KeyDocument;
use super::ring_state::RingState;
use super::signing::SigningKey;
use super::{KeyError, KeySet, jwks, rotation};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::format::error_chain;
use crate::identity::Claims;
use crate::secret::SecretString;

/// The gateway's signing keys.
#[derive(Debug)]
pub struct KeyRing {
    /// A panic under the lock cannot leave the keys half changed: files are written atomically, and
    /// the list of keys changes in one step.
    state: Mutex<RingState>,
    current: ArcSwap<PublishedRing>,
    /// Present if the keys are in a document that other gateways change.
    looks: Option<Arc<KeyLooks>>,
}

/// The snapshot for readers, replaced as a whole.
#[derive(Debug, Default)]
struct PublishedRing {
    signers: Vec<Arc<SigningKey>>,
    public: Arc<KeySet>,
    jwks: Bytes,
    list: Vec<KeyEntry>,
}

impl KeyRing {
    /// Opens the ring of a folder: reads it, creates missing keys if the ring is managed, and tests
    /// every key.
    ///
    /// # Errors
    /// The folder or a file is refused, or an algorithm has no key.
    pub fn open(options: KeyRingOptions) -> Result<Arc<Self>, KeyError> {
        Self::open_folder(options, BTreeSet::new())
    }

    /// Opens the ring of a folder of which these keys are not used.
    pub(super) fn open_folder(
        options: KeyRingOptions,
        revoked: BTreeSet<Arc<str>>,
    ) -> Result<Arc<Self>, KeyError> {
        if options.place == KeyPlace::SharedDocument {
            return Err(KeyError::InStore);
        }
        let now = options.now;
        let storage = options.place.storage();
        let mut state = RingState::open(options, storage, revoked)?;
        state.clean(now)?;
        Ok(Self::with(state, None, now))
    }

    /// A ring for the shared document, without a key until it adopts one.
    pub(super) fn without_keys(options: KeyRingOptions, looks: Arc<KeyLooks>) -> Arc<Self> {
        let now = options.now;
        let storage = options.place.storage();
        Self::with(RingState::empty(options, storage, BTreeSet::new()), Some(looks), now)
    }

    /// Opens the ring for a dry run, and writes nothing: a folder that is not there has no keys. With
    /// `spare_keys`, an algorithm without a key gets one that exists in memory only.
    ///
    /// # Errors
    /// The folder has a file that cannot be used.
    pub fn open_to_read(options: KeyRingOptions, spare_keys: bool) -> Result<Arc<Self>, KeyError> {
        let now = options.now;
        Ok(Self::with(RingState::open_to_read(options, spare_keys)?, None, now))
    }

    fn with(state: RingState, looks: Option<Arc<KeyLooks>>, now: Timestamp) -> Arc<Self> {
        let ring = Self { state: Mutex::new(state), current: ArcSwap::default(), looks };
        ring.publish(&ring.state.lock(), now);
        Arc::new(ring)
    }

    /// Goes on with other options. The keys of another folder replace those of the last one. No key
    /// that was revoked comes back, and no file is removed here. Returns the changes for readers.
    ///
    /// # Errors
    /// As `open`; the last state then stays in use.
    pub fn reconfigure(&self, options: KeyRingOptions) -> Result<Vec<KeyEvent>, KeyError> {
        if options.place == KeyPlace::SharedDocument {
            return Err(KeyError::InStore);
        }
        let now = options.now;
        let mut state = self.state.lock();
        *state = state.under(options)?;
        Ok(self.publish(&state, now))
    }

    /// Signs a token with `typ` in its header. Fails if no key signs this algorithm.
    pub fn sign(
        &self,
        algorithm: Algorithm,
        typ: &str,
        claims: &Claims,
    ) -> Result<SecretString, KeyError> {
        let current = self.current.load();
        let signer = current.signers.iter().find(|key| key.algorithm() == algorithm);
        signer.ok_or(KeyError::NoKey(algorithm))?.sign(typ, claims)
    }

    /// The keys that verify our tokens: public halves, and secrets.
    pub fn public(&self) -> Arc<KeySet> {
        self.current.load().public.clone()
    }

    /// The epoch of `public`. Reading it does not touch the reference count, which all cores share.
    pub fn epoch(&self) -> u64 {
        self.current.load().public.epoch()
    }

    /// The question whether other gateways have newer keys, for a token whose key is not known.
    /// `None` if nobody else makes keys, or if that was found out a moment ago.
    pub fn newer_keys(&self) -> Option<KeyLook> {
        self.looks.as_ref().and_then(KeyLooks::question)
    }

    /// The JWKS document (RFC 7517 §5), which has public keys only.
    pub fn jwks(&self) -> Bytes {
        self.current.load().jwks.clone()
    }

    /// All keys in order of algorithm and age.
    pub fn list(&self) -> Vec<KeyEntry> {
        self.current.load().list.clone()
    }

    /// Sentences for the operator about the files, from the last time they were read.
    pub fn warnings(&self) -> Vec<String> {
        self.state.lock().warnings.clone()
    }

    /// Creates successors for one algorithm or for all. They sign after `publish_before`. An
    /// algorithm with a waiting successor gets no second one.
    pub fn rotate(
        &self,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        let mut state = self.lock_managed()?;
        state.rotate(algorithm, now)?;
        Ok(self.publish(&state, now))
    }

    /// Revokes a key at once: its tokens are refused from now on, even if its file cannot be
    /// removed. Then the last event is a failure, and `maintain` tries again. If it was the signing
    /// key, then its successor signs immediately, even if clients do not know the successor yet.
    pub fn revoke(&self, kid: &str, now: Timestamp) -> Result<Vec<KeyEvent>, KeyError> {
        let mut state = self.lock_managed()?;
        let failures = state.revoke(kid, now)?;
        let mut events = self.publish(&state, now);
        // The key is revoked, whatever failed, so the events must reach the audit log.
        for error in failures {
            let cause =
                format!("the key is revoked, but not all of it is done: {}", error_chain(&error));
            events.push(KeyEvent::Failed { cause });
        }
        Ok(events)
    }

    /// Imports a private key in PEM or as a JWK. It signs after `publish_before`, or at once if no
    /// key of its algorithm signs yet.
    pub fn import(
        &self,
        text: &str,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        let mut state = self.lock_managed()?;
        state.import(text, algorithm, now)?;
        Ok(self.publish(&state, now))
    }

    /// Does the work that is due: creates successors, lets them take over, removes retired keys,
    /// reads changed files. Failures are reported as events; the last good keys stay in use.
    pub fn maintain(&self, now: Timestamp) -> Vec<KeyEvent> {
        self.update(now, |state| match &state.options.place {
            // The keys of the document are changed in the store, and adopted.
            KeyPlace::SharedDocument => Ok(()),
            KeyPlace::ManagedFolder(_) | KeyPlace::OperatorFolder(_) => state.maintain(now),
        })
    }

    /// Plans a change of the shared document on a copy of it; nothing here changes. Keys with an id in
    /// `revoked` are revoked in the result.
    ///
    /// # Errors
    /// The document has a key that cannot be used, or `change` fails.
    pub(super) fn plan(
        &self,
        document: KeyDocument,
        revoked: BTreeSet<Arc<str>>,
        now: Timestamp,
        change: impl FnOnce(&mut RingState, Timestamp) -> Result<(), KeyError>,
    ) -> Result<KeyDocument, KeyError> {
        // The lock is not held while keys are made, which takes long for some algorithms.
        let scratch = self.state.lock().scratch();
        let mut scratch = scratch.read(document, revoked, now)?;
        change(&mut scratch, now)?;
        scratch.maintain(now)?;
        Ok(scratch.into_document(now))
    }

    /// Goes on with the keys of the shared document, except those in `revoked`.
    pub(super) fn adopt(
        &self,
        document: KeyDocument,
        revoked: BTreeSet<Arc<str>>,
        now: Timestamp,
    ) -> Vec<KeyEvent> {
        self.update(now, |state| state.adopt(document, revoked, now))
    }

    /// Goes on without the keys in `revoked`, which all gateways agree on.
    pub(super) fn obey(&self, revoked: BTreeSet<Arc<str>>, now: Timestamp) -> Vec<KeyEvent> {
        self.update(now, |state| state.obey(revoked, now))
    }

    /// Goes on with other options and the keys of the shared document. Returns the last options.
    pub(super) fn set_options(&self, options: KeyRingOptions) -> KeyRingOptions {
        let mut state = self.state.lock();
        let last = state.options.clone();
        state.set_options(options);
        last
    }

    /// True if the shared document needs a change.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.state.lock().is_due(now)
    }

    /// The algorithms for which no key signs.
    pub(super) fn unsigned(&self, now: Timestamp) -> Vec<Algorithm> {
        self.state.lock().unsigned(now)
    }

    /// The ids of the keys that are revoked.
    pub(super) fn revoked(&self) -> BTreeSet<Arc<str>> {
        self.state.lock().revoked.clone()
    }

    /// Changes the state, and publishes what became of it, also after a failure: what was done before
    /// it counts.
    fn update(
        &self,
        now: Timestamp,
        change: impl FnOnce(&mut RingState) -> Result<(), KeyError>,
    ) -> Vec<KeyEvent> {
        let mut state = self.state.lock();
        let done = change(&mut state);
        let mut events = self.publish(&state, now);
        if let Err(error) = done {
            events.push(KeyEvent::Failed { cause: error_chain(&error) });
        }
        events
    }

    /// Publishes the state to readers. Returns the changes.
    fn publish(&self, state: &RingState, now: Timestamp) -> Vec<KeyEvent> {
        let before = self.current.load_full();
        let list = rotation::list(&state.keys, now);
        let events = rotation::changes(&before.list, &list);
        // Without a change the epoch stays. A new epoch would make every cached token be verified
        // again.
        if events.is_empty() {
            return events;
        }
        let keys = state.keys.iter().map(|ring_key| ring_key.key.public().clone()).collect();
        // The epoch counts on for as long as the ring exists: tokens that were cached under an epoch
        // must not match other keys.
        let public = Arc::new(KeySet::new(before.public.epoch() + 1, keys));
        let signs = |ring_key: &&RingKey| {
            list.iter()
                .any(|entry| entry.state == KeyState::Signing && entry.kid == *ring_key.key.kid())
        };
        let signers =
            state.keys.iter().filter(signs).map(|ring_key| ring_key.key.clone()).collect();
        let jwks = jwks::document(&public);
        self.current.store(Arc::new(PublishedRing { signers, public, jwks, list }));
        events
    }

    /// The lock for a change that only a managed ring permits.
    fn lock_managed(&self) -> Result<MutexGuard<'_, RingState>, KeyError> {
        let state = self.state.lock();
        match &state.options.place {
            KeyPlace::OperatorFolder(dir) => Err(KeyError::NotManaged { dir: dir.clone() }),
            KeyPlace::ManagedFolder(_) => Ok(state),
            KeyPlace::SharedDocument => Err(KeyError::InStore),
        }
    }
}
