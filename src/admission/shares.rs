//! Counts how much each group of addresses uses of something.
//!
//! A client is counted in all its groups: for IPv6 also in its wider prefixes, so that a client
//! with many addresses cannot exceed its share by using all of them. `places`, `budget`, `turns`
//! and the listeners use it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::client::AddressGroup;

/// Amounts by address group. A group without any use has no entry, so addresses are forgotten as
/// soon as they use nothing. The map is therefore bounded by the work that is under way.
#[derive(Debug, Default)]
pub struct GroupCounts(HashMap<AddressGroup, usize>);

impl GroupCounts {
    /// Takes `amount` in every group of `address`. Returns false, and takes nothing, if a group
    /// would exceed its allowance. `limit` is the allowance of one subscriber. A wider IPv6 prefix
    /// has a larger allowance than a subscriber.
    pub fn take(&mut self, address: IpAddr, amount: usize, limit: usize) -> bool {
        let fits = |group: AddressGroup| {
            let in_use = self.0.get(&group).copied().unwrap_or(0);
            in_use.saturating_add(amount) <= group.allowance(limit)
        };
        // All groups are checked before the first is changed, so that a refusal leaves nothing
        // counted.
        if !AddressGroup::all_of(address).all(fits) {
            return false;
        }
        for group in AddressGroup::all_of(address) {
            *self.0.entry(group).or_default() += amount;
        }
        true
    }

    /// Gives back an amount that was taken. The amount must be one that `take` returned true for;
    /// otherwise another client's use would be reduced.
    pub fn give_back(&mut self, address: IpAddr, amount: usize) {
        for group in AddressGroup::all_of(address) {
            if let Some(in_use) = self.0.get_mut(&group) {
                *in_use = in_use.saturating_sub(amount);
                if *in_use == 0 {
                    self.0.remove(&group);
                }
            }
        }
    }

    /// True if nothing is in use.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Counts that several threads share, with the allowance of one subscriber.
#[derive(Debug)]
pub struct InFlightByClient {
    limit: AtomicUsize,
    counts: Mutex<GroupCounts>,
}

impl InFlightByClient {
    /// Counts with an allowance of `limit` for each subscriber.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), counts: Mutex::default() })
    }

    /// The allowance of one subscriber.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the allowance of one subscriber. Clients above a lower allowance keep what they have
    /// until they give it back.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes one for `address`, until the returned value is dropped. `None` if that exceeds a
    /// share. The place is given back by `drop`, so a cancelled request frees it, too.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<ClientShare> {
        let is_taken = self.counts.lock().take(address, 1, self.limit());
        is_taken.then(|| ClientShare { shares: self.clone(), address })
    }

    /// True if nothing is in use.
    pub fn is_empty(&self) -> bool {
        self.counts.lock().is_empty()
    }
}

/// One unit of use by an address. It is given back when this is dropped.
#[derive(Debug)]
pub struct ClientShare {
    shares: Arc<InFlightByClient>,
    address: IpAddr,
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        self.shares.counts.lock().give_back(self.address, 1);
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
        let shares = InFlightByClient::new(8);
        let mut in_use = Vec::new();
        let mut taken = |prefix: &str| {
            let from = |number: usize| format!("{prefix}{number:02x}::1");
            let got: Vec<_> =
                (0..64).filter_map(|number| shares.take(address(&from(number)))).collect();
            let count = got.len();
            in_use.extend(got);
            count
        };

        assert_eq!(taken("2001:db8:1:aa"), 16, "twice a /64's in one /56");
        assert_eq!(taken("2001:db8:1:bb"), 16, "and in the next one, which makes four times");
        assert_eq!(taken("2001:db8:1:cc"), 0, "the whole /48 has no more");
        assert_eq!(taken("2001:db8:2:aa"), 16, "another site has its own");

        drop(in_use);
        assert!(shares.is_empty(), "nothing is remembered of those who are gone");
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let shares = InFlightByClient::new(2);
        let one = address("2001:db8::1");
        let in_use = [shares.take(one).unwrap(), shares.take(one).unwrap()];

        assert!(shares.take(one).is_none());
        drop(in_use);

        assert!(shares.is_empty());
    }
}
