//! The key ring: the gateway's signing keys, their files and their rotation.
//!
//! A managed ring creates a key `publish_before` the key signs, so that clients that cache the JWKS
//! know it in time, and keeps a retired key for as long as one of its tokens can be valid. A folder
//! that the operator manages is only read; there the newest file of an algorithm signs. Signing and
//! verifying read a snapshot without a lock; only changes take the lock.
//!
//! Invariant: the file of a key is on disk before the key signs. A revoked key is out of memory
//! before its file is removed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::key_dir::{self, FolderState};
use super::key_info::{EarlierTimes, KeyEntry, KeyEvent, KeyRingOptions, KeyState, RingKey};
use super::signing::{KeyNotes, SigningKey};
use super::{BadKey, KeyError, KeySet, jwks, rotation};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::format::error_chain;
use crate::identity::Claims;
use crate::secret::{Digest, SecretString};

/// The gateway's signing keys.
#[derive(Debug)]
pub struct KeyRing {
    /// A panic under the lock cannot leave the keys half changed: files are written atomically, and
    /// the list of keys changes in one step.
    state: Mutex<RingState>,
    current: ArcSwap<PublishedRing>,
}

/// The state that changes under the lock.
#[derive(Debug)]
struct RingState {
    options: KeyRingOptions,
    keys: Vec<RingKey>,
    warnings: Vec<String>,
    look: FolderState,
    epoch: u64,
    /// The keys that were revoked in this process. Their files are never read again, whoever could
    /// not remove them or has put them back.
    revoked: BTreeSet<Arc<str>>,
    /// Files of revoked keys that are still there.
    undeleted: Vec<PathBuf>,
    /// Set while tokens of options with longer times may be valid.
    earlier: Option<EarlierTimes>,
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
    /// Opens the ring: reads the folder, creates missing keys if the ring is managed, and tests
    /// every key. Fails if the folder or a file is refused, or if an algorithm has no key.
    pub fn open(options: KeyRingOptions) -> Result<Arc<Self>, KeyError> {
        let now = options.now;
        let mut state = RingState::open(options, BTreeSet::new())?;
        state.clean(now)?;
        let ring = Self { state: Mutex::new(state), current: ArcSwap::default() };
        ring.publish(&mut ring.state.lock(), now);
        Ok(Arc::new(ring))
    }

    /// Opens the ring for a dry run, and writes nothing: a folder that is not there has no keys. With
    /// `spare_keys`, an algorithm without a key gets one that exists in memory only.
    ///
    /// # Errors
    /// The folder has a file that cannot be used.
    pub fn open_to_read(options: KeyRingOptions, spare_keys: bool) -> Result<Arc<Self>, KeyError> {
        let now = options.now;
        let mut state = RingState::empty(options, BTreeSet::new());
        if state.options.dir.exists() {
            (state.keys, state.warnings, state.look) = read(&state.options, now)?;
        }
        let missing: Vec<_> = unsigned(&state.options, &state.keys, now).collect();
        for algorithm in missing.into_iter().filter(|_| spare_keys) {
            let key = Arc::new(SigningKey::generate(algorithm)?);
            let path = state.options.dir.join(file_name(&key));
            state.keys.push(RingKey { key, created: now, signs_from: now, path });
        }
        let ring = Self { state: Mutex::new(state), current: ArcSwap::default() };
        ring.publish(&mut ring.state.lock(), now);
        Ok(Arc::new(ring))
    }

    /// Goes on with other options. The keys of another folder replace those of the last one. No key
    /// that was revoked comes back, and no file is removed here. Returns the changes for readers.
    ///
    /// # Errors
    /// As `open`; the last state then stays in use.
    pub fn reconfigure(&self, options: KeyRingOptions) -> Result<Vec<KeyEvent>, KeyError> {
        let now = options.now;
        let mut state = self.state.lock();
        let next = RingState::open(options, state.revoked.clone())?;
        // The epoch goes on counting: tokens that were cached under an epoch must not match other
        // keys.
        let epoch = state.epoch;
        let earlier = EarlierTimes::after(state.earlier, &state.options, &next.options);
        *state = RingState { epoch, earlier, ..next };
        Ok(self.publish(&mut state, now))
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
        let needed = state.options.algorithms.clone();
        if let Some(unknown) = algorithm.filter(|one| !needed.contains(one)) {
            return Err(KeyError::NoKey(unknown));
        }
        for one in needed.iter().filter(|one| algorithm.is_none_or(|wanted| wanted == **one)) {
            if !rotation::waiting(&state.keys, *one, now) {
                let signs_from = now.plus(state.options.publish_before);
                state.add(SigningKey::generate(*one)?, now, signs_from)?;
            }
        }
        Ok(self.publish(&mut state, now))
    }

    /// Revokes a key at once: its tokens are refused from now on, even if its file cannot be
    /// removed. Then the last event is a failure, and `maintain` tries again. If it was the signing
    /// key, then its successor signs immediately, even if clients do not know the successor yet.
    pub fn revoke(&self, kid: &str, now: Timestamp) -> Result<Vec<KeyEvent>, KeyError> {
        let mut state = self.lock_managed()?;
        let unknown = || KeyError::Unknown { kid: kid.to_owned() };
        let ring_key = state.keys.iter().find(|ring_key| ring_key.key.kid().as_ref() == kid);
        let ring_key = ring_key.ok_or_else(unknown)?.clone();
        let algorithm = ring_key.key.algorithm();
        let signing = rotation::signer(&state.keys, algorithm, now)
            .is_some_and(|signer| signer.key.kid() == ring_key.key.kid());
        // The key leaves memory before its file is removed. If the disk fails, then the key must
        // not stay valid in this process.
        state.keys.retain(|other| other.key.kid() != ring_key.key.kid());
        state.revoked.insert(ring_key.key.kid().clone());
        state.undeleted.push(ring_key.path);
        let succeeded = if signing { state.succeed(algorithm, now) } else { Ok(()) };
        let mut events = self.publish(&mut state, now);
        // The key is revoked, whatever fails now, so the events must reach the audit log.
        for error in [succeeded, state.remove_revoked()].into_iter().filter_map(Result::err) {
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
        let (key, _) = parse(text, algorithm, &state.options.algorithms)?;
        let kid = key.kid().clone();
        let first = rotation::signer(&state.keys, key.algorithm(), now).is_none();
        let signs_from = if first { now } else { now.plus(state.options.publish_before) };
        state.add(key, now, signs_from)?;
        // An operator may bring back what was revoked by mistake.
        state.revoked.remove(&kid);
        Ok(self.publish(&mut state, now))
    }

    /// Does the work that is due: creates successors, lets them take over, removes retired keys,
    /// reads changed files. Failures are reported as events; the last good keys stay in use.
    pub fn maintain(&self, now: Timestamp) -> Vec<KeyEvent> {
        let mut state = self.state.lock();
        let mut failed = Vec::new();
        let changed = key_dir::look(&state.options.dir).map(|look| look != state.look);
        let done = match changed {
            Ok(true) => state.load(now),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        let done = done.and_then(|()| state.supply(now));
        if let Err(error) = done.and_then(|()| state.clean(now)) {
            failed.push(KeyEvent::Failed { cause: error_chain(&error) });
        }
        let mut events = self.publish(&mut state, now);
        events.append(&mut failed);
        events
    }

    /// Publishes the state to readers. Returns the changes.
    fn publish(&self, state: &mut RingState, now: Timestamp) -> Vec<KeyEvent> {
        let before = self.current.load_full();
        let list = rotation::list(&state.keys, now);
        let events = rotation::changes(&before.list, &list);
        // Without a change the epoch stays. A new epoch would make every cached token be verified
        // again.
        if events.is_empty() {
            return events;
        }
        state.epoch += 1;
        let keys = state.keys.iter().map(|ring_key| ring_key.key.public().clone()).collect();
        let public = Arc::new(KeySet::new(state.epoch, keys));
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
        if state.options.managed {
            Ok(state)
        } else {
            Err(KeyError::NotManaged { dir: state.options.dir.clone() })
        }
    }
}

impl RingState {
    fn open(options: KeyRingOptions, revoked: BTreeSet<Arc<str>>) -> Result<Self, KeyError> {
        let now = options.now;
        if options.managed {
            key_dir::make(&options.dir)?;
        }
        let mut state = Self::empty(options, revoked);
        state.load(now)?;
        state.supply(now)?;
        Ok(state)
    }

    /// The state before the folder was read.
    fn empty(options: KeyRingOptions, revoked: BTreeSet<Arc<str>>) -> Self {
        Self {
            options,
            keys: Vec::new(),
            warnings: Vec::new(),
            look: FolderState::default(),
            epoch: 0,
            revoked,
            undeleted: Vec::new(),
            earlier: None,
        }
    }

    /// Reads the folder. On an error the state stays as it was.
    fn load(&mut self, now: Timestamp) -> Result<(), KeyError> {
        let (keys, warnings, look) = read(&self.options, now)?;
        let (revoked, keys): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|ring_key| self.revoked.contains(ring_key.key.kid()));
        // A folder of the operator's is checked as a whole before it replaces the keys in use.
        if !self.options.managed
            && let Some(needed) = unsigned(&self.options, &keys, now).next()
        {
            return Err(KeyError::NoKey(needed));
        }
        self.undeleted = revoked.into_iter().map(|ring_key| ring_key.path).collect();
        self.keys = keys;
        self.warnings = warnings;
        self.look = look;
        Ok(())
    }

    /// Creates the keys that are due.
    fn supply(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.managed {
            return Ok(());
        }
        for algorithm in self.options.algorithms.clone() {
            if let Some(signs_from) = rotation::due(&self.keys, algorithm, &self.options, now) {
                self.add(SigningKey::generate(algorithm)?, now, signs_from)?;
            }
        }
        Ok(())
    }

    /// Removes the files of revoked keys, and the keys that no valid token needs any more.
    fn clean(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.managed {
            return Ok(());
        }
        self.remove_revoked()?;
        let options = EarlierTimes::lengthen(self.earlier, &self.options, now);
        for path in rotation::over(&self.keys, &options, now) {
            key_dir::remove(&self.options.dir, &path)?;
            self.keys.retain(|ring_key| ring_key.path != path);
            self.look = key_dir::look(&self.options.dir)?;
        }
        Ok(())
    }

    /// Removes the files of revoked keys. Those that cannot be removed are tried again later.
    fn remove_revoked(&mut self) -> Result<(), KeyError> {
        while let Some(path) = self.undeleted.last() {
            key_dir::remove(&self.options.dir, path)?;
            self.undeleted.pop();
            self.look = key_dir::look(&self.options.dir)?;
        }
        Ok(())
    }

    /// Adds a key: tests it, writes its file, and only then uses it.
    fn add(
        &mut self,
        key: SigningKey,
        created: Timestamp,
        signs_from: Timestamp,
    ) -> Result<(), KeyError> {
        if self.keys.iter().any(|ring_key| ring_key.key.kid() == key.kid()) {
            return Err(KeyError::Twice { kid: key.kid().to_string() });
        }
        // The order matters. A key that fails its test must not reach the disk. A key that is not
        // on the disk must not sign, because a restart would lose it and invalidate its tokens.
        key.self_test()?;
        let text = key.write(created, signs_from);
        let path = key_dir::write(&self.options.dir, &file_name(&key), text.expose())?;
        self.undeleted.retain(|other| *other != path);
        self.keys.push(RingKey { key: Arc::new(key), created, signs_from, path });
        self.look = key_dir::look(&self.options.dir)?;
        Ok(())
    }

    /// Replaces a revoked signing key by the waiting successor, or else by a new key. An older key
    /// is not used again: its time to sign is over.
    fn succeed(&mut self, algorithm: Algorithm, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.algorithms.contains(&algorithm) {
            return Ok(());
        }
        let waiting = self
            .keys
            .iter_mut()
            .find(|ring_key| ring_key.key.algorithm() == algorithm && ring_key.signs_from > now);
        let Some(ring_key) = waiting else {
            return self.add(SigningKey::generate(algorithm)?, now, now);
        };
        // The new time is written to the file as well, or the successor would wait again after a
        // restart.
        ring_key.signs_from = now;
        let text = ring_key.key.write(ring_key.created, now);
        key_dir::replace(&self.options.dir, &ring_key.path, text.expose())
    }
}

/// The algorithms for which no key in the folder signs. The folder is read only; it is meant for a
/// folder that the operator manages.
///
/// # Errors
/// The folder has a file that cannot be used.
pub fn unsigned_algorithms(options: &KeyRingOptions) -> Result<Vec<Algorithm>, KeyError> {
    let (keys, ..) = read(options, options.now)?;
    Ok(unsigned(options, &keys, options.now).collect())
}

fn unsigned<'k>(
    options: &'k KeyRingOptions,
    keys: &'k [RingKey],
    now: Timestamp,
) -> impl Iterator<Item = Algorithm> + 'k {
    let needed = options.algorithms.iter().copied();
    needed.filter(move |needed| rotation::signer(keys, *needed, now).is_none())
}

/// Reads all keys of the folder, with warnings for the operator and the folder's fingerprint.
fn read(
    options: &KeyRingOptions,
    now: Timestamp,
) -> Result<(Vec<RingKey>, Vec<String>, FolderState), KeyError> {
    let mut keys = Vec::<RingKey>::new();
    let mut warnings = Vec::new();
    // The fingerprint is taken before the files are read. If a file changes in between, then the
    // next comparison finds a difference and the folder is read again.
    let look = key_dir::look(&options.dir)?;
    for file in key_dir::read(&options.dir, &mut warnings)? {
        // A file name such as `KEY.RS256.pem` may name the algorithm of a key that does not name
        // it.
        let named = file.path.file_stem().map(std::path::Path::new);
        let named = named.and_then(|stem| Algorithm::parse(stem.extension()?.to_str()?));
        let (key, notes) = parse(&file.text, named, &options.algorithms)
            .map_err(|source| KeyError::File { path: file.path.clone(), source })?;
        key.self_test()?;
        if keys.iter().any(|ring_key| ring_key.key.kid() == key.kid()) {
            return Err(KeyError::Twice { kid: key.kid().to_string() });
        }
        keys.push(RingKey {
            key: Arc::new(key),
            created: notes.created.unwrap_or(file.modified),
            // A time in the future is cut to now, so that a wrong clock cannot keep the key from
            // signing.
            signs_from: notes.signs_from.unwrap_or(file.modified.min(now)),
            path: file.path,
        });
    }
    Ok((keys, warnings, look))
}

/// Parses a key, which must be of `algorithm` if one is named.
fn parse(
    text: &str,
    algorithm: Option<Algorithm>,
    preferred: &[Algorithm],
) -> Result<(SigningKey, KeyNotes), BadKey> {
    let (key, notes) = match &algorithm {
        Some(named) => SigningKey::parse(text, std::slice::from_ref(named))?,
        None => SigningKey::parse(text, preferred)?,
    };
    if algorithm.is_some_and(|named| named != key.algorithm()) {
        return Err(BadKey("it is not a key of the algorithm that is named for it"));
    }
    Ok((key, notes))
}

/// The file name of a key. The id of an imported key may contain anything, even a path, and is then
/// replaced by its digest.
fn file_name(key: &SigningKey) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = match key.kid().as_ref() {
        kid if kid.len() <= 64 && kid.chars().all(plain) => kid.to_owned(),
        kid => Digest::of(kid.as_bytes()).base64url(),
    };
    let extension = if key.algorithm().is_symmetric() { "jwk" } else { "pem" };
    format!("{name}.{extension}")
}
