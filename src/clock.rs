//! Wall-clock time, read once per request and passed on as `now`.
//!
//! Everything that expires (tokens, sessions, codes, counters) is compared with a `Timestamp`
//! from one `Clock`. Tests hand in a clock that they move; nothing else in the crate reads the
//! system's time, so an expiry test needs no sleeping.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The end of time: of what does not expire.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `millis` milliseconds after 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The instant `secs` seconds after 1970.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down (NumericDate of RFC 7519 §2).
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// `duration` later, at most the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(duration)))
    }

    /// `duration` earlier, at least 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Year, month and day in UTC.
    pub fn date(self) -> (u64, u64, u64) {
        civil_from_days(self.secs() / 86_400)
    }

    /// This instant cut to whole seconds, as a token carries it.
    #[must_use]
    pub fn whole_secs(self) -> Self {
        Self::from_secs(self.secs())
    }
}

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(at.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T09:30:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let second_of_day = self.secs() % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            second_of_day / 3600,
            second_of_day / 60 % 60,
            second_of_day % 60,
            self.0 % 1000
        )
    }
}

/// Year, month and day of a count of days since 1970, by the proleptic Gregorian calendar.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Years are counted from 1 March 0000, so that the leap day ends a year and needs no case.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The first instant of a calendar day in UTC, or `None` for a day that does not exist.
pub fn start_of_day(year: u64, month: u64, day: u64) -> Option<Timestamp> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year / 400;
    let year_of_era = shifted_year % 400;
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    (civil_from_days(days) == (year, month, day)).then(|| Timestamp::from_secs(days * 86_400))
}

/// The end of a day written `2027-03-31`, in UTC; `None` for a day that does not exist.
pub fn end_of_day(text: &str) -> Option<Timestamp> {
    let mut parts = text.splitn(3, '-').map(|part| {
        let all_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| all_digits)
    });
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let start = start_of_day(year, month, day).filter(|_| text.len() == 10)?;
    Some(start.plus(Duration::from_secs(24 * 3600)))
}

/// The day whose end this is, as it was written.
pub fn day_ended(end: Timestamp) -> String {
    end.minus(Duration::from_millis(1)).to_string().chars().take(10).collect()
}

fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where `now` comes from: the system, or a test.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// Holds when it was made, for the monotonic clock.
    System(Instant),
    Test(TestClock),
}

impl Default for Source {
    fn default() -> Self {
        Self::System(Instant::now())
    }
}

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Self(Source::default())
    }

    /// A clock that stands still until its `TestClock` is moved.
    pub fn test(clock: TestClock) -> Self {
        Self(Source::Test(clock))
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(_) => {
                #[allow(clippy::disallowed_methods)] // The one place that reads the system's time.
                let now = SystemTime::now();
                Timestamp(millis_of(now.duration_since(UNIX_EPOCH).unwrap_or_default()))
            }
            Source::Test(clock) => clock.now(),
        }
    }

    /// How long this clock has been running, whoever sets the wall clock meanwhile.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System(since) => since.elapsed(),
            Source::Test(clock) => Duration::from_millis(clock.0.passed.load(Ordering::SeqCst)),
        }
    }

    /// Returns once `now` is `at` or later.
    pub async fn sleep_until(&self, at: Timestamp) {
        match &self.0 {
            Source::System(_) => {
                // In steps, because the wall clock may be set while we sleep.
                while let Some(left) = Some(at.since(self.now())).filter(|left| !left.is_zero()) {
                    tokio::time::sleep(left.min(LONGEST_NAP)).await;
                }
            }
            Source::Test(clock) => clock.reached(at).await,
        }
    }

    /// Returns after `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().plus(duration)).await;
    }
}

const LONGEST_NAP: Duration = Duration::from_secs(60);

/// A clock that a test moves by hand; sleepers wake when it passes their time.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Moved>);

#[derive(Debug)]
struct Moved {
    now: AtomicU64,
    /// What the monotonic clock counts.
    passed: AtomicU64,
    moved: Notify,
}

impl TestClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        let (now, passed) = (AtomicU64::new(start.0), AtomicU64::new(0));
        Self(Arc::new(Moved { now, passed, moved: Notify::new() }))
    }

    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.now.load(Ordering::SeqCst))
    }

    /// Moves the clock forward and wakes whoever waited for that time.
    pub fn advance(&self, by: Duration) {
        self.0.now.fetch_add(millis_of(by), Ordering::SeqCst);
        self.0.passed.fetch_add(millis_of(by), Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Sets the clock as somebody sets a wall clock: no time passes by that.
    pub fn set(&self, to: Timestamp) {
        self.0.now.store(to.0, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    async fn reached(&self, at: Timestamp) {
        loop {
            let moved = self.0.moved.notified();
            if self.now() >= at {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_as_rfc_3339() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_339_800, "2026-11-22T09:30:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_secs(secs).to_string(), text);
        }
    }

    #[test]
    fn days_that_do_not_exist_have_no_start() {
        assert_eq!(start_of_day(2000, 2, 29), Some(Timestamp::from_secs(951_782_400)));
        assert_eq!(start_of_day(2026, 2, 29), None, "2026 has no leap day");
        assert_eq!(start_of_day(2026, 13, 1), None, "a year has twelve months");
    }
}
