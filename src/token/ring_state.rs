//! The keys of a ring and what becomes of them: reading, making, revoking, importing and removing.
//!
//! Everything here works on a `KeyStorage`, a folder or a copy of the shared document, and publishes
//! nothing: `ring` shows the result to readers, and `signing_keys` puts a changed copy into the
//! store.
//!
//! Invariant: the file of a key is in the storage before the key is in `keys`. A revoked key is out
//! of `keys` before its file is removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::key_dir::FolderState;
use super::key_info::{EarlierTimes, KeyRingOptions, RingKey};
use super::key_storage::KeyStorage;
use super::signing::{KeyNotes, SigningKey};
use super::{BadKey, KeyError, rotation};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::secret::Digest;

/// The keys of a ring, as far as they are known here.
#[derive(Debug)]
pub(super) struct RingState {
    pub(super) options: KeyRingOptions,
    pub(super) storage: KeyStorage,
    pub(super) keys: Vec<RingKey>,
    pub(super) warnings: Vec<String>,
    look: FolderState,
    /// The keys that were revoked. Their files are never used again, whoever could not remove them
    /// or has put them back.
    pub(super) revoked: BTreeSet<Arc<str>>,
    /// Files of revoked keys that are still there.
    undeleted: Vec<PathBuf>,
    /// Set while tokens of options with longer times may be valid.
    pub(super) earlier: Option<EarlierTimes>,
}

impl RingState {
    /// Reads the storage, and creates the keys that are missing if the ring is managed.
    pub(super) fn open(
        options: KeyRingOptions,
        storage: KeyStorage,
        revoked: BTreeSet<Arc<str>>,
    ) -> Result<Self, KeyError> {
        let now = options.now;
        if options.place.is_managed() {
            storage.make()?;
        }
        let mut state = Self::empty(options, storage, revoked);
        state.load(now)?;
        state.supply(now)?;
        Ok(state)
    }

    /// Reads the storage, and writes nothing. With `spare_keys`, an algorithm without a key gets one
    /// that exists in memory only.
    pub(super) fn open_to_read(
        options: KeyRingOptions,
        spare_keys: bool,
    ) -> Result<Self, KeyError> {
        let now = options.now;
        let storage = options.place.storage();
        let mut state = Self::empty(options, storage, BTreeSet::new());
        if state.storage.exists() {
            let read = read(&state.storage, &state.options.algorithms, now)?;
            (state.keys, state.warnings, state.look) = read;
        }
        let missing: Vec<_> = unsigned(&state.options, &state.keys, now).collect();
        for algorithm in missing.into_iter().filter(|_| spare_keys) {
            let key = Arc::new(SigningKey::generate(algorithm)?);
            let path = state.storage.path(&file_name(&key));
            state.keys.push(RingKey { key, created: now, signs_from: now, path });
        }
        Ok(state)
    }

    /// The state before anything was read.
    pub(super) fn empty(
        options: KeyRingOptions,
        storage: KeyStorage,
        revoked: BTreeSet<Arc<str>>,
    ) -> Self {
        Self {
            options,
            storage,
            keys: Vec::new(),
            warnings: Vec::new(),
            look: FolderState::default(),
            revoked,
            undeleted: Vec::new(),
            earlier: None,
        }
    }

    /// Creates successors for one algorithm or for all. An algorithm with a waiting successor gets no
    /// second one.
    pub(super) fn rotate(
        &mut self,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let needed = self.options.algorithms.clone();
        if let Some(unknown) = algorithm.filter(|one| !needed.contains(one)) {
            return Err(KeyError::NoKey(unknown));
        }
        for one in needed.iter().filter(|one| algorithm.is_none_or(|wanted| wanted == **one)) {
            if !rotation::waiting(&self.keys, *one, now) {
                let signs_from = now.plus(self.options.publish_before);
                self.add(Arc::new(SigningKey::generate(*one)?), now, signs_from)?;
            }
        }
        Ok(())
    }

    /// Revokes a key: from now on it is not among the keys. Returns what failed afterwards; the key
    /// is revoked all the same.
    pub(super) fn revoke(&mut self, kid: &str, now: Timestamp) -> Result<Vec<KeyError>, KeyError> {
        let unknown = || KeyError::Unknown { kid: kid.to_owned() };
        let ring_key = self.keys.iter().find(|ring_key| ring_key.key.kid().as_ref() == kid);
        let ring_key = ring_key.ok_or_else(unknown)?.clone();
        let algorithm = ring_key.key.algorithm();
        let signing = rotation::signer(&self.keys, algorithm, now)
            .is_some_and(|signer| signer.key.kid() == ring_key.key.kid());
        // The key leaves memory before its file is removed. If the disk fails, then the key must
        // not stay valid in this process.
        self.keys.retain(|other| other.key.kid() != ring_key.key.kid());
        self.revoked.insert(ring_key.key.kid().clone());
        self.undeleted.push(ring_key.path);
        let succeeded = if signing { self.succeed(algorithm, now) } else { Ok(()) };
        Ok([succeeded, self.remove_revoked()].into_iter().filter_map(Result::err).collect())
    }

    /// Adds a private key in PEM or as a JWK. It signs after `publish_before`, or at once if no key
    /// of its algorithm signs yet.
    pub(super) fn import(
        &mut self,
        text: &str,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let (key, _) = parse(text, algorithm, &self.options.algorithms)?;
        let kid = key.kid().clone();
        let first = rotation::signer(&self.keys, key.algorithm(), now).is_none();
        let signs_from = if first { now } else { now.plus(self.options.publish_before) };
        self.add(Arc::new(key), now, signs_from)?;
        // An operator may bring back what was revoked by mistake.
        self.revoked.remove(&kid);
        Ok(())
    }

    /// Does the work that is due: reads changed files, creates successors, removes retired keys. What
    /// was done before a failure stays.
    pub(super) fn maintain(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if self.storage.look()? != self.look {
            self.load(now)?;
        }
        self.supply(now)?;
        self.clean(now)
    }

    /// The state of the same ring under other options, with its folder read anew. The longer times
    /// of the last options go on to count for as long as tokens may have been signed by them.
    pub(super) fn under(&self, options: KeyRingOptions) -> Result<Self, KeyError> {
        let storage = options.place.storage();
        let next = Self::open(options, storage, self.revoked.clone())?;
        let earlier = EarlierTimes::after(self.earlier, &self.options, &next.options);
        Ok(Self { earlier, ..next })
    }

    /// Goes on with other options and the same keys.
    pub(super) fn set_options(&mut self, options: KeyRingOptions) {
        self.earlier = EarlierTimes::after(self.earlier, &self.options, &options);
        self.options = options;
    }

    /// Reads the storage. On an error the state stays as it was.
    pub(super) fn load(&mut self, now: Timestamp) -> Result<(), KeyError> {
        let (keys, warnings, look) = read(&self.storage, &self.options.algorithms, now)?;
        let (revoked, keys): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|ring_key| self.revoked.contains(ring_key.key.kid()));
        // A folder of the operator's is checked as a whole before it replaces the keys in use.
        if !self.options.place.is_managed()
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
    pub(super) fn supply(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.place.is_managed() {
            return Ok(());
        }
        for algorithm in self.options.algorithms.clone() {
            if let Some(signs_from) = rotation::due(&self.keys, algorithm, &self.options, now) {
                self.add(Arc::new(SigningKey::generate(algorithm)?), now, signs_from)?;
            }
        }
        Ok(())
    }

    /// Removes the files of revoked keys, and the keys that no valid token needs any more.
    pub(super) fn clean(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.place.is_managed() {
            return Ok(());
        }
        self.remove_revoked()?;
        for path in self.over(now) {
            self.storage.remove(&path)?;
            self.keys.retain(|ring_key| ring_key.path != path);
            self.look = self.storage.look()?;
        }
        Ok(())
    }

    /// The files of keys that no valid token needs any more.
    pub(super) fn over(&self, now: Timestamp) -> Vec<PathBuf> {
        let options = EarlierTimes::lengthen(self.earlier, &self.options, now);
        rotation::over(&self.keys, &options, now)
    }

    /// The algorithms for which no key signs.
    pub(super) fn unsigned(&self, now: Timestamp) -> Vec<Algorithm> {
        unsigned(&self.options, &self.keys, now).collect()
    }

    /// True if files of revoked keys are still there.
    pub(super) fn has_undeleted(&self) -> bool {
        !self.undeleted.is_empty()
    }

    /// Makes the next `maintain` read the files, whether they have changed or not.
    pub(super) fn forget_look(&mut self) {
        self.look.clear();
    }

    /// Removes the files of revoked keys. Those that cannot be removed are tried again later.
    pub(super) fn remove_revoked(&mut self) -> Result<(), KeyError> {
        while let Some(path) = self.undeleted.last() {
            self.storage.remove(path)?;
            self.undeleted.pop();
            self.look = self.storage.look()?;
        }
        Ok(())
    }

    /// Adds a key: tests it, writes its file, and only then uses it.
    pub(super) fn add(
        &mut self,
        key: Arc<SigningKey>,
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
        let path = self.storage.write(&file_name(&key), text.expose())?;
        self.undeleted.retain(|other| *other != path);
        self.keys.push(RingKey { key, created, signs_from, path });
        self.look = self.storage.look()?;
        Ok(())
    }

    /// Replaces a revoked signing key by the waiting successor, or else by a new key. An older key
    /// is not used again: its time to sign is over.
    pub(super) fn succeed(&mut self, algorithm: Algorithm, now: Timestamp) -> Result<(), KeyError> {
        if !self.options.algorithms.contains(&algorithm) {
            return Ok(());
        }
        let waiting = self
            .keys
            .iter_mut()
            .find(|ring_key| ring_key.key.algorithm() == algorithm && ring_key.signs_from > now);
        let Some(ring_key) = waiting else {
            return self.add(Arc::new(SigningKey::generate(algorithm)?), now, now);
        };
        // The new time is written to the file as well, or the successor would wait again after a
        // restart.
        ring_key.signs_from = now;
        let text = ring_key.key.write(ring_key.created, now);
        self.storage.replace(&ring_key.path, text.expose())
    }
}

/// The algorithms for which no key in the folder signs. The folder is read only; it is meant for a
/// folder that the operator manages.
///
/// # Errors
/// The folder has a file that cannot be used.
pub fn unsigned_algorithms(options: &KeyRingOptions) -> Result<Vec<Algorithm>, KeyError> {
    let (keys, ..) = read(&options.place.storage(), &options.algorithms, options.now)?;
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

/// Reads all keys, with warnings for the operator and a fingerprint of the files.
pub(super) fn read(
    storage: &KeyStorage,
    algorithms: &[Algorithm],
    now: Timestamp,
) -> Result<(Vec<RingKey>, Vec<String>, FolderState), KeyError> {
    let mut keys = Vec::<RingKey>::new();
    let mut warnings = Vec::new();
    // The fingerprint is taken before the files are read. If a file changes in between, then the
    // next comparison finds a difference and the folder is read again.
    let look = storage.look()?;
    for file in storage.read(&mut warnings)? {
        // A file name such as `KEY.RS256.pem` may name the algorithm of a key that does not name
        // it.
        let named = file.path.file_stem().map(Path::new);
        let named = named.and_then(|stem| Algorithm::parse(stem.extension()?.to_str()?));
        let (key, notes) = parse(&file.text, named, algorithms)
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
