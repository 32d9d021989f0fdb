//! How much of each kind of work the back room takes: more is refused at once, never queued.
//!
//! Of questions about credentials, one group of addresses may have an eighth under way (DECISIONS
//! 15 says the same of hashing): anybody can make tokens up that have to be asked about.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What kind of work the back room is asked for; each kind has its own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A login step: reading users, hashing, the store, mail.
    Login,
    /// A question to whoever issued a credential.
    Inquiry,
    /// What the gateway itself needs to call an upstream: a signature, a login there. Nobody who
    /// was not let in takes its places.
    Calling,
    /// An operator's request.
    Admin,
}

/// As many of one kind as the back room takes are already waiting in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the back room already has {limit} requests of this kind")]
pub struct BackRoomFull {
    pub limit: usize,
}

/// A login waits for a hash or a disk, so this many are a queue of seconds, not of minutes.
const LOGIN_LIMIT: usize = 1024;
/// An issuer answers within seconds or not at all; requests wait for it in memory.
const INQUIRY_LIMIT: usize = 4096;
/// One group of addresses may hold so many of them.
const SHARE: usize = INQUIRY_LIMIT / 8;
/// A login at an upstream is one for all who wait for it.
const CALLING_LIMIT: usize = 4096;
pub(super) const ADMIN_LIMIT: usize = 64;

/// The places of one kind.
#[derive(Debug)]
struct Kind {
    free: Arc<Semaphore>,
    limit: usize,
}

/// The places of every kind.
#[derive(Debug)]
pub(super) struct Places {
    login: Kind,
    inquiry: Kind,
    calling: Kind,
    admin: Kind,
    inquirers: Arc<Inquirers>,
}

/// How many questions of each group of addresses are under way; one without any has no entry.
type Inquirers = Mutex<HashMap<IpAddr, usize>>;

/// A place that is taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

#[derive(Debug)]
struct Share {
    inquirers: Arc<Inquirers>,
    group: IpAddr,
}

impl Kind {
    fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit }
    }

    fn take(&self, share: Option<Share>) -> Result<Place, BackRoomFull> {
        let permit = self.free.clone().try_acquire_owned();
        let permit = permit.map_err(|_| BackRoomFull { limit: self.limit })?;
        Ok(Place { _permit: permit, _share: share })
    }
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            login: Kind::new(LOGIN_LIMIT),
            inquiry: Kind::new(INQUIRY_LIMIT),
            calling: Kind::new(CALLING_LIMIT),
            admin: Kind::new(ADMIN_LIMIT),
            inquirers: Arc::default(),
        }
    }

    pub(super) fn take(&self, kind: Work) -> Result<Place, BackRoomFull> {
        let kind = match kind {
            Work::Login => &self.login,
            Work::Inquiry => &self.inquiry,
            Work::Calling => &self.calling,
            Work::Admin => &self.admin,
        };
        kind.take(None)
    }

    /// A place for a question about a credential that came from this group of addresses.
    pub(super) fn take_for(&self, group: Option<IpAddr>) -> Result<Place, BackRoomFull> {
        let share = group.map(|group| Share::of(&self.inquirers, group)).transpose()?;
        self.inquiry.take(share)
    }
}

impl Share {
    fn of(inquirers: &Arc<Inquirers>, group: IpAddr) -> Result<Self, BackRoomFull> {
        let mut held = inquirers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(group).or_default();
        if *count >= SHARE {
            return Err(BackRoomFull { limit: SHARE });
        }
        *count += 1;
        Ok(Self { inquirers: inquirers.clone(), group })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.inquirers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.group) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_of_addresses_does_not_take_all_places_for_questions() {
        let places = Places::new();
        let [one, two] = ["192.0.2.1", "2001:db8::"].map(|group| group.parse().ok());
        let held: Vec<_> = (0..SHARE).map(|_| places.take_for(one).unwrap()).collect();

        assert_eq!(places.take_for(one).unwrap_err(), BackRoomFull { limit: SHARE });
        assert!(places.take_for(two).is_ok());
        assert!(places.take_for(None).is_ok(), "an address that many share");

        drop(held);
        assert!(places.take_for(one).is_ok());
        assert!(places.inquirers.lock().unwrap().is_empty());
    }

    #[test]
    fn questions_about_credentials_do_not_keep_the_gateway_from_calling_upstreams() {
        let places = Places::new();
        let _held: Vec<_> = (0..INQUIRY_LIMIT).map(|_| places.take_for(None).unwrap()).collect();

        assert!(places.take(Work::Inquiry).is_err());
        assert!(places.take_for("192.0.2.1".parse().ok()).is_err());
        assert!(places.inquirers.lock().unwrap().is_empty(), "nothing is left of a refusal");
        assert!(places.take(Work::Calling).is_ok());
    }
}
