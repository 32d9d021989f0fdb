//! A cache of bounded size whose entries end.
//!
//! If the cache is full, the oldest entry is evicted (FIFO). Readers take no common lock: entries
//! are on the path of requests, and only storing one takes the lock of the order. The time is given
//! by the caller, as everywhere here, so a test can move it.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::clock::Timestamp;

/// At most `most` values by key.
#[derive(Debug)]
pub struct BoundedCache<K: Eq + Hash, V> {
    most: usize,
    longest: Duration,
    entries: DashMap<K, CacheEntry<V>>,
    order: Mutex<ArrivalOrder<K>>,
}

#[derive(Debug)]
struct CacheEntry<V> {
    value: V,
    until: Timestamp,
    arrival: u64,
}

/// The keys in order of arrival, each with the number of its arrival. Some of the entries have been
/// removed or stored again since.
#[derive(Debug)]
struct ArrivalOrder<K> {
    last: u64,
    keys: VecDeque<(K, u64)>,
}

impl<K: Clone + Eq + Hash, V> BoundedCache<K, V> {
    /// A cache of `most` entries with a life of at most `longest`. If an entry has longer to live,
    /// then the clock was set back, and the entry is not used.
    pub fn new(most: usize, longest: Duration) -> Self {
        let order = Mutex::new(ArrivalOrder { last: 0, keys: VecDeque::new() });
        Self { most, longest, entries: DashMap::new(), order }
    }

    /// The value of `key`, if it has not ended.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<V>
    where
        V: Clone,
    {
        let entry = self.entries.get(key)?;
        self.holds(entry.until, now).then(|| entry.value.clone())
    }

    /// Reads a value and its end, whether it has ended or not.
    pub fn read<R>(&self, key: &K, read: impl FnOnce(&V, Timestamp) -> R) -> Option<R> {
        self.entries.get(key).map(|entry| read(&entry.value, entry.until))
    }

    /// True if there is a value of `key`, ended or not.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Stores a value until `until`, in place of an earlier one.
    pub fn insert(&self, key: K, value: V, until: Timestamp) {
        let mut order = self.order.lock();
        order.last += 1;
        let arrival = order.last;
        order.keys.push_back((key.clone(), arrival));
        self.entries.insert(key, CacheEntry { value, until, arrival });
        while self.entries.len() > self.most {
            let Some((oldest, arrival)) = order.keys.pop_front() else { break };
            // An entry that was stored again has a later arrival and is not the oldest.
            self.entries.remove_if(&oldest, |_, entry| entry.arrival == arrival);
        }
        // Each entry that is stored again leaves an old arrival. They are removed together, so that
        // this costs an insertion little on average.
        if order.keys.len() > self.most.saturating_mul(2) {
            self.forget_old_arrivals(&mut order);
        }
    }

    fn forget_old_arrivals(&self, order: &mut ArrivalOrder<K>) {
        order.keys.retain(|(key, arrival)| {
            self.entries.get(key).is_some_and(|entry| entry.arrival == *arrival)
        });
    }

    /// Removes a value.
    pub fn remove(&self, key: &K) {
        self.entries.remove(key);
    }

    /// Removes all values.
    pub fn clear(&self) {
        let mut order = self.order.lock();
        order.keys.clear();
        self.entries.clear();
    }

    /// Removes the values that have ended. The background runtime calls it where entries should not
    /// stay in memory until they are evicted.
    pub fn sweep(&self, now: Timestamp) {
        let mut order = self.order.lock();
        self.entries.retain(|_, entry| self.holds(entry.until, now));
        self.forget_old_arrivals(&mut order);
    }

    fn holds(&self, until: Timestamp, now: Timestamp) -> bool {
        now < until && until.since(now) <= self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(10);
    const NOW: Timestamp = Timestamp::from_secs(100);

    fn cache(most: usize) -> BoundedCache<usize, usize> {
        BoundedCache::new(most, LIFE)
    }

    #[test]
    fn a_full_cache_forgets_the_oldest() {
        let cache = cache(100);
        for number in 0..105 {
            cache.insert(number, number, NOW.plus(LIFE));
        }

        assert_eq!(cache.entries.len(), 100);
        assert_eq!(cache.get(&4, NOW), None, "the oldest went");
        assert_eq!(cache.get(&5, NOW), Some(5));
    }

    #[test]
    fn a_value_ends_and_is_not_used_when_the_clock_was_set_back() {
        let cache = cache(100);
        cache.insert(1, 7, NOW.plus(LIFE));

        assert_eq!(cache.get(&1, NOW), Some(7));
        assert_eq!(cache.get(&1, NOW.plus(LIFE)), None, "it is over");
        assert_eq!(cache.get(&1, NOW.minus(LIFE)), None, "its life is too long");
        assert_eq!(cache.read(&1, |value, until| (*value, until)), Some((7, NOW.plus(LIFE))));
    }

    #[test]
    fn a_value_that_is_stored_again_evicts_no_other() {
        let cache = cache(4);
        cache.insert(1, 1, NOW.plus(LIFE));
        for _ in 0..100 {
            cache.insert(2, 2, NOW.plus(LIFE));

            assert_eq!(cache.get(&1, NOW), Some(1));
        }
        assert!(cache.order.lock().keys.len() <= 8);
    }

    #[test]
    fn what_is_swept_or_removed_leaves_room() {
        let cache = cache(2);
        cache.insert(1, 1, NOW);
        cache.insert(2, 2, NOW.plus(LIFE));

        cache.sweep(NOW);
        cache.insert(3, 3, NOW.plus(LIFE));

        assert_eq!(cache.get(&2, NOW), Some(2));
        assert!(!cache.contains(&1) && cache.contains(&3));
        cache.remove(&2);
        assert!(!cache.contains(&2));
        cache.clear();
        assert!(cache.entries.is_empty() && cache.order.lock().keys.is_empty());
    }
}
