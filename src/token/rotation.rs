//! Key rotation: which key signs, which waits, and which is no longer needed, by time alone.
//!
//! Of one algorithm, the key that began to sign last is the signer. This state is never stored: it
//! is computed from the time at which each key signs. A crash between two writes can therefore not
//! leave a contradiction. `ring` and the state of it are the callers; nothing here reads a clock or a file.

use std::path::PathBuf;

use super::key_info::{KeyEntry, KeyEvent, KeyRingOptions, KeyState, RingKey};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;

/// The key that signs: of those that have begun to sign, the latest. If none has begun because the
/// clock was set back, the earliest key signs, so that logins go on.
pub(super) fn signer(keys: &[RingKey], algorithm: Algorithm, now: Timestamp) -> Option<&RingKey> {
    let of = || keys.iter().filter(move |ring_key| ring_key.key.algorithm() == algorithm);
    let begun =
        of().filter(|ring_key| ring_key.signs_from <= now).max_by_key(|ring_key| order(ring_key));
    begun.or_else(|| of().min_by_key(|ring_key| order(ring_key)))
}

/// True if a successor is published and will take over.
pub(super) fn waiting(keys: &[RingKey], algorithm: Algorithm, now: Timestamp) -> bool {
    let Some(signer) = signer(keys, algorithm, now) else { return false };
    keys.iter()
        .any(|ring_key| ring_key.key.algorithm() == algorithm && order(ring_key) > order(signer))
}

/// The time from which a key that must be created now would sign; `None` if none is due.
pub(super) fn due(
    keys: &[RingKey],
    algorithm: Algorithm,
    options: &KeyRingOptions,
    now: Timestamp,
) -> Option<Timestamp> {
    let Some(signer) = signer(keys, algorithm, now) else { return Some(now) };
    // The successor is created `publish_before` the current key ends. If that moment was missed,
    // for example during a stop, the successor signs later, because clients must know it first. The
    // current key goes on signing until then.
    let ends = signer.signs_from.plus(options.rotate_every);
    let due = now.plus(options.publish_before) >= ends && !waiting(keys, algorithm, now);
    due.then(|| ends.max(now.plus(options.publish_before)))
}

/// The files of keys that no valid token can need any more.
pub(super) fn over(keys: &[RingKey], options: &KeyRingOptions, now: Timestamp) -> Vec<PathBuf> {
    let is_over = |ring_key: &&RingKey| {
        let retired = if options.algorithms.contains(&ring_key.key.algorithm()) {
            let later = keys.iter().filter(|other| {
                other.key.algorithm() == ring_key.key.algorithm() && order(other) > order(ring_key)
            });
            later.map(|other| other.signs_from).min()
        } else {
            // Nothing is signed with this algorithm any more, so no successor marks the end of this
            // key. Its end is computed as if it had been rotated.
            Some(ring_key.signs_from.plus(options.rotate_every))
        };
        retired.is_some_and(|at| at.plus(options.keep_for) < now)
    };
    keys.iter().filter(is_over).map(|ring_key| ring_key.path.clone()).collect()
}

/// All keys in order of algorithm and age.
pub(super) fn list(keys: &[RingKey], now: Timestamp) -> Vec<KeyEntry> {
    let mut sorted: Vec<_> = keys.iter().collect();
    sorted.sort_by_key(|ring_key| (ring_key.key.algorithm(), order(ring_key)));
    let entry = |ring_key: &RingKey| {
        let signer = signer(keys, ring_key.key.algorithm(), now);
        let state = match signer {
            Some(signer) if signer.key.kid() == ring_key.key.kid() => KeyState::Signing,
            Some(signer) if order(ring_key) > order(signer) => KeyState::Pending,
            _ => KeyState::Retired,
        };
        KeyEntry {
            kid: ring_key.key.kid().clone(),
            algorithm: ring_key.key.algorithm(),
            created: ring_key.created,
            signs_from: ring_key.signs_from,
            state,
        }
    };
    sorted.into_iter().map(entry).collect()
}

/// The changes between two lists.
pub(super) fn changes(before: &[KeyEntry], after: &[KeyEntry]) -> Vec<KeyEvent> {
    let ring_key = |list: &[KeyEntry], entry: &KeyEntry| {
        list.iter().find(|other| other.kid == entry.kid).map(|other| other.state)
    };
    let mut events = Vec::new();
    for entry in after {
        let kid = entry.kid.clone();
        let algorithm = entry.algorithm;
        let was = ring_key(before, entry);
        if was.is_none() {
            let signs_from = entry.signs_from;
            events.push(KeyEvent::Added { kid: kid.clone(), algorithm, signs_from });
        }
        if entry.state == KeyState::Signing && was != Some(KeyState::Signing) {
            events.push(KeyEvent::Signs { kid, algorithm });
        }
    }
    for entry in before.iter().filter(|entry| ring_key(after, entry).is_none()) {
        events.push(KeyEvent::Removed { kid: entry.kid.clone(), algorithm: entry.algorithm });
    }
    events
}

/// True if `key` begins to sign after `other`, which has the same algorithm.
pub(super) fn is_later(key: &RingKey, other: &RingKey) -> bool {
    order(key) > order(other)
}

/// The order in which keys of one algorithm sign. The path decides between equal times, so that
/// every start chooses the same key. Without the path, two keys of one second could change places
/// at a restart.
fn order(ring_key: &RingKey) -> (Timestamp, &PathBuf) {
    (ring_key.signs_from, &ring_key.path)
}
