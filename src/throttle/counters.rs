//! What is kept of the callers of one rule: one number each, so many callers at the most.
//!
//! A caller is told apart by a keyed hash of 64 bits, which nobody outside can aim at; should two
//! be alike, they share a budget. An entry whose whole budget is there again says nothing and is
//! swept. Where a shard is full all the same, those who spent least are forgotten first: what
//! they gain is little, and a crowd that comes once each cannot wash away those who overdo it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::gcra::{Budget, Exceeded, Rate};
use crate::clock::Timestamp;

/// Workers seldom meet in so many; a power of two.
const SHARDS: usize = 16;
/// The share of a full shard that makes room.
const FORGOTTEN: usize = 8;

/// The callers of one rule.
#[derive(Debug)]
pub struct Counters {
    rate: Rate,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    most: usize,
}

/// Theoretical arrival times by callers.
type Shard = HashMap<u64, u64, BuildHasherDefault<AsItIs>>;

impl Counters {
    /// For at most about `keys` callers at once.
    pub fn new(rate: Rate, keys: usize) -> Self {
        let most = keys.div_ceil(SHARDS).max(1);
        Self { rate, hasher: RandomState::new(), shards: Default::default(), most }
    }

    /// Counts a request of `who`.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn admit(&self, who: impl Hash, now: Timestamp) -> Result<Budget, Exceeded> {
        let key = self.hasher.hash_one(who);
        let mut shard = self.shard(key);
        if shard.len() >= self.most && !shard.contains_key(&key) {
            self.make_room(&mut shard, now);
        }
        self.rate.admit(shard.entry(key).or_default(), now)
    }

    /// Forgets callers whose whole budget is there again; to be called every few seconds.
    pub fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, arrival| !self.rate.is_whole(*arrival, now));
            let few = shard.len().saturating_mul(2);
            if shard.capacity() > few.saturating_mul(4) {
                shard.shrink_to(few);
            }
        }
    }

    /// Callers of whom something is known.
    pub fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(len).sum()
    }

    /// True if nothing is known of anybody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The map itself goes by the lowest and the highest bits.
        let [.., number, _, _, _] = key.to_le_bytes();
        let [first, ..] = &self.shards;
        let shard = self.shards.get(usize::from(number) % SHARDS).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self, shard: &mut Shard, now: Timestamp) {
        shard.retain(|_, arrival| !self.rate.is_whole(*arrival, now));
        let mut excess = (shard.len() + 1).saturating_sub(self.most);
        if excess == 0 {
            return;
        }
        // A share of them at once, so that the next newcomers cost nothing.
        excess = excess.max(self.most / FORGOTTEN);
        let mut arrivals: Vec<u64> = shard.values().copied().collect();
        let (_, until, _) = arrivals.select_nth_unstable(excess - 1);
        shard.retain(|_, arrival| {
            let goes = excess > 0 && *arrival <= *until;
            excess -= usize::from(goes);
            !goes
        });
    }
}

/// The hasher of what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{LimitBy, RateLimit};

    const NOW: Timestamp = Timestamp::from_secs(1_795_339_800);

    fn counters(requests: u64, keys: usize) -> Counters {
        let per = Duration::from_secs(10);
        let rule = RateLimit { requests, per, burst: requests, by: LimitBy::Client };
        Counters::new(Rate::new(&rule), keys)
    }

    #[test]
    fn threads_together_pass_no_more_than_the_rule_says() {
        let counters = counters(1000, 100);

        let passed: usize = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| counters.admit("all", NOW).is_ok()).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let later = NOW.plus(Duration::from_millis(50));
        let more = (0..100).filter(|_| counters.admit("all", later).is_ok()).count();

        assert_eq!(passed, 1000);
        assert_eq!(more, 5, "50 ms of 10 s");
    }

    #[test]
    fn a_crowd_is_bounded_and_does_not_wash_away_who_overdoes_it() {
        let counters = counters(10, 1600);
        while counters.admit("greedy", NOW).is_ok() {}

        for number in 0..20_000 {
            assert!(counters.admit(number, NOW).is_ok(), "newcomers are let in");
        }

        assert!(counters.len() <= 1600, "{}", counters.len());
        assert!(counters.admit("greedy", NOW).is_err());
    }

    #[test]
    fn who_has_his_whole_budget_is_forgotten() {
        let counters = counters(10, 1600);
        for number in 0..500 {
            let _ = counters.admit(number, NOW);
        }
        let _ = (counters.admit("more", NOW), counters.admit("more", NOW));

        counters.sweep(NOW.plus(Duration::from_secs(1)));
        let one_left = counters.len();
        counters.sweep(NOW.plus(Duration::from_secs(2)));

        assert_eq!(one_left, 1);
        assert!(counters.is_empty());
    }
}
