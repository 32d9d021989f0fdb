//! Fixed-window counters for failed attempts and for mails.
//!
//! A window begins with the first thing counted and forgets all of it at its end. Around that end
//! up to twice the limit can pass within one window length. In return a counter is one small row,
//! whatever the limit is. Both stores count with it.

use std::time::Duration;

use tollhouse_core::clock::Timestamp;

/// A counter: start and end of its window in milliseconds since the epoch, and the count.
pub(crate) type WindowRow = (u64, u64, u32);

/// A counter that is dropped when its time window ends. Times are those of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AttemptWindow {
    pub(crate) start: Timestamp,
    pub(crate) ends: Timestamp,
    pub(crate) count: u32,
}

impl AttemptWindow {
    /// The counter in `row` at `now`. If the window has ended, a new one of length `per` begins at
    /// `now` with a count of zero. An ended row is thus replaced by the next write and needs no
    /// removal first.
    pub(crate) fn at(row: Option<WindowRow>, per: Duration, now: Timestamp) -> Self {
        row.map(Self::from_row).filter(|window| window.holds(now)).unwrap_or(Self {
            start: now,
            ends: now.plus(per),
            count: 0,
        })
    }

    pub(crate) fn from_row((start, ends, count): WindowRow) -> Self {
        Self { start: Timestamp::from_millis(start), ends: Timestamp::from_millis(ends), count }
    }

    pub(crate) fn row(self) -> WindowRow {
        (self.start.millis(), self.ends.millis(), self.count)
    }

    /// True while the window lasts.
    ///
    /// Operations do not arrive in the order of their `now`. One with a time before the window is
    /// counted in it; else any late operation would empty the counter. The exception is a window
    /// that begins further in the future than it is long: it was made before the clock was set
    /// back, and would count for too long.
    pub(crate) fn holds(&self, now: Timestamp) -> bool {
        now < self.ends && self.start.since(now) <= self.ends.since(self.start)
    }

    /// How long to wait until there is room again; `None` if the count is below `limit`.
    pub(crate) fn full(&self, limit: u32, now: Timestamp) -> Option<Duration> {
        (self.count >= limit).then(|| self.ends.since(now))
    }

    pub(crate) fn more(self) -> Self {
        Self { count: self.count.saturating_add(1), ..self }
    }

    pub(crate) fn less(self, by: u32) -> Self {
        Self { count: self.count.saturating_sub(by), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_until_it_ends() {
        let per = Duration::from_secs(600);
        let row = Some((1_000_000, 1_600_000, 3));
        for (now, count, why) in [
            (1_000_000, 3, "it begins with the first thing counted"),
            (1_599_999, 3, "it lasts to its end"),
            (1_600_000, 0, "its end is not part of it"),
            (999_999, 3, "what comes late does not empty it"),
            (399_999, 0, "a clock set back must not lengthen it much"),
        ] {
            assert_eq!(
                AttemptWindow::at(row, per, Timestamp::from_millis(now)).count,
                count,
                "{why}"
            );
        }
    }

    #[test]
    fn a_full_window_says_how_long() {
        let window = AttemptWindow::from_row((0, 10_000, 5));
        let now = Timestamp::from_millis(4_000);

        assert_eq!(window.full(5, now), Some(Duration::from_secs(6)));
        assert_eq!(window.full(6, now), None);
    }
}
