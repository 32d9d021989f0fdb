//! Tokens verified before, by the digest of the whole token.
//!
//! Bounded: a full shard gives up the least recently used of a few entries drawn at random.
//! Holds facts only. Whether a token may be used now is asked again on every hit (see
//! `verified`), and a failure is never kept. Shards have an index beside their entries, because
//! a fair draw needs positions, which a plain concurrent map does not offer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::verified::Verified;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::spread::Spread;

/// Enough that two cores seldom meet, few enough that a small cache is still one.
const MAX_SHARDS: usize = 64;

/// Fewest entries that make a shard worth having.
const MIN_SHARD: usize = 64;

/// How many entries are compared when one must go.
const SAMPLE: usize = 8;

/// A token's use is noted at most this often, so that reading stays reading.
const NOTE_EVERY: u64 = 1000;

/// Remembered tokens.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Box<[RwLock<Shard>]>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Shard {
    index: HashMap<Digest, usize, Spread>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    digest: Digest,
    epoch: u64,
    verified: Arc<Verified>,
    used: AtomicU64,
}

impl Cache {
    /// A cache of at most about `size` tokens; none with 0.
    pub(super) fn new(size: usize) -> Self {
        let shards = (size / MIN_SHARD).clamp(1, MAX_SHARDS);
        let capacity = size.div_ceil(shards);
        Self { shards: (0..shards).map(|_| RwLock::default()).collect(), capacity }
    }

    /// The token, with the epoch of the keys it was verified by.
    pub(super) fn find(&self, digest: &Digest, now: Timestamp) -> Option<(Arc<Verified>, u64)> {
        let shard = self.shard(digest)?.read().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.entries.get(*shard.index.get(digest)?)?;
        if now.millis().saturating_sub(entry.used.load(Ordering::Relaxed)) >= NOTE_EVERY {
            entry.used.store(now.millis(), Ordering::Relaxed);
        }
        Some((entry.verified.clone(), entry.epoch))
    }

    /// Remembers a token that was verified and admitted at `now`.
    pub(super) fn keep(&self, digest: Digest, epoch: u64, verified: Arc<Verified>, now: Timestamp) {
        let Some(shard) = self.shard(&digest).filter(|_| self.capacity > 0) else { return };
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry { digest, epoch, verified, used: AtomicU64::new(now.millis()) };
        let held = shard.index.get(&digest).copied();
        if let Some(held) = held.and_then(|position| shard.entries.get_mut(position)) {
            *held = entry;
            return;
        }
        if shard.entries.len() >= self.capacity {
            shard.evict(&digest);
        }
        let position = shard.entries.len();
        shard.index.insert(digest, position);
        shard.entries.push(entry);
    }

    /// Forgets tokens that have expired.
    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let is_over = |entry: &Entry| entry.verified.expires.plus(entry.verified.leeway) <= now;
            let over: Vec<Digest> = shard
                .entries
                .iter()
                .filter(|entry| is_over(entry))
                .map(|entry| entry.digest)
                .collect();
            for digest in over {
                shard.remove(&digest);
            }
        }
    }

    /// How many tokens are remembered.
    pub(super) fn len(&self) -> usize {
        let of = |shard: &RwLock<Shard>| {
            shard.read().unwrap_or_else(PoisonError::into_inner).entries.len()
        };
        self.shards.iter().map(of).sum()
    }

    fn shard(&self, digest: &Digest) -> Option<&RwLock<Shard>> {
        let [first, second, ..] = digest.0;
        self.shards.get(usize::from(u16::from_be_bytes([first, second])) % self.shards.len())
    }
}

impl Shard {
    /// Removes the least recently used of a sample. The newcomer's digest draws the sample: to
    /// whoever cannot sign tokens it is as random as anything.
    fn evict(&mut self, newcomer: &Digest) {
        let draws = newcomer.0.chunks_exact(3).take(SAMPLE).map(|chunk| {
            let number = chunk.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
            number % self.entries.len().max(1)
        });
        let sampled = draws.filter_map(|position| self.entries.get(position));
        let oldest = sampled.min_by_key(|entry| entry.used.load(Ordering::Relaxed));
        if let Some(digest) = oldest.map(|entry| entry.digest) {
            self.remove(&digest);
        }
    }

    fn remove(&mut self, digest: &Digest) {
        let Some(position) = self.index.remove(digest) else { return };
        if position < self.entries.len() {
            self.entries.swap_remove(position);
        }
        // The last entry took the place of the removed one.
        if let Some(moved) = self.entries.get(position) {
            self.index.insert(moved.digest, position);
        }
    }
}
