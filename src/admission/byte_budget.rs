//! A budget for bodies in memory: a number of bytes in total, of which one client may have an
//! eighth.
//!
//! Bytes are counted when they arrive and not when they are announced. An announcement costs its
//! sender nothing, so a client could otherwise reserve memory for bodies that never come. `body`
//! and the pipeline are the callers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::share_of;
use super::shares::GroupCounts;

/// The bytes that all bodies in memory may have together.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<BudgetState>);

/// The limit and the current use.
#[derive(Debug)]
struct BudgetState {
    limit: AtomicUsize,
    used: Mutex<UsedBytes>,
}

/// The bytes in use, in total and by address group.
#[derive(Debug, Default)]
struct UsedBytes {
    total: usize,
    by_group: GroupCounts,
}

/// The reasons for which no more bytes may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    #[error("bodies in memory have all of their {limit} bytes")]
    All { limit: usize },

    #[error("bodies of this address have their share of {limit} bytes")]
    Share { limit: usize },
}

/// The bytes of one body. They are returned to the budget when this is dropped. A body that fails
/// half-way therefore frees its memory like any other.
#[derive(Debug)]
pub struct ReservedBytes {
    budget: ByteBudget,
    origin: Option<IpAddr>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(BudgetState { limit: AtomicUsize::new(limit), used: Mutex::default() }))
    }

    /// Opens an account for a body from `origin`, with no bytes yet. Without an origin only the
    /// total limit applies.
    pub fn open(&self, origin: Option<IpAddr>) -> ReservedBytes {
        ReservedBytes { budget: self.clone(), origin, bytes: 0 }
    }

    /// The bytes in use now.
    pub fn used(&self) -> usize {
        self.0.used.lock().total
    }

    /// The total limit in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Changes the total limit in bytes. Bodies that are above a lower limit keep their bytes but
    /// cannot grow.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }
}

impl ReservedBytes {
    /// Raises the account to `bytes` in total.
    ///
    /// # Errors
    /// The total limit or the client's share is reached. The account keeps the bytes that it had.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let limit = self.budget.limit();
        let mut used = self.budget.0.used.lock();
        // The total is checked first, but changed last: a refusal by the share must not leave bytes
        // counted. The share is taken in between, by an operation that changes nothing if it fails.
        if used.total.saturating_add(more) > limit {
            return Err(OverBudget::All { limit });
        }
        if let Some(origin) = self.origin {
            let share = share_of(limit);
            if !used.by_group.take(origin, more, share) {
                return Err(OverBudget::Share { limit: share });
            }
        }
        used.total += more;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        let mut used = self.budget.0.used.lock();
        used.total = used.total.saturating_sub(self.bytes);
        if let Some(origin) = self.origin {
            used.by_group.give_back(origin, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_an_eighth_of_the_bytes() {
        let budget = ByteBudget::new(800);
        let one = "192.0.2.1".parse().ok();
        let mut first = budget.open(one);
        first.grow_to(60).unwrap();
        let mut second = budget.open(one);

        assert_eq!(second.grow_to(41), Err(OverBudget::Share { limit: 100 }));
        second.grow_to(40).unwrap();
        assert_eq!(budget.used(), 100);
        budget.open("192.0.2.2".parse().ok()).grow_to(100).unwrap();

        drop((first, second));
        assert_eq!(budget.used(), 0);
        assert!(budget.0.used.lock().by_group.is_empty());
    }

    #[test]
    fn all_together_hold_no_more_than_the_budget() {
        let budget = ByteBudget::new(100);
        let mut shared = budget.open(None);
        shared.grow_to(100).unwrap();

        let refused = budget.open("192.0.2.1".parse().ok()).grow_to(1);

        assert_eq!(refused, Err(OverBudget::All { limit: 100 }));
        assert!(shared.grow_to(50).is_ok(), "what is held already");
        assert_eq!(budget.used(), 100);
    }
}
