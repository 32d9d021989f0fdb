//! The health of one server, as `pick` reads it for each request.
//!
//! There are three sources, and each withdraws only its own statement: checks (certain: a server
//! that fails them is not used), ejections (a guess from failures in a row, for a time), and the
//! last connect (a hint: the server is used last). A server that came back rises to its full share
//! (slow start). All values are atomics of their own, and a healthy server needs no look at the
//! clock. Changes are logged here once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::settings::OutlierSettings;

/// How long a server is tried last after a failed connect. It is short, because one failure is a
/// hint and not a health check.
const DOWN_FOR: Duration = Duration::from_secs(5);

/// The share with which a server that came back begins, in thousandths.
const FIRST_SHARE: u64 = 100;
pub(super) const FULL_SHARE: u64 = 1000;

/// The condition of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCondition {
    Up,
    /// The server came back a while ago and takes this many thousandths of its share.
    Rising(u64),
    /// The last connection attempt, a moment ago, failed.
    Unreachable,
    /// Left out for a time because it failed requests.
    Ejected,
    /// Left out until it passes its checks.
    FailsChecks,
}

impl ServerCondition {
    /// All names that `as_str` returns.
    pub const NAMES: [&'static str; 4] = ["up", "unreachable", "ejected", "checks_failed"];

    /// The name for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up | Self::Rising(_) => "up",
            Self::Unreachable => "unreachable",
            Self::Ejected => "ejected",
            Self::FailsChecks => "checks_failed",
        }
    }

    /// True if the server is used in the normal way.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Rising(_))
    }
}

/// The state of one server. Times are milliseconds of a `Timestamp`; 0 means none.
pub(in crate::upstream) struct ServerState {
    upstream: Arc<str>,
    server: Arc<str>,
    slow_start: Duration,
    fails_checks: AtomicBool,
    unreachable_until: AtomicU64,
    ejected_until: AtomicU64,
    rising_since: AtomicU64,
    /// Failures since the last success.
    consecutive_failures: AtomicU32,
    /// The number of ejections from which the length of the next one is computed, and the end of
    /// the last one.
    ejections: AtomicU32,
    returned: AtomicU64,
}

impl ServerState {
    /// A server about which nothing is known. It counts as up.
    pub(super) fn new(upstream: Arc<str>, server: Arc<str>, slow_start: Duration) -> Self {
        Self {
            upstream,
            server,
            slow_start,
            fails_checks: AtomicBool::new(false),
            unreachable_until: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            rising_since: AtomicU64::new(0),
            consecutive_failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            returned: AtomicU64::new(0),
        }
    }

    /// The condition of the server at this moment. The end of an ejection is recorded by the first
    /// call that sees it. The stronger statement wins: failed checks, then an ejection, then a
    /// failed connect, then a slow start.
    pub(super) fn condition(&self, clock: &Clock) -> ServerCondition {
        if self.fails_checks() {
            return ServerCondition::FailsChecks;
        }
        let [unreachable, ejected, rising] =
            [&self.unreachable_until, &self.ejected_until, &self.rising_since]
                .map(|at| at.load(Ordering::Relaxed));
        if unreachable | ejected | rising == 0 {
            return ServerCondition::Up;
        }
        let now = clock.now();
        if self.is_ejected(now) {
            return ServerCondition::Ejected;
        }
        if ejected != 0 {
            self.come_back(ejected, now);
        }
        if is_before(now, unreachable, DOWN_FOR) {
            return ServerCondition::Unreachable;
        }
        match self.share(now) {
            FULL_SHARE.. => ServerCondition::Up,
            share => ServerCondition::Rising(share),
        }
    }

    /// True if the server's last checks failed.
    pub(super) fn fails_checks(&self) -> bool {
        self.fails_checks.load(Ordering::Relaxed)
    }

    /// True during an ejection.
    fn is_ejected(&self, now: Timestamp) -> bool {
        // The configuration limits an ejection to a day.
        is_before(now, self.ejected_until.load(Ordering::Relaxed), Duration::from_secs(86_400))
    }

    /// True if the server fails its checks or is ejected.
    pub(super) fn is_out(&self, now: Timestamp) -> bool {
        self.fails_checks() || self.is_ejected(now)
    }

    /// Records that no connection could be made.
    pub(super) fn unreachable(&self, now: Timestamp) {
        self.unreachable_until.store(now.plus(DOWN_FOR).millis(), Ordering::Relaxed);
    }

    /// Records that a connection was made.
    pub(in crate::upstream) fn reached(&self) {
        self.unreachable_until.store(0, Ordering::Relaxed);
    }

    /// Records a failed request. Returns the number of failures in a row.
    pub(super) fn failed(&self) -> u32 {
        self.consecutive_failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Records a successful request. It writes only if there are failures to forget: writing for
    /// each request would move the cache line from core to core. A success ends the row of
    /// failures, so only failures without any success between them count.
    pub(super) fn succeeded(&self) {
        if self.consecutive_failures.load(Ordering::Relaxed) != 0 {
            self.consecutive_failures.store(0, Ordering::Relaxed);
        }
    }

    /// Ejects the server. Each ejection that follows soon after the last one is longer, up to the
    /// maximum. Invariant: one caller at a time, which `outlier` ensures. The count starts again
    /// after a time without ejections that is as long as the longest one.
    pub(super) fn eject(&self, outlier: &OutlierSettings, now: Timestamp) {
        let returned = Timestamp::from_millis(self.returned.load(Ordering::Relaxed));
        let before = match now.since(returned) >= outlier.max_ejection {
            true => 0,
            false => self.ejections.load(Ordering::Relaxed),
        };
        let number = before.saturating_add(1);
        let length = outlier.ejection.saturating_mul(number).min(outlier.max_ejection);
        self.ejections.store(number, Ordering::Relaxed);
        let until = now.plus(length).millis();
        self.returned.store(until, Ordering::Relaxed);
        // After its return, one more failure ejects the server again, unless a request succeeds
        // first.
        self.consecutive_failures.store(outlier.failures.saturating_sub(1), Ordering::Relaxed);
        self.ejected_until.store(until, Ordering::Relaxed);
        tracing::warn!(
            upstream = &*self.upstream,
            server = &*self.server,
            failures = outlier.failures,
            for_seconds = length.as_secs_f64(),
            "a server fails requests and is left out"
        );
    }

    /// Records the end of an ejection. Only the first of several concurrent callers does so, which
    /// the `compare_exchange` decides. The slow start begins at the planned end and not at this
    /// call, because an unused server may be looked at much later.
    fn come_back(&self, ejected_until: u64, now: Timestamp) {
        let ended = &self.ejected_until;
        let relaxed = Ordering::Relaxed;
        if ended.compare_exchange(ejected_until, 0, relaxed, relaxed).is_err() {
            return;
        }
        self.rise(Timestamp::from_millis(ejected_until).min(now));
        let upstream = &*self.upstream;
        let server = &*self.server;
        tracing::info!(upstream, server, "a server that was left out is tried again");
    }

    /// Records that the server passes its checks (`None`), or the reason why it does not.
    pub(super) fn checked(&self, failure: Option<&str>, now: Timestamp) {
        let upstream = &*self.upstream;
        let server = &*self.server;
        let failed = self.fails_checks.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !failed => {
                tracing::warn!(upstream, server, cause, "a server fails its checks");
            }
            None if failed => {
                self.reached();
                self.rise(now);
                tracing::info!(upstream, server, "a server passes its checks again");
            }
            _ => {}
        }
    }

    /// Takes over the state of the same server before a reload. The results of checks are taken
    /// over only if the server still has checks: nothing else could bring it back. Ejections and
    /// the slow start continue, too: a reload must not bring a failing server back.
    pub(super) fn inherit(&self, last: &Self, has_checks: bool) {
        let relaxed = Ordering::Relaxed;
        self.fails_checks.store(has_checks && last.fails_checks(), relaxed);
        for (own, last) in [
            (&self.unreachable_until, &last.unreachable_until),
            (&self.ejected_until, &last.ejected_until),
            (&self.rising_since, &last.rising_since),
            (&self.returned, &last.returned),
        ] {
            own.store(last.load(relaxed), relaxed);
        }
        self.consecutive_failures.store(last.consecutive_failures.load(relaxed), relaxed);
        self.ejections.store(last.ejections.load(relaxed), relaxed);
    }

    /// Begins the slow start, if one is configured.
    fn rise(&self, from: Timestamp) {
        if !self.slow_start.is_zero() {
            self.rising_since.store(from.millis().max(1), Ordering::Relaxed);
        }
    }

    /// The share of its load that the server takes now, in thousandths.
    fn share(&self, now: Timestamp) -> u64 {
        let since = self.rising_since.load(Ordering::Relaxed);
        if since == 0 {
            return FULL_SHARE;
        }
        let risen = now.millis().checked_sub(since).map(Duration::from_millis);
        // `None` means that the clock was set back. The slow start ends then, because its length
        // is not known any more.
        let Some(risen) = risen.filter(|risen| *risen < self.slow_start) else {
            let relaxed = Ordering::Relaxed;
            let _ = self.rising_since.compare_exchange(since, 0, relaxed, relaxed);
            return FULL_SHARE;
        };
        let share = risen.as_millis() * u128::from(FULL_SHARE) / self.slow_start.as_millis().max(1);
        u64::try_from(share).unwrap_or(FULL_SHARE).max(FIRST_SHARE)
    }
}

/// True if `until` is in the future, but not further away than it can have been set. A larger
/// distance means that the clock was set back; the time then counts as over. Without this rule, a
/// clock that is set back by an hour would keep a server out for an hour.
fn is_before(now: Timestamp, until: u64, longest: Duration) -> bool {
    let left = Timestamp::from_millis(until).since(now);
    !left.is_zero() && left <= longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;

    const OUTLIER: OutlierSettings = OutlierSettings {
        failures: 3,
        ejection: Duration::from_secs(10),
        max_ejection: Duration::from_secs(25),
    };

    fn state(slow_start: u64) -> (ServerState, TestClock, Clock) {
        let moved = TestClock::new(Timestamp::from_secs(1000));
        let state = ServerState::new("u".into(), "s".into(), Duration::from_secs(slow_start));
        (state, moved.clone(), Clock::test(moved))
    }

    #[test]
    fn an_ejection_grows_to_its_limit_and_starts_over_after_a_good_while() {
        let (state, moved, clock) = state(0);
        for (calm, length, why) in [
            (0, 10, "the first"),
            (0, 20, "the second is twice as long"),
            (0, 25, "none is longer than the limit"),
            (24, 25, "it has not been calm for long enough"),
            (25, 10, "it has been in for as long as the longest"),
        ] {
            moved.advance(Duration::from_secs(calm));
            state.eject(&OUTLIER, clock.now());

            moved.advance(Duration::from_secs(length) - Duration::from_millis(1));
            assert_eq!(state.condition(&clock), ServerCondition::Ejected, "{why}");
            moved.advance(Duration::from_millis(1));
            assert_eq!(state.condition(&clock), ServerCondition::Up, "{why}");
        }
    }

    #[test]
    fn a_server_that_came_back_rises_to_its_full_share() {
        let (state, moved, clock) = state(20);
        state.checked(Some("refused"), clock.now());
        state.checked(None, clock.now());

        for (after, expected, why) in [
            (0, ServerCondition::Rising(100), "a tenth to begin with"),
            (1, ServerCondition::Rising(100), "less than a tenth would tell nothing"),
            (9, ServerCondition::Rising(500), "half of the time, half of the share"),
            (10, ServerCondition::Up, "all of it"),
        ] {
            moved.advance(Duration::from_secs(after));
            assert_eq!(state.condition(&clock), expected, "{why}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_server_out() {
        let (left_out, _, clock) = state(0);
        let (risen, ..) = state(20);
        let future = Timestamp::from_secs(1_000_000);

        left_out.unreachable(future);
        left_out.eject(&OUTLIER, future);
        risen.rise(future);

        assert_eq!(left_out.condition(&clock), ServerCondition::Up);
        assert_eq!(risen.condition(&clock), ServerCondition::Up);
    }
}
