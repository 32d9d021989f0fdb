//! Counts failed attempts by address, in memory, before a user source is asked.
//!
//! An attempt is counted when it begins and taken back if it did not fail. If attempts were counted
//! at their end, then a thousand concurrent ones would all pass before the first is counted.
//! Nothing here survives the process; limits that must survive are in the session store as well,
//! which is asked only for attempts that pass here. `login` and `authn` are the callers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::client::AddressGroup;
use crate::clock::Timestamp;

/// Upper bound of address groups that are remembered. Far fewer fail within one window, unless the
/// window is configured too long. Each IPv6 address counts in three groups.
const MOST_GROUPS: usize = 200_000;
/// A subscriber with more refusals than this in one window is a program: a person gives up earlier.
const FLOOD: usize = 100;

/// The number of failures that one subscriber may have in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimit {
    pub attempts: u32,
    pub per: Duration,
}

/// The recent failures of each group of addresses.
#[derive(Debug, Default)]
pub struct FailedAttempts(Mutex<HashMap<AddressGroup, FailureWindow>>);

/// A fixed window. It begins with the first failure and is forgotten at its end, like windows in
/// the session store. A sliding window would need a list of times for each address.
#[derive(Clone, Copy, Debug)]
struct FailureWindow {
    start: Timestamp,
    ends: Timestamp,
    count: u32,
    /// Attempts that were refused because of a limit, whichever it was.
    refused: usize,
}

impl FailedAttempts {
    /// Counts an attempt as failed in every group of `address`. Without an address nothing is
    /// counted.
    ///
    /// # Errors
    /// The time until the next attempt, if the limit is reached. The attempt is not counted then.
    pub fn reserve(
        &self,
        address: Option<IpAddr>,
        limit: AttemptLimit,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let Some(address) = address else { return Ok(()) };
        let mut windows = self.0.lock();
        match wait(&windows, address, limit, now) {
            Some(wait) => Err(wait),
            None => {
                count(&mut windows, address, limit, now);
                Ok(())
            }
        }
    }

    /// Counts an attempt that was refused because of a limit: of its address, of its account, or of
    /// the work at one time. Returns true if a group of `address` had so many that a program must
    /// be making them. `per` is the length of a window.
    pub fn count_refusal(&self, address: Option<IpAddr>, per: Duration, now: Timestamp) -> bool {
        let Some(address) = address else { return false };
        let mut windows = self.0.lock();
        make_room(&mut windows, now);
        let mut is_flood = false;
        for group in AddressGroup::all_of(address) {
            let window = current_window(&mut windows, group, per, now);
            window.refused = window.refused.saturating_add(1);
            is_flood |= window.refused > group.allowance(FLOOD);
        }
        is_flood
    }

    /// The time until `address` may fail again; `None` if it is below the limit. Nothing is
    /// counted.
    pub fn wait(
        &self,
        address: Option<IpAddr>,
        limit: AttemptLimit,
        now: Timestamp,
    ) -> Option<Duration> {
        wait(&self.0.lock(), address?, limit, now)
    }

    /// Counts a failure in every group of `address`.
    pub fn count(&self, address: Option<IpAddr>, limit: AttemptLimit, now: Timestamp) {
        if let Some(address) = address {
            count(&mut self.0.lock(), address, limit, now);
        }
    }

    /// Takes an attempt back that did not fail.
    pub fn refund_attempt(&self, address: Option<IpAddr>, now: Timestamp) {
        let Some(address) = address else { return };
        let mut windows = self.0.lock();
        for group in AddressGroup::all_of(address) {
            // If the window ended while the attempt was running, then its count is gone with it,
            // and a new window must not be reduced. Reducing a new window would give the client an
            // attempt for free.
            if let Some(window) = windows.get_mut(&group).filter(|window| window.holds(now)) {
                window.count = window.count.saturating_sub(1);
            }
        }
    }

    /// Forgets windows that have ended. The background runtime calls it regularly.
    pub fn sweep(&self, now: Timestamp) {
        self.0.lock().retain(|_, window| window.is_needed(now));
    }
}

/// The longest time until every group of `address` is below its limit again; `None` if all are
/// below. A wider IPv6 prefix has a larger limit. A client with many addresses of one prefix is
/// bound by the limit of the prefix.
fn wait(
    windows: &HashMap<AddressGroup, FailureWindow>,
    address: IpAddr,
    limit: AttemptLimit,
    now: Timestamp,
) -> Option<Duration> {
    let wait = AddressGroup::all_of(address).filter_map(|group| {
        let most = group.allowance(usize::try_from(limit.attempts).unwrap_or(usize::MAX));
        let window = windows.get(&group).filter(|window| window.holds(now))?;
        let count = usize::try_from(window.count).unwrap_or(usize::MAX);
        (count >= most).then(|| window.ends.since(now))
    });
    wait.max()
}

/// Counts one failure in every group of `address`, in the current window or a new one.
fn count(
    windows: &mut HashMap<AddressGroup, FailureWindow>,
    address: IpAddr,
    limit: AttemptLimit,
    now: Timestamp,
) {
    make_room(windows, now);
    for group in AddressGroup::all_of(address) {
        let window = current_window(windows, group, limit.per, now);
        window.count = window.count.saturating_add(1);
    }
}

/// The window of `group` at `now`, a new one if the last one has ended.
fn current_window(
    windows: &mut HashMap<AddressGroup, FailureWindow>,
    group: AddressGroup,
    per: Duration,
    now: Timestamp,
) -> &mut FailureWindow {
    let fresh = FailureWindow { start: now, ends: now.plus(per), count: 0, refused: 0 };
    let window = windows.entry(group).or_insert(fresh);
    if !window.holds(now) {
        *window = fresh;
    }
    window
}

impl FailureWindow {
    /// True if the window is current at `now`. Requests do not arrive in the order of their `now`,
    /// so a window may begin a little later than `now`. If it begins later than its own length,
    /// then it was made before the clock was set back, and does not count.
    fn holds(&self, now: Timestamp) -> bool {
        now < self.ends && self.start.since(now) <= self.ends.since(self.start)
    }

    /// False if the window may be forgotten.
    fn is_needed(&self, now: Timestamp) -> bool {
        (self.count > 0 || self.refused > 0) && self.holds(now)
    }
}

/// Makes room if the bound is reached: ended windows go first, then those that have only refusals,
/// then the half that would end next.
/// Removing half at once makes the search rare. An address that is forgotten early gets some
/// attempts more, which does no harm beyond them.
fn make_room(windows: &mut HashMap<AddressGroup, FailureWindow>, now: Timestamp) {
    if windows.len() < MOST_GROUPS {
        return;
    }
    windows.retain(|_, window| window.is_needed(now));
    if windows.len() < MOST_GROUPS {
        return;
    }
    // Refusals alone can be made by a client at no cost. They must not push out failures, which are
    // what the limits of wider prefixes are counted by.
    windows.retain(|_, window| window.count > 0);
    if windows.len() < MOST_GROUPS {
        return;
    }
    let mut ends: Vec<Timestamp> = windows.values().map(|window| window.ends).collect();
    ends.sort_unstable();
    let Some(median) = ends.get(ends.len() / 2).copied() else { return };
    let mut spare = windows.len() / 2;
    windows.retain(|_, window| {
        let goes = spare > 0 && window.ends <= median;
        spare -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: AttemptLimit = AttemptLimit { attempts: 3, per: Duration::from_secs(600) };

    fn tries(attempts: &FailedAttempts, address: &str, now: Timestamp) -> usize {
        let address = address.parse().ok();
        (0..100).filter(|_| attempts.reserve(address, LIMIT, now).is_ok()).count()
    }

    #[test]
    fn an_address_fails_so_often_in_a_window() {
        let attempts = FailedAttempts::default();
        let now = Timestamp::from_secs(1000);

        assert_eq!(tries(&attempts, "192.0.2.1", now), 3);
        assert_eq!(tries(&attempts, "192.0.2.2", now), 3, "another one");
        let wait =
            attempts.reserve("192.0.2.1".parse().ok(), LIMIT, now.plus(Duration::from_secs(100)));
        assert_eq!(wait, Err(Duration::from_secs(500)));
        attempts.refund_attempt("192.0.2.1".parse().ok(), now);
        assert_eq!(tries(&attempts, "192.0.2.1", now), 1, "one did not fail");
        assert_eq!(
            tries(&attempts, "192.0.2.1", now.plus(Duration::from_secs(600))),
            3,
            "the window ended"
        );
        assert!(attempts.reserve(None, LIMIT, now).is_ok());

        attempts.sweep(now.plus(Duration::from_secs(2000)));
        assert!(attempts.0.lock().is_empty());
    }

    #[test]
    fn more_refusals_than_a_person_would_cause_are_a_flood() {
        let attempts = FailedAttempts::default();
        let now = Timestamp::from_secs(1000);
        let address: Option<IpAddr> = "192.0.2.1".parse().ok();
        let refuse = |now| attempts.count_refusal(address, LIMIT.per, now);

        let floods = (0..FLOOD + 2).filter(|_| refuse(now)).count();

        assert_eq!(floods, 2);
        assert!(attempts.reserve(address, LIMIT, now).is_ok(), "a refusal is no failure");
        assert!(!attempts.count_refusal(None, LIMIT.per, now), "a shared address");
        let later = now.plus(LIMIT.per);
        assert!(!refuse(later), "the window ended");
        attempts.sweep(later);
        assert!(!attempts.0.lock().is_empty(), "refusals alone are remembered for a window");
        attempts.sweep(later.plus(LIMIT.per));
        assert!(attempts.0.lock().is_empty());
    }

    #[test]
    fn refusals_are_counted_for_wider_ipv6_prefixes() {
        let attempts = FailedAttempts::default();
        let now = Timestamp::from_secs(1000);
        // Each /64 alone stays below; the /56, which may have twice as many, does not.
        let floods = (0..FLOOD * 2 + 3).filter(|number| {
            let address = format!("2001:db8:1:{:x}::1", number % 16).parse().ok();
            attempts.count_refusal(address, LIMIT.per, now)
        });

        assert_eq!(floods.count(), 3);
    }

    #[test]
    fn attempts_count_wider_ipv6_prefixes() {
        let attempts = FailedAttempts::default();
        let now = Timestamp::from_secs(1000);
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
        let attempts = FailedAttempts::default();
        let now = Timestamp::from_secs(1000);
        for number in 0..u32::try_from(MOST_GROUPS).unwrap() + 5 {
            let address = Some(IpAddr::V4(number.into()));
            attempts.reserve(address, LIMIT, now).unwrap();
        }

        let windows = attempts.0.lock().len();
        assert!(windows <= MOST_GROUPS && windows > MOST_GROUPS / 4, "{windows}");
    }

    #[test]
    fn refusals_push_out_no_failures() {
        let attempts = FailedAttempts::default();
        let now = Timestamp::from_secs(1000);
        tries(&attempts, "2001:db8::1", now);

        for number in 0..u32::try_from(MOST_GROUPS).unwrap() + 5 {
            attempts.count_refusal(Some(IpAddr::V4(number.into())), LIMIT.per, now);
        }

        assert!(attempts.wait("2001:db8::1".parse().ok(), LIMIT, now).is_some());
        assert!(attempts.0.lock().len() <= MOST_GROUPS);
    }
}
