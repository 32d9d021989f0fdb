//! A bound on concurrent work, of which one client may have an eighth. Nobody waits for a place.
//!
//! A place is taken before the work begins and given back when it is dropped, whatever the outcome.
//! Work that is worth waiting for uses `FairQueue` instead. The background runtime and the user
//! sources have places.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::share_of;
use super::shares::{ClientShare, InFlightByClient};

/// The places for one kind of work.
#[derive(Clone, Debug)]
pub struct WorkLimit {
    free: Arc<Semaphore>,
    limit: usize,
    shares: Arc<InFlightByClient>,
}

/// The reasons for which no place is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkLimitError {
    #[error("all {limit} places are taken")]
    Full { limit: usize },

    #[error("this address has its share of {limit} places")]
    Share { limit: usize },
}

/// A place in use. It is given back when this is dropped.
#[derive(Debug)]
pub struct WorkPermit {
    _permit: OwnedSemaphorePermit,
    _share: Option<ClientShare>,
}

impl WorkLimit {
    /// A bound of `limit` places.
    pub fn new(limit: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            limit,
            shares: InFlightByClient::new(share_of(limit)),
        }
    }

    /// Takes a place for work that `origin` asks for. Without an origin only the total bound
    /// applies. It never waits.
    ///
    /// # Errors
    /// All places, or those of the client's share, are in use.
    pub fn take(&self, origin: Option<IpAddr>) -> Result<WorkPermit, WorkLimitError> {
        // The share is checked first. Otherwise a client over its share would occupy the last place
        // for a moment, in which another client could be refused. The order costs nothing: both
        // checks are a few instructions.
        let share = match origin {
            Some(address) => {
                let limit = self.shares.limit();
                Some(self.shares.take(address).ok_or(WorkLimitError::Share { limit })?)
            }
            None => None,
        };
        let permit = self.free.clone().try_acquire_owned();
        let permit = permit.map_err(|_| WorkLimitError::Full { limit: self.limit })?;
        Ok(WorkPermit { _permit: permit, _share: share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_of_addresses_does_not_take_all_places() {
        let places = WorkLimit::new(64);
        let [one, two] = ["192.0.2.1", "2001:db8::"].map(|group| group.parse().ok());
        let taken: Vec<_> = (0..8).map(|_| places.take(one).unwrap()).collect();

        assert_eq!(places.take(one).unwrap_err(), WorkLimitError::Share { limit: 8 });
        assert!(places.take(two).is_ok());
        assert!(places.take(None).is_ok(), "an address that many share");

        drop(taken);
        assert!(places.take(one).is_ok());
        assert!(places.shares.is_empty());
    }

    #[test]
    fn the_bound_on_all_holds_for_shared_addresses_and_a_refusal_leaves_nothing() {
        let places = WorkLimit::new(2);
        let _taken: Vec<_> = (0..2).map(|_| places.take(None).unwrap()).collect();

        assert_eq!(places.take(None).unwrap_err(), WorkLimitError::Full { limit: 2 });
        let one = places.take("192.0.2.1".parse().ok());
        assert_eq!(one.unwrap_err(), WorkLimitError::Full { limit: 2 });
        assert!(places.shares.is_empty());
    }
}
