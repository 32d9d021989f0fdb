//! How much each group of addresses has of something.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::AddressGroup;

/// Amounts by group; one that has nothing has no entry, so that addresses are forgotten with what
/// they held.
#[derive(Debug, Default)]
pub struct GroupCounts(HashMap<AddressGroup, usize>);

impl GroupCounts {
    /// Takes `amount` in every group of `address`; nothing, and false, where one of them would have
    /// more than its allowance. `limit` is what one subscriber may have.
    pub fn take(&mut self, address: IpAddr, amount: usize, limit: usize) -> bool {
        let fits = |group: AddressGroup| {
            let held = self.0.get(&group).copied().unwrap_or(0);
            held.saturating_add(amount) <= group.allowance(limit)
        };
        if !AddressGroup::all_of(address).all(fits) {
            return false;
        }
        for group in AddressGroup::all_of(address) {
            *self.0.entry(group).or_default() += amount;
        }
        true
    }

    /// Gives back what was taken.
    pub fn give_back(&mut self, address: IpAddr, amount: usize) {
        for group in AddressGroup::all_of(address) {
            if let Some(held) = self.0.get_mut(&group) {
                *held = held.saturating_sub(amount);
                if *held == 0 {
                    self.0.remove(&group);
                }
            }
        }
    }

    /// Whether nobody has anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Counts of many threads, with what one subscriber may have.
#[derive(Debug)]
pub struct Shares {
    limit: AtomicUsize,
    counts: Mutex<GroupCounts>,
}

impl Shares {
    /// One subscriber may have `limit`.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), counts: Mutex::default() })
    }

    /// What one subscriber may have.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. Shares over a lower limit stay until they are given back.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// One more for `address`, until the answer is dropped; `None` over its share.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let is_taken = self.lock().take(address, 1, self.limit());
        is_taken.then(|| Share { shares: self.clone(), address })
    }

    /// Whether nobody has anything.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, GroupCounts> {
        // Nothing in the lock can be left half done by a panic, so a poisoned one is taken over.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an address has, given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().give_back(self.address, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn shares_count_wider_ipv6_prefixes() {
        let shares = Shares::new(8);
        let mut held = Vec::new();
        let mut taken = |prefix: &str| {
            let from = |number: usize| format!("{prefix}{number:02x}::1");
            let got: Vec<_> =
                (0..64).filter_map(|number| shares.take(address(&from(number)))).collect();
            let count = got.len();
            held.extend(got);
            count
        };

        assert_eq!(taken("2001:db8:1:aa"), 16, "twice a /64's in one /56");
        assert_eq!(taken("2001:db8:1:bb"), 16, "and in the next one, which makes four times");
        assert_eq!(taken("2001:db8:1:cc"), 0, "the whole /48 has no more");
        assert_eq!(taken("2001:db8:2:aa"), 16, "another site has its own");

        drop(held);
        assert!(shares.is_empty(), "nothing is remembered of those who are gone");
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let shares = Shares::new(2);
        let one = address("2001:db8::1");
        let held = [shares.take(one).unwrap(), shares.take(one).unwrap()];

        assert!(shares.take(one).is_none());
        drop(held);

        assert!(shares.is_empty());
    }
}
