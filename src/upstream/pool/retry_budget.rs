//! The retry budget of a pool: a bound on the share of requests that are sent again.
//!
//! Retries must not multiply the load on a pool that is failing. Each request earns a fraction of a
//! retry, each retry spends a whole one. Unspent retries accumulate up to `MOST`, so that the
//! requests that one dying server breaks at once can all be saved. A small reserve is granted again
//! from time to time, because a pool with few requests could otherwise never retry. Each worker has
//! an account of its own, so nothing is shared or locked. `forward` earns and spends.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The price of one retry. A request earns the configured percentage of it.
const RETRY: u32 = 100;

/// The reserve: retries at the start, and again after `GRANT_EVERY`.
const RESERVE: u32 = 10;
const GRANT_EVERY: Duration = Duration::from_secs(10);

/// Upper bound of accumulated retries.
const MOST: u32 = 1000;

/// The retry budget of one pool.
#[derive(Debug)]
pub(in crate::upstream) struct RetryBudget {
    percent: u32,
    started: Instant,
    purses: Box<[WorkerBudget]>,
}

/// The account of one worker. It has a cache line of its own, because workers that write to one
/// line slow each other down.
#[derive(Debug)]
#[repr(align(64))]
struct WorkerBudget {
    tokens: AtomicU32,
    /// The time of the last grant of the reserve, in milliseconds after `started`.
    granted: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
}

/// A full reserve for each of `workers`; `percent` is the share of requests that may be retried.
impl RetryBudget {
    pub(super) fn new(percent: u8, workers: usize) -> Self {
        let purse = |_| WorkerBudget {
            tokens: AtomicU32::new(RESERVE * RETRY),
            granted: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        let purses = (0..workers.max(1)).map(purse).collect();
        Self { percent: u32::from(percent), started: Instant::now(), purses }
    }

    fn purse(&self, worker: usize) -> Option<&WorkerBudget> {
        self.purses.get(worker % self.purses.len().max(1))
    }

    /// Credits `worker` for one request.
    pub(in crate::upstream) fn earn(&self, worker: usize) {
        let Some(purse) = self.purse(worker) else { return };
        // Only this worker's thread writes the account. A separate load and store therefore lose no
        // update, and cost less than an atomic addition. The counters for metrics are read by other
        // threads, which may see a slightly older value.
        let tokens = purse.tokens.load(Ordering::Relaxed);
        if tokens < MOST * RETRY {
            purse.tokens.store(tokens + self.percent, Ordering::Relaxed);
        }
    }

    /// Spends one retry of `worker`; false if there is none. Without any, the reserve is granted if
    /// `GRANT_EVERY` has passed since the last grant.
    pub(in crate::upstream) fn take_retry(&self, worker: usize) -> bool {
        let Some(purse) = self.purse(worker) else { return false };
        let mut tokens = purse.tokens.load(Ordering::Relaxed);
        if tokens < RETRY {
            // The clock is read only when the account is empty, which is rare in a healthy pool.
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let next = Duration::from_millis(purse.granted.load(Ordering::Relaxed)) + GRANT_EVERY;
            if Duration::from_millis(now) < next {
                purse.refused.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            purse.granted.store(now, Ordering::Relaxed);
            tokens += RESERVE * RETRY;
        }
        purse.tokens.store(tokens - RETRY, Ordering::Relaxed);
        purse.retries.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Retries so far, and retries that the budget refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        let sum = |count: fn(&WorkerBudget) -> &AtomicU64| {
            self.purses.iter().map(|purse| count(purse).load(Ordering::Relaxed)).sum()
        };
        (sum(|purse| &purse.retries), sum(|purse| &purse.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &RetryBudget) -> usize {
        (0..10_000).take_while(|_| budget.take_retry(0)).count()
    }

    #[tokio::test]
    async fn a_fifth_of_the_requests_and_a_reserve_may_be_sent_again() {
        let budget = RetryBudget::new(20, 2);
        assert_eq!(spent(&budget), 10, "the reserve");

        (0..100).for_each(|_| budget.earn(0));

        assert_eq!(spent(&budget), 20, "a fifth of a hundred");
        assert!(budget.take_retry(1), "another worker's is its own");
        assert_eq!(budget.counts(), (31, 2));
    }

    #[tokio::test]
    async fn what_is_saved_has_an_end() {
        let budget = RetryBudget::new(100, 1);

        (0..5000).for_each(|_| budget.earn(0));

        assert_eq!(spent(&budget), 1000);
    }

    #[test]
    fn the_reserve_comes_back() {
        let mut budget = RetryBudget::new(0, 1);
        assert_eq!(spent(&budget), 10);

        budget.started -= GRANT_EVERY;

        assert_eq!(spent(&budget), 10);
        assert_eq!(spent(&budget), 0);
    }
}
