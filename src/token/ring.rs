//! The key ring: our signing keys, their files and their rotation.
//!
//! A ring that we manage makes a key `publish_before` it signs, so that whoever reads the JWKS
//! knows it in time, and keeps the old one for as long as a token of it may live. A folder that
//! the operator manages is only read; there the newest file of an algorithm signs. Signing and
//! verifying read one snapshot and never wait; whoever changes keys holds the lock.
//!
//! Invariant: the folder is written before a key is used and after a key is disused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::entry::{Held, KeyEntry, KeyEvent, KeyRingOptions, KeyState};
use super::folder::{self, Look};
use super::signing::{Notes, SigningKey};
use super::{BadKey, KeyError, KeySet, jwks, rotation};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::identity::Claims;
use crate::secret::{Digest, SecretString};

/// Our signing keys.
#[derive(Debug)]
pub struct KeyRing {
    state: Mutex<State>,
    current: ArcSwap<Current>,
}

/// What changes, under the lock.
#[derive(Debug)]
struct State {
    options: KeyRingOptions,
    keys: Vec<Held>,
    warnings: Vec<String>,
    look: Look,
    epoch: u64,
}

/// What readers see.
#[derive(Debug, Default)]
struct Current {
    signers: Vec<Arc<SigningKey>>,
    public: Arc<KeySet>,
    jwks: Bytes,
    list: Vec<KeyEntry>,
}

impl KeyRing {
    /// Reads the folder, makes the keys that are missing if it is ours, and tests every key that
    /// signs.
    pub fn open(options: KeyRingOptions) -> Result<Arc<Self>, KeyError> {
        let now = options.now;
        let state = State::open(options)?;
        let ring = Self { state: Mutex::new(state), current: ArcSwap::default() };
        ring.publish(&mut ring.lock(), now);
        Ok(Arc::new(ring))
    }

    /// Goes on with other options: another folder perhaps, whose keys replace those of the last
    /// one. Answers what changed for readers.
    ///
    /// # Errors
    /// As `open`; then everything stays as it was.
    pub fn reconfigure(&self, options: KeyRingOptions) -> Result<Vec<KeyEvent>, KeyError> {
        let now = options.now;
        let mut state = self.lock();
        let next = State::open(options)?;
        let epoch = state.epoch;
        *state = State { epoch, ..next };
        Ok(self.publish(&mut state, now))
    }

    /// A signed token with `typ` in its header.
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

    /// The public halves (and secrets) that verify our tokens.
    pub fn public(&self) -> Arc<KeySet> {
        self.current.load().public.clone()
    }

    /// The epoch of `public`, without touching its count.
    pub fn epoch(&self) -> u64 {
        self.current.load().public.epoch()
    }

    /// The JWKS document (RFC 7517 §5): public keys only.
    pub fn jwks(&self) -> Bytes {
        self.current.load().jwks.clone()
    }

    /// Every key, by algorithm and age.
    pub fn list(&self) -> Vec<KeyEntry> {
        self.current.load().list.clone()
    }

    /// What the operator should know about the files, as of the last time they were read.
    pub fn warnings(&self) -> Vec<String> {
        self.lock().warnings.clone()
    }

    /// Makes successors, for one algorithm or all; they sign after `publish_before`. One that is
    /// already waiting is not doubled.
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
        for one in needed.iter().filter(|one| algorithm.is_none_or(|asked| asked == **one)) {
            if !rotation::waiting(&state.keys, *one, now) {
                let signs_from = now.plus(state.options.publish_before);
                state.add(SigningKey::generate(*one)?, now, signs_from)?;
            }
        }
        Ok(self.publish(&mut state, now))
    }

    /// Disuses a key at once: its tokens are refused from now on. If it was signing, its
    /// successor signs now, published or not.
    pub fn revoke(&self, kid: &str, now: Timestamp) -> Result<Vec<KeyEvent>, KeyError> {
        let mut state = self.lock_managed()?;
        let unknown = || KeyError::Unknown { kid: kid.to_owned() };
        let held = state.keys.iter().find(|held| held.key.kid().as_ref() == kid);
        let held = held.ok_or_else(unknown)?.clone();
        let algorithm = held.key.algorithm();
        let signing = rotation::signer(&state.keys, algorithm, now)
            .is_some_and(|signer| signer.key.kid() == held.key.kid());
        // First out of memory: a disk that cannot forget it must not keep it valid here.
        state.keys.retain(|other| other.key.kid() != held.key.kid());
        let succeeded = if signing { state.succeed(algorithm, now) } else { Ok(()) };
        let events = self.publish(&mut state, now);
        folder::remove(&state.options.dir, &held.path)?;
        state.look = folder::look(&state.options.dir)?;
        succeeded.map(|()| events)
    }

    /// Takes a private key in PEM or as a JWK. It signs after `publish_before`, or at once where
    /// no key of its algorithm does.
    pub fn import(
        &self,
        text: &str,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        let mut state = self.lock_managed()?;
        let (key, _) = parse(text, algorithm, &state.options.algorithms)?;
        let first = rotation::signer(&state.keys, key.algorithm(), now).is_none();
        let signs_from = if first { now } else { now.plus(state.options.publish_before) };
        state.add(key, now, signs_from)?;
        Ok(self.publish(&mut state, now))
    }

    /// What time brings: successors are made, take over, and old keys go; changed files are read.
    pub fn maintain(&self, now: Timestamp) -> Vec<KeyEvent> {
        let mut state = self.lock();
        let mut failed = Vec::new();
        let changed = folder::look(&state.options.dir).map(|look| look != state.look);
        let done = match changed {
            Ok(true) => state.load(now),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = done.and_then(|()| state.supply(now)) {
            failed.push(KeyEvent::Failed { cause: causes(&error) });
        }
        let mut events = self.publish(&mut state, now);
        events.append(&mut failed);
        events
    }

    /// Shows the state to readers; answers what changed for them.
    fn publish(&self, state: &mut State, now: Timestamp) -> Vec<KeyEvent> {
        let before = self.current.load_full();
        let list = rotation::list(&state.keys, now);
        let events = rotation::changes(&before.list, &list);
        if events.is_empty() {
            return events;
        }
        state.epoch += 1;
        let keys = state.keys.iter().map(|held| held.key.public().clone()).collect();
        let public = Arc::new(KeySet::new(state.epoch, keys));
        let signs = |held: &&Held| {
            list.iter()
                .any(|entry| entry.state == KeyState::Signing && entry.kid == *held.key.kid())
        };
        let signers = state.keys.iter().filter(signs).map(|held| held.key.clone()).collect();
        let jwks = jwks::document(&public);
        self.current.store(Arc::new(Current { signers, public, jwks, list }));
        events
    }

    fn lock_managed(&self) -> Result<MutexGuard<'_, State>, KeyError> {
        let state = self.lock();
        if state.options.managed {
            Ok(state)
        } else {
            Err(KeyError::NotManaged { dir: state.options.dir.clone() })
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever a panic interrupted, the files are whole and the list of keys is as well.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(options: KeyRingOptions) -> Result<Self, KeyError> {
        let now = options.now;
        if options.managed {
            folder::make(&options.dir)?;
        }
        let mut state = Self {
            options,
            keys: Vec::new(),
            warnings: Vec::new(),
            look: Look::default(),
            epoch: 0,
        };
        state.load(now)?;
        state.supply(now)?;
        Ok(state)
    }

    /// Reads the folder; on an error everything stays as it was.
    fn load(&mut self, now: Timestamp) -> Result<(), KeyError> {
        let (keys, warnings, look) = read(&self.options, now)?;
        if !self.options.managed
            && let Some(needed) = unsigned(&self.options, &keys, now).next()
        {
            return Err(KeyError::NoKey(needed));
        }
        self.keys = keys;
        self.warnings = warnings;
        self.look = look;
        Ok(())
    }

    /// Makes the keys that are due and removes those whose time is over.
    fn supply(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.managed {
            return Ok(());
        }
        for algorithm in self.options.algorithms.clone() {
            if let Some(signs_from) = rotation::due(&self.keys, algorithm, &self.options, now) {
                self.add(SigningKey::generate(algorithm)?, now, signs_from)?;
            }
        }
        for path in rotation::over(&self.keys, &self.options, now) {
            folder::remove(&self.options.dir, &path)?;
            self.keys.retain(|held| held.path != path);
            self.look = folder::look(&self.options.dir)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        key: SigningKey,
        created: Timestamp,
        signs_from: Timestamp,
    ) -> Result<(), KeyError> {
        if self.keys.iter().any(|held| held.key.kid() == key.kid()) {
            return Err(KeyError::Twice { kid: key.kid().to_string() });
        }
        key.self_test()?;
        let text = key.write(created, signs_from);
        let path = folder::write(&self.options.dir, &file_name(&key), text.expose())?;
        self.keys.push(Held { key: Arc::new(key), created, signs_from, path });
        self.look = folder::look(&self.options.dir)?;
        Ok(())
    }

    /// Puts a signer in the place of one that was revoked. An older key is not used again.
    fn succeed(&mut self, algorithm: Algorithm, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.algorithms.contains(&algorithm) {
            return Ok(());
        }
        let waiting = self
            .keys
            .iter_mut()
            .find(|held| held.key.algorithm() == algorithm && held.signs_from > now);
        let Some(held) = waiting else {
            return self.add(SigningKey::generate(algorithm)?, now, now);
        };
        held.signs_from = now;
        let text = held.key.write(held.created, now);
        folder::replace(&self.options.dir, &held.path, text.expose())
    }
}

/// The algorithms for which no key of the folder signs. Nothing is made or written: for a folder
/// that the operator manages.
///
/// # Errors
/// When the folder holds what cannot be used.
pub fn unsigned_algorithms(options: &KeyRingOptions) -> Result<Vec<Algorithm>, KeyError> {
    let (keys, ..) = read(options, options.now)?;
    Ok(unsigned(options, &keys, options.now).collect())
}

fn unsigned<'k>(
    options: &'k KeyRingOptions,
    keys: &'k [Held],
    now: Timestamp,
) -> impl Iterator<Item = Algorithm> + 'k {
    let needed = options.algorithms.iter().copied();
    needed.filter(move |needed| rotation::signer(keys, *needed, now).is_none())
}

/// Every key of the folder, sentences for the operator, and what the folder looked like before.
fn read(
    options: &KeyRingOptions,
    now: Timestamp,
) -> Result<(Vec<Held>, Vec<String>, Look), KeyError> {
    let (mut keys, mut warnings) = (Vec::<Held>::new(), Vec::new());
    let look = folder::look(&options.dir)?;
    for file in folder::read(&options.dir, &mut warnings)? {
        let named = file.path.file_stem().map(std::path::Path::new);
        let named = named.and_then(|stem| Algorithm::parse(stem.extension()?.to_str()?));
        let (key, notes) = parse(&file.text, named, &options.algorithms)
            .map_err(|source| KeyError::File { path: file.path.clone(), source })?;
        key.self_test()?;
        if keys.iter().any(|held| held.key.kid() == key.kid()) {
            return Err(KeyError::Twice { kid: key.kid().to_string() });
        }
        keys.push(Held {
            key: Arc::new(key),
            created: notes.created.unwrap_or(file.modified),
            signs_from: notes.signs_from.unwrap_or(file.modified.min(now)),
            path: file.path,
        });
    }
    Ok((keys, warnings, look))
}

/// Reads a key that must be of `algorithm`, if one is named.
fn parse(
    text: &str,
    algorithm: Option<Algorithm>,
    preferred: &[Algorithm],
) -> Result<(SigningKey, Notes), BadKey> {
    let (key, notes) = match &algorithm {
        Some(named) => SigningKey::parse(text, std::slice::from_ref(named))?,
        None => SigningKey::parse(text, preferred)?,
    };
    if algorithm.is_some_and(|named| named != key.algorithm()) {
        return Err(BadKey("it is not a key of the algorithm that is named for it"));
    }
    Ok((key, notes))
}

/// Key ids of our own are base64url; one that came with a key may hold anything, a path too.
fn file_name(key: &SigningKey) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = match key.kid().as_ref() {
        kid if kid.len() <= 64 && kid.chars().all(plain) => kid.to_owned(),
        kid => Digest::of(kid.as_bytes()).base64url(),
    };
    let extension = if key.algorithm().is_symmetric() { "jwk" } else { "pem" };
    format!("{name}.{extension}")
}

fn causes(error: &KeyError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
