//! The wall clock, read once for each request and passed on as `now`.
//!
//! Everything that expires (tokens, sessions, codes, counters) is compared with a `Timestamp` from
//! one `Clock`. Tests use a clock that they move themselves. Nothing else in the crate reads the
//! system's time, so a test of an expiry needs no sleeping.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime};
use tokio::sync::Notify;

/// The day from which the days of a `Timestamp` are counted, 1 January 1970.
const EPOCH: Date = OffsetDateTime::UNIX_EPOCH.date();

/// An instant, in milliseconds since 1970-01-01T00:00:00Z. Arithmetic saturates at both ends and
/// never overflows. Times before 1970 cannot be represented.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The latest possible time, for things that do not expire. Adding to it changes nothing,
    /// because addition saturates, so it needs no special case in comparisons.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `millis` milliseconds after 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The instant `secs` seconds after 1970. Tokens, certificates and HTTP dates have whole
    /// seconds; they are converted with this function.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// The time that a text in the form of RFC 3339 stands for; `None` before 1970.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok().map(Self::from_millis)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down (NumericDate, RFC 7519, section 2). Rounding down
    /// makes a token expire slightly early, never late.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// The instant `duration` later, at most `NEVER`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(duration)))
    }

    /// The instant `duration` earlier, at the earliest 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(duration)))
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later. Clocks can be set back,
    /// so callers must not rely on a positive result. A pause should be measured with
    /// `Clock::monotonic` instead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Year, month and day in UTC. A time after the year 9999, such as `NEVER`, has the last day of
    /// that year.
    pub fn date(self) -> (u64, u64, u64) {
        let days = i32::try_from(self.secs() / 86_400).unwrap_or(i32::MAX);
        let julian_day = days.saturating_add(EPOCH.to_julian_day());
        let date = Date::from_julian_day(julian_day).unwrap_or(Date::MAX);
        let (year, month, day) = date.to_calendar_date();
        (year.unsigned_abs().into(), u8::from(month).into(), day.into())
    }

    /// This instant rounded down to whole seconds, as a token carries it. Values that are compared
    /// with a token's times must be rounded in the same way, or they could differ by a fraction.
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

/// RFC 3339 in UTC with milliseconds, for example `2026-11-22T09:30:00.000Z`.
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

/// The first instant of a calendar day in UTC; `None` for a day that does not exist or is before
/// 1970.
pub fn start_of_day(year: u64, month: u64, day: u64) -> Option<Timestamp> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let year = i32::try_from(year).ok()?;
    let date = Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    u64::try_from(date.midnight().assume_utc().unix_timestamp()).ok().map(Timestamp::from_secs)
}

/// The end of a day written like `2027-03-31`, in UTC; `None` for a day that does not exist or is
/// written in another form. The end is the first instant of the next day. Configuration keys such
/// as an issuer's `until` are read with it.
pub fn end_of_day(text: &str) -> Option<Timestamp> {
    let mut parts = text.splitn(3, '-').map(|part| {
        let all_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| all_digits)
    });
    let year = parts.next()??;
    let month = parts.next()??;
    let day = parts.next()??;
    let start = start_of_day(year, month, day).filter(|_| text.len() == 10)?;
    Some(start.plus(Duration::from_secs(24 * 3600)))
}

/// The day that ends at this instant, in the form in which it was written.
pub fn day_ended(end: Timestamp) -> String {
    end.minus(Duration::from_millis(1)).to_string().chars().take(10).collect()
}

fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The source of `now`: the system's clock, or a clock that a test moves. A clone shows the same
/// time. It is passed to everything that needs the time without a request, such as background
/// tasks.
#[derive(Clone, Debug, Default)]
pub struct Clock(TimeSource);

#[derive(Clone, Debug)]
enum TimeSource {
    /// The system's clock, off by some milliseconds.
    System {
        /// When this clock was made, as zero of the monotonic clock.
        since: Instant,
        off_by: i64,
    },
    Test(TestClock),
}

impl Default for TimeSource {
    fn default() -> Self {
        Self::System { since: Instant::now(), off_by: 0 }
    }
}

impl Clock {
    /// The system's wall clock.
    pub fn system() -> Self {
        Self(TimeSource::default())
    }

    /// A clock that runs as the system's does and is ahead of it by so many milliseconds, or behind
    /// it by a negative number. For tests of machines whose clocks differ.
    pub fn off_by(millis: i64) -> Self {
        Self(TimeSource::System { since: Instant::now(), off_by: millis })
    }

    /// A clock that stands still until its `TestClock` is moved.
    pub fn test(clock: TestClock) -> Self {
        Self(TimeSource::Test(clock))
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            TimeSource::System { off_by, .. } => {
                #[allow(clippy::disallowed_methods)] // The one place that reads the system's time.
                let now = SystemTime::now();
                let now = millis_of(now.duration_since(UNIX_EPOCH).unwrap_or_default());
                Timestamp(now.saturating_add_signed(*off_by))
            }
            TimeSource::Test(clock) => clock.now(),
        }
    }

    /// How long this clock has been running. Unlike `now`, it does not change when somebody sets
    /// the wall clock. It is the right measure for durations, and the only one for telling a wrong
    /// clock.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            TimeSource::System { since, .. } => since.elapsed(),
            TimeSource::Test(clock) => Duration::from_millis(clock.0.passed.load(Ordering::SeqCst)),
        }
    }

    /// Resolves when `now` is `at` or later. If the wall clock is set forward, that may be earlier
    /// than expected; if it is set back, later. Dropping the future ends the sleep.
    pub async fn sleep_until(&self, at: Timestamp) {
        match &self.0 {
            TimeSource::System { .. } => {
                // The sleep is divided into steps, because the wall clock may be set meanwhile. A
                // single long sleep would be as wrong as the change of the clock.
                while let Some(left) = Some(at.since(self.now())).filter(|left| !left.is_zero()) {
                    tokio::time::sleep(left.min(LONGEST_NAP)).await;
                }
            }
            TimeSource::Test(clock) => clock.reached(at).await,
        }
    }

    /// Resolves after `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().plus(duration)).await;
    }
}

/// Longest single sleep. A change of the wall clock is noticed after this time at the latest.
/// Waking once a minute costs nothing that could be measured.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// A clock that a test moves. Tasks that sleep on it wake when it passes their time. A clone is the
/// same clock. Time passes only by `advance`; `set` changes what the clock shows, as an operator or
/// NTP would.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<TestClockState>);

#[derive(Debug)]
struct TestClockState {
    now: AtomicU64,
    /// The time that the monotonic clock counts.
    passed: AtomicU64,
    moved: Notify,
}

impl TestClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        let now = AtomicU64::new(start.0);
        let passed = AtomicU64::new(0);
        Self(Arc::new(TestClockState { now, passed, moved: Notify::new() }))
    }

    /// The time that the clock shows.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.now.load(Ordering::SeqCst))
    }

    /// Moves the clock forward, and the monotonic clock with it, and wakes every task that waits
    /// for a time up to that. The tasks run when the test awaits something.
    pub fn advance(&self, by: Duration) {
        self.0.now.fetch_add(millis_of(by), Ordering::SeqCst);
        self.0.passed.fetch_add(millis_of(by), Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Sets the clock as somebody would set a wall clock: the monotonic clock does not move. Tests
    /// use it for a clock that jumps, for example one that NTP corrects after a start.
    pub fn set(&self, to: Timestamp) {
        self.0.now.store(to.0, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    async fn reached(&self, at: Timestamp) {
        loop {
            // The notification is registered before the time is compared. If the clock were moved
            // between the comparison and the registration, the task would miss it and sleep
            // forever.
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
        assert_eq!(Timestamp::NEVER.date(), (9999, 12, 31), "the last day that has a date");
    }

    #[test]
    fn days_that_do_not_exist_have_no_start() {
        assert_eq!(start_of_day(2000, 2, 29), Some(Timestamp::from_secs(951_782_400)));
        assert_eq!(start_of_day(2026, 2, 29), None, "2026 has no leap day");
        assert_eq!(start_of_day(2026, 13, 1), None, "a year has twelve months");
        assert_eq!(start_of_day(1969, 12, 31), None, "before the first timestamp");
        assert_eq!(start_of_day(1970, 1, 1), Some(Timestamp::from_secs(0)));
    }
}
