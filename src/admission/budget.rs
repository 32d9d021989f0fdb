//! Bodies in memory: so many bytes all together, of which one client may have an eighth.
//!
//! Bytes are counted as they arrive, not as they are announced: an announcement costs its sender
//! nothing, and would keep others out.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::share_of;
use super::shares::GroupCounts;

/// The bytes that bodies in memory may have.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: AtomicUsize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_group: GroupCounts,
}

/// Why no more bytes may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    #[error("bodies in memory have all of their {limit} bytes")]
    All { limit: usize },

    #[error("bodies of this address have their share of {limit} bytes")]
    Share { limit: usize },
}

/// Bytes that are held for one body; given back when dropped.
#[derive(Debug)]
pub struct HeldBytes {
    budget: ByteBudget,
    origin: Option<IpAddr>,
    bytes: usize,
}

impl ByteBudget {
    /// `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Budget { limit: AtomicUsize::new(limit), held: Mutex::default() }))
    }

    /// For a body from `origin`, of which nothing is there yet. Without an origin only the bound on
    /// all holds.
    pub fn open(&self, origin: Option<IpAddr>) -> HeldBytes {
        HeldBytes { budget: self.clone(), origin, bytes: 0 }
    }

    /// How many bytes are held now.
    pub fn held(&self) -> usize {
        self.lock().total
    }

    /// How many bytes may be held.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Changes how many bytes may be held. Bodies over a lower limit stay, but do not grow.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in the lock can be left half done by a panic, so a poisoned one is taken over.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldBytes {
    /// Makes room for `bytes` in all.
    ///
    /// # Errors
    /// Where there is none; what was held before stays so.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let limit = self.budget.limit();
        let mut held = self.budget.lock();
        if held.total.saturating_add(more) > limit {
            return Err(OverBudget::All { limit });
        }
        if let Some(origin) = self.origin {
            let share = share_of(limit);
            if !held.by_group.take(origin, more, share) {
                return Err(OverBudget::Share { limit: share });
            }
        }
        held.total += more;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        let mut held = self.budget.lock();
        held.total = held.total.saturating_sub(self.bytes);
        if let Some(origin) = self.origin {
            held.by_group.give_back(origin, self.bytes);
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
        assert_eq!(budget.held(), 100);
        budget.open("192.0.2.2".parse().ok()).grow_to(100).unwrap();

        drop((first, second));
        assert_eq!(budget.held(), 0);
        assert!(budget.lock().by_group.is_empty());
    }

    #[test]
    fn all_together_hold_no_more_than_the_budget() {
        let budget = ByteBudget::new(100);
        let mut shared = budget.open(None);
        shared.grow_to(100).unwrap();

        let refused = budget.open("192.0.2.1".parse().ok()).grow_to(1);

        assert_eq!(refused, Err(OverBudget::All { limit: 100 }));
        assert!(shared.grow_to(50).is_ok(), "what is held already");
        assert_eq!(budget.held(), 100);
    }
}
