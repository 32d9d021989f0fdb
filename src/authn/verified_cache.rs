//! A bounded cache of locally verified tokens, keyed by the SHA-256 of the whole token.
//!
//! Eviction is approximate LRU: a full shard removes the least recently used of a few entries drawn
//! at random. Each shard has an index beside a vector of entries, because a fair draw needs
//! positions, which a plain concurrent map does not offer. The cache stores facts only: `Verifier`
//! checks on every hit whether the token may be used now (see `verified`). Failures are never
//! cached, because made-up tokens would fill it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::verified::VerifiedCredential;
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::spread::FastHasher;

/// Upper bound of shards. With 64 shards two cores seldom wait for the same lock, and a small cache
/// is not split into shards of a few entries.
const MAX_SHARDS: usize = 64;

/// Fewest entries for which a shard is worth having.
const MIN_SHARD: usize = 64;

/// How many entries are compared when one must be removed.
const SAMPLE: usize = 8;

/// Shortest time in milliseconds between two updates of an entry's last use. Rare writes keep the
/// cache line shared between the cores that read it.
const NOTE_EVERY: u64 = 1000;

/// The cache, split into shards with a lock each.
#[derive(Debug)]
pub(super) struct VerifiedCache {
    shards: Box<[RwLock<CacheShard>]>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct CacheShard {
    index: HashMap<Digest, usize, FastHasher>,
    entries: Vec<CacheEntry>,
}

#[derive(Debug)]
struct CacheEntry {
    digest: Digest,
    epoch: u64,
    verified: Arc<VerifiedCredential>,
    used: AtomicU64,
}

impl VerifiedCache {
    /// A cache of about `size` tokens. With 0 nothing is cached.
    pub(super) fn new(size: usize) -> Self {
        let shards = (size / MIN_SHARD).clamp(1, MAX_SHARDS);
        let capacity = size.div_ceil(shards);
        Self { shards: (0..shards).map(|_| RwLock::default()).collect(), capacity }
    }

    /// The cached token, with the epoch of the keys that verified it. The caller compares the epoch
    /// with that of the current keys.
    pub(super) fn find(
        &self,
        digest: &Digest,
        now: Timestamp,
    ) -> Option<(Arc<VerifiedCredential>, u64)> {
        let shard = self.shard(digest)?.read();
        let entry = shard.entries.get(*shard.index.get(digest)?)?;
        if now.millis().saturating_sub(entry.used.load(Ordering::Relaxed)) >= NOTE_EVERY {
            entry.used.store(now.millis(), Ordering::Relaxed);
        }
        Some((entry.verified.clone(), entry.epoch))
    }

    /// Caches a token that was verified and admitted at `now`. If the shard is full, one entry is
    /// evicted first, so the size of the cache is a hard bound and a flood of valid tokens cannot
    /// exhaust memory.
    pub(super) fn keep(
        &self,
        digest: Digest,
        epoch: u64,
        verified: Arc<VerifiedCredential>,
        now: Timestamp,
    ) {
        let Some(shard) = self.shard(&digest).filter(|_| self.capacity > 0) else { return };
        let mut shard = shard.write();
        let entry = CacheEntry { digest, epoch, verified, used: AtomicU64::new(now.millis()) };
        // Two requests can verify the same new token at once. The second one then replaces the
        // entry of the first, so that no digest is stored twice.
        let slot = shard.index.get(&digest).copied();
        if let Some(slot) = slot.and_then(|position| shard.entries.get_mut(position)) {
            *slot = entry;
            return;
        }
        if shard.entries.len() >= self.capacity {
            shard.evict(&digest);
        }
        let position = shard.entries.len();
        shard.index.insert(digest, position);
        shard.entries.push(entry);
    }

    /// Removes expired tokens. An expired token is refused on every hit anyway; removing it makes
    /// room for others. The leeway of its issuer is added, as in
    /// `VerifiedCredential::check_usable`.
    pub(super) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let is_over = |entry: &CacheEntry| entry.verified.has_expired(now);
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

    /// The number of cached tokens.
    pub(super) fn len(&self) -> usize {
        let of = |shard: &RwLock<CacheShard>| shard.read().entries.len();
        self.shards.iter().map(of).sum()
    }

    /// The shard of a digest. SHA-256 distributes evenly, so its first bytes are the shard number.
    fn shard(&self, digest: &Digest) -> Option<&RwLock<CacheShard>> {
        let [first, second, ..] = digest.0;
        self.shards.get(usize::from(u16::from_be_bytes([first, second])) % self.shards.len())
    }
}

impl CacheShard {
    /// Removes the least recently used entry of a sample. The bytes of the new token's digest
    /// choose the sample. Only a caller who can sign tokens could choose these bytes, so they serve
    /// as randomness.
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
        // `swap_remove` moved the last entry to the position of the removed one. The index must
        // follow, or the moved entry could not be found any more.
        if let Some(moved) = self.entries.get(position) {
            self.index.insert(moved.digest, position);
        }
    }
}
