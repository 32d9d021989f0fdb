//! Failures by address, counted in memory before anybody is asked about them.
//!
//! A try is counted when it begins and given back where it did not fail: a thousand at once are a
//! thousand counted tries. Nothing here outlives the process; what has to is in the store as well,
//! which is asked only of those who are let through here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::AddressGroup;
use crate::clock::Timestamp;

/// Groups of addresses that are remembered. Far more than fail in one window, so only a
/// misconfigured one gets here.
const MOST_GROUPS: usize = 200_000;
/// More tries than this beyond the limit, in one window, are a flood.
const FLOOD: u32 = 100;

/// Failures of one subscriber, and in how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimit {
    pub attempts: u32,
    pub per: Duration,
}

/// What each group of addresses has failed lately.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<AddressGroup, Window>>);

/// Begins with the first failure and forgets all at its end, as windows in the store do.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: Timestamp,
    ends: Timestamp,
    count: u32,
    /// Tries beyond the limit.
    turned_away: u32,
}

/// A try beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// When there is room again.
    pub retry_after: Duration,
    /// It was one of so many that nobody is at the keyboard.
    pub is_flood: bool,
}

impl Attempts {
    /// Counts a try as failed in every group of `address`; without an address nothing is counted.
    ///
    /// # Errors
    /// Over the limit, and nothing is counted: how long until there is room again.
    pub fn reserve(
        &self,
        address: Option<IpAddr>,
        limit: AttemptLimit,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let Some(address) = address else { return Ok(()) };
        let mut held = self.lock();
        match wait(&held, address, limit, now) {
            Some(wait) => Err(wait),
            None => {
                count(&mut held, address, limit, now);
                Ok(())
            }
        }
    }

    /// Turns away whoever has failed as often as they may: nothing else is counted.
    pub fn turn_away(
        &self,
        address: Option<IpAddr>,
        limit: AttemptLimit,
        now: Timestamp,
    ) -> Option<TurnedAway> {
        let address = address?;
        let mut held = self.lock();
        let retry_after = wait(&held, address, limit, now)?;
        let mut is_flood = false;
        for group in AddressGroup::all_of(address) {
            if let Some(window) = held.get_mut(&group).filter(|window| window.holds(now)) {
                window.turned_away = window.turned_away.saturating_add(1);
                is_flood |= window.turned_away > FLOOD;
            }
        }
        Some(TurnedAway { retry_after, is_flood })
    }

    /// How long until `address` may fail again, where it has failed as often as it may: nothing is
    /// counted.
    pub fn wait(
        &self,
        address: Option<IpAddr>,
        limit: AttemptLimit,
        now: Timestamp,
    ) -> Option<Duration> {
        wait(&self.lock(), address?, limit, now)
    }

    /// Counts a failure in every group of `address`.
    pub fn count(&self, address: Option<IpAddr>, limit: AttemptLimit, now: Timestamp) {
        if let Some(address) = address {
            count(&mut self.lock(), address, limit, now);
        }
    }

    /// Gives back a try that did not fail.
    pub fn give_back(&self, address: Option<IpAddr>, now: Timestamp) {
        let Some(address) = address else { return };
        let mut held = self.lock();
        for group in AddressGroup::all_of(address) {
            if let Some(window) = held.get_mut(&group).filter(|window| window.holds(now)) {
                window.count = window.count.saturating_sub(1);
            }
        }
    }

    /// Forgets windows that have ended; called now and then.
    pub fn sweep(&self, now: Timestamp) {
        self.lock().retain(|_, window| window.count > 0 && window.holds(now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AddressGroup, Window>> {
        // Nothing in the lock can be left half done by a panic, so a poisoned one is taken over.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long until `address` may fail again, where it has failed as often as it may.
fn wait(
    held: &HashMap<AddressGroup, Window>,
    address: IpAddr,
    limit: AttemptLimit,
    now: Timestamp,
) -> Option<Duration> {
    let wait = AddressGroup::all_of(address).filter_map(|group| {
        let most = group.allowance(usize::try_from(limit.attempts).unwrap_or(usize::MAX));
        let window = held.get(&group).filter(|window| window.holds(now))?;
        let count = usize::try_from(window.count).unwrap_or(usize::MAX);
        (count >= most).then(|| window.ends.since(now))
    });
    wait.max()
}

fn count(
    held: &mut HashMap<AddressGroup, Window>,
    address: IpAddr,
    limit: AttemptLimit,
    now: Timestamp,
) {
    make_room(held, now);
    for group in AddressGroup::all_of(address) {
        let fresh = Window { start: now, ends: now.plus(limit.per), count: 0, turned_away: 0 };
        let window = held.entry(group).or_insert(fresh);
        if !window.holds(now) {
            *window = fresh;
        }
        window.count = window.count.saturating_add(1);
    }
}

impl Window {
    /// Requests do not come here in the order of their `now`. A window that begins further ahead
    /// than it is long was made before the clock was set back.
    fn holds(&self, now: Timestamp) -> bool {
        now < self.ends && self.start.since(now) <= self.ends.since(self.start)
    }
}

/// Where all places are taken, forgets the half that would be forgotten next: one look at all for
/// many of those that come after.
fn make_room(held: &mut HashMap<AddressGroup, Window>, now: Timestamp) {
    if held.len() < MOST_GROUPS {
        return;
    }
    held.retain(|_, window| window.count > 0 && window.holds(now));
    if held.len() < MOST_GROUPS {
        return;
    }
    let mut ends: Vec<Timestamp> = held.values().map(|window| window.ends).collect();
    ends.sort_unstable();
    let Some(median) = ends.get(ends.len() / 2).copied() else { return };
    let mut spare = held.len() / 2;
    held.retain(|_, window| {
        let goes = spare > 0 && window.ends <= median;
        spare -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: AttemptLimit = AttemptLimit { attempts: 3, per: Duration::from_secs(600) };

    fn tries(attempts: &Attempts, address: &str, now: Timestamp) -> usize {
        let address = address.parse().ok();
        (0..100).filter(|_| attempts.reserve(address, LIMIT, now).is_ok()).count()
    }

    #[test]
    fn an_address_fails_so_often_in_a_window() {
        let (attempts, now) = (Attempts::default(), Timestamp::from_secs(1000));

        assert_eq!(tries(&attempts, "192.0.2.1", now), 3);
        assert_eq!(tries(&attempts, "192.0.2.2", now), 3, "another one");
        let wait =
            attempts.reserve("192.0.2.1".parse().ok(), LIMIT, now.plus(Duration::from_secs(100)));
        assert_eq!(wait, Err(Duration::from_secs(500)));
        attempts.give_back("192.0.2.1".parse().ok(), now);
        assert_eq!(tries(&attempts, "192.0.2.1", now), 1, "one did not fail");
        assert_eq!(
            tries(&attempts, "192.0.2.1", now.plus(Duration::from_secs(600))),
            3,
            "the window ended"
        );
        assert!(attempts.reserve(None, LIMIT, now).is_ok());

        attempts.sweep(now.plus(Duration::from_secs(2000)));
        assert!(attempts.lock().is_empty());
    }

    #[test]
    fn who_goes_on_and_on_is_a_flood() {
        let (attempts, now) = (Attempts::default(), Timestamp::from_secs(1000));
        let address = "192.0.2.1".parse().ok();
        assert_eq!(attempts.turn_away(address, LIMIT, now), None, "it has not failed yet");
        tries(&attempts, "192.0.2.1", now);

        let floods: Vec<bool> = (0..FLOOD + 2)
            .filter_map(|_| attempts.turn_away(address, LIMIT, now))
            .map(|away| away.is_flood)
            .collect();

        assert_eq!(floods.iter().filter(|is_flood| **is_flood).count(), 2);
        let later = now.plus(Duration::from_secs(600));
        assert_eq!(attempts.turn_away(address, LIMIT, later), None, "the window ended");
    }

    #[test]
    fn attempts_count_wider_ipv6_prefixes() {
        let (attempts, now) = (Attempts::default(), Timestamp::from_secs(1000));
        let prefix = |middle: &str| -> usize {
            let one = |last| tries(&attempts, &format!("2001:db8:1:{middle}{last:x}::1"), now);
            (0..10).map(one).sum()
        };

        assert_eq!(prefix("aa"), 6, "twice a /64's in a /56");
        assert_eq!(prefix("bb"), 6, "and four times in the /48");
        assert_eq!(prefix("cc"), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (attempts, now) = (Attempts::default(), Timestamp::from_secs(1000));
        for number in 0..u32::try_from(MOST_GROUPS).unwrap() + 5 {
            let address = Some(IpAddr::V4(number.into()));
            attempts.reserve(address, LIMIT, now).unwrap();
        }

        let held = attempts.lock().len();
        assert!(held <= MOST_GROUPS && held > MOST_GROUPS / 4, "{held}");
    }
}
