//! How many requests of a pool may be sent a second time.
//!
//! A pool that fails must not get twice the load for it: each request earns a part of a retry, each
//! retry spends a whole one. What was not spent is kept up to `MOST`, so that the requests which a
//! dying server takes down at once can all be rescued; and a few are granted anew now and then, or
//! a pool with little to do could never retry. One purse per worker: nothing is shared, nothing
//! locked, and a pool in health costs a look at a number.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What one retry costs; a request earns the configured percentage of it.
const RETRY: u32 = 100;

/// Retries at hand at first, and again after `GRANT_EVERY`.
const RESERVE: u32 = 10;
const GRANT_EVERY: Duration = Duration::from_secs(10);

/// Retries that can be saved up.
const MOST: u32 = 1000;

/// The retries of one pool.
#[derive(Debug)]
pub(super) struct Budget {
    percent: u32,
    started: Instant,
    purses: Box<[Purse]>,
}

/// A worker's. On a cache line of its own: neighbours would slow each other down.
#[derive(Debug)]
#[repr(align(64))]
struct Purse {
    held: AtomicU32,
    /// Milliseconds after `started` when the reserve was last granted.
    granted: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
}

impl Budget {
    pub(super) fn new(percent: u8, workers: usize) -> Self {
        let purse = |_| Purse {
            held: AtomicU32::new(RESERVE * RETRY),
            granted: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        let purses = (0..workers.max(1)).map(purse).collect();
        Self { percent: u32::from(percent), started: Instant::now(), purses }
    }

    fn purse(&self, worker: usize) -> Option<&Purse> {
        self.purses.get(worker % self.purses.len().max(1))
    }

    /// Notes a request of `worker`'s.
    pub(super) fn earn(&self, worker: usize) {
        let Some(purse) = self.purse(worker) else { return };
        // No other thread writes it, so two steps lose nothing.
        let held = purse.held.load(Ordering::Relaxed);
        if held < MOST * RETRY {
            purse.held.store(held + self.percent, Ordering::Relaxed);
        }
    }

    /// Takes a retry for `worker`; false if there is none.
    pub(super) fn spend(&self, worker: usize) -> bool {
        let Some(purse) = self.purse(worker) else { return false };
        let mut held = purse.held.load(Ordering::Relaxed);
        if held < RETRY {
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let next = Duration::from_millis(purse.granted.load(Ordering::Relaxed)) + GRANT_EVERY;
            if Duration::from_millis(now) < next {
                purse.refused.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            purse.granted.store(now, Ordering::Relaxed);
            held += RESERVE * RETRY;
        }
        purse.held.store(held - RETRY, Ordering::Relaxed);
        purse.retries.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Retries so far, and those that there was no budget for.
    pub(super) fn counts(&self) -> (u64, u64) {
        let sum = |count: fn(&Purse) -> &AtomicU64| {
            self.purses.iter().map(|purse| count(purse).load(Ordering::Relaxed)).sum()
        };
        (sum(|purse| &purse.retries), sum(|purse| &purse.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget) -> usize {
        (0..10_000).take_while(|_| budget.spend(0)).count()
    }

    #[tokio::test]
    async fn a_fifth_of_the_requests_and_a_reserve_may_be_sent_again() {
        let budget = Budget::new(20, 2);
        assert_eq!(spent(&budget), 10, "the reserve");

        (0..100).for_each(|_| budget.earn(0));

        assert_eq!(spent(&budget), 20, "a fifth of a hundred");
        assert!(budget.spend(1), "another worker's is its own");
        assert_eq!(budget.counts(), (31, 2));
    }

    #[tokio::test]
    async fn what_is_saved_has_an_end() {
        let budget = Budget::new(100, 1);

        (0..5000).for_each(|_| budget.earn(0));

        assert_eq!(spent(&budget), 1000);
    }

    #[test]
    fn the_reserve_comes_back() {
        let mut budget = Budget::new(0, 1);
        assert_eq!(spent(&budget), 10);

        budget.started -= GRANT_EVERY;

        assert_eq!(spent(&budget), 10);
        assert_eq!(spent(&budget), 0);
    }
}
