//! The counters of one rate limit rule: one number for each caller, for a bounded number of
//! callers.
//!
//! A caller is identified by a keyed 64-bit hash, so that nobody outside can choose colliding
//! callers; two that collide by chance share a budget. An entry with its whole budget restored
//! carries no information and is swept. If a shard is full even so, then the callers who spent
//! least are forgotten first. They gain little by that, and a crowd of one-time callers cannot
//! evict the counters of those who exceed the limit.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use nohash_hasher::IntMap;
use parking_lot::{Mutex, MutexGuard};

use super::gcra::{GcraRate, RateExceeded, RemainingBudget};
use crate::clock::Timestamp;

/// Number of shards, a power of two. With this many, workers seldom wait for the same lock.
const SHARDS: usize = 16;
/// A full shard forgets this fraction of its entries (one in eight) at once.
const FORGOTTEN: usize = 8;

/// The callers of one rule.
#[derive(Debug)]
pub struct RateCounters {
    rate: GcraRate,
    hasher: RandomState,
    shards: [Mutex<CounterShard>; SHARDS],
    most: usize,
    /// The counters that these are laid over: a caller who has no entry here has the one there.
    beneath: Option<Arc<Self>>,
}

/// Theoretical arrival times (see `gcra`) by caller. The keys are keyed hashes already and are not
/// hashed again.
type CounterShard = IntMap<u64, u64>;

impl RateCounters {
    /// Counters for about `keys` callers at most. The number is split among the shards and rounded
    /// up, so slightly more can be stored.
    pub fn new(rate: GcraRate, keys: usize) -> Self {
        let most = keys.div_ceil(SHARDS).max(1);
        let hasher = RandomState::new();
        Self { rate, hasher, shards: Default::default(), most, beneath: None }
    }

    /// Counters that begin where `beneath` is and change nothing there. A dry run counts in them: it
    /// sees the present state of every caller, and no caller's budget becomes less.
    pub fn over(beneath: &Arc<Self>) -> Self {
        Self {
            rate: beneath.rate,
            hasher: beneath.hasher.clone(),
            shards: Default::default(),
            most: beneath.most,
            beneath: Some(beneath.clone()),
        }
    }

    /// True if the counters count by this rate; only then may a later generation go on with them.
    pub fn has_rate(&self, rate: GcraRate) -> bool {
        self.rate == rate
    }

    /// Counts a request of `who`.
    ///
    /// # Errors
    /// The request exceeds the rate. It is not counted then.
    pub fn admit(&self, who: impl Hash, now: Timestamp) -> Result<RemainingBudget, RateExceeded> {
        let key = self.hasher.hash_one(who);
        let mut shard = self.shard(key);
        // Room is made only for a new caller: an existing entry is updated in place.
        if shard.len() >= self.most && !shard.contains_key(&key) {
            self.make_room(&mut shard, now);
        }
        self.rate.admit(shard.entry(key).or_insert_with(|| self.arrival_beneath(key)), now)
    }

    /// The arrival time of a caller without an entry.
    fn arrival_beneath(&self, key: u64) -> u64 {
        let beneath = self.beneath.as_deref();
        beneath.and_then(|one| one.shard(key).get(&key).copied()).unwrap_or_default()
    }

    /// Forgets callers whose budget is whole again. The background runtime calls it every few
    /// seconds. Such an entry and no entry mean the same, so nothing is lost. Without sweeping,
    /// every caller of a busy day would stay in memory up to the bound.
    pub fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|_, arrival| !self.rate.is_whole(*arrival, now));
            // A map does not shrink by itself. After a flood, the memory of a shard is returned
            // when less than an eighth of it is in use.
            let few = shard.len().saturating_mul(2);
            if shard.capacity() > few.saturating_mul(4) {
                shard.shrink_to(few);
            }
        }
    }

    /// The number of callers with an entry.
    pub fn len(&self) -> usize {
        let len = |shard: &Mutex<CounterShard>| shard.lock().len();
        self.shards.iter().map(len).sum()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shard of a key.
    fn shard(&self, key: u64) -> MutexGuard<'_, CounterShard> {
        // The shard number is taken from the middle of the hash. The map inside uses its lowest and
        // highest bits, which must stay evenly distributed within a shard. The hash is keyed, so
        // callers cannot be chosen to fill one shard.
        let [.., number, _, _, _] = key.to_le_bytes();
        let [first, ..] = &self.shards;
        let shard = self.shards.get(usize::from(number) % SHARDS).unwrap_or(first);
        shard.lock()
    }

    /// Makes room in a full shard: restored entries go first, then those that spent least. It costs
    /// time in proportion to the shard, but runs for one in many new callers only.
    fn make_room(&self, shard: &mut CounterShard, now: Timestamp) {
        shard.retain(|_, arrival| !self.rate.is_whole(*arrival, now));
        let mut excess = (shard.len() + 1).saturating_sub(self.most);
        if excess == 0 {
            return;
        }
        // Several entries are removed at once, so that the next new callers need no search.
        excess = excess.max(self.most / FORGOTTEN);
        let mut arrivals: Vec<u64> = shard.values().copied().collect();
        // The `excess` smallest arrival times belong to the callers who spent least. Finding their
        // bound takes linear time, without sorting.
        let (_, until, _) = arrivals.select_nth_unstable(excess - 1);
        shard.retain(|_, arrival| {
            let goes = excess > 0 && *arrival <= *until;
            excess -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::{LimitBy, RateLimit};

    const NOW: Timestamp = Timestamp::from_secs(1_795_339_800);

    fn counters(requests: u64, keys: usize) -> RateCounters {
        let per = Duration::from_secs(10);
        let rule = RateLimit { requests, per, burst: requests, by: LimitBy::Client };
        RateCounters::new(GcraRate::new(&rule), keys)
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
    fn counters_over_others_see_them_and_leave_them_alone() {
        let counters = Arc::new(counters(2, 100));
        let _ = counters.admit("ann", NOW);

        let over = RateCounters::over(&counters);
        let seen = [over.admit("ann", NOW), over.admit("ann", NOW), over.admit("bob", NOW)];

        assert_eq!(seen.map(|admitted| admitted.is_ok()), [true, false, true]);
        assert_eq!(counters.len(), 1, "no caller was added");
        assert!(counters.admit("ann", NOW).is_ok(), "nothing was counted");
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
