//! Counting within a window of time: attempts and mails.
//!
//! A window begins with the first thing counted and forgets all at its end. Up to twice the
//! limit fits around such an end; in return a counter is one small row whatever the limit.

use std::time::Duration;

use super::tables::WindowRow;
use crate::clock::Timestamp;

/// A counter that forgets when its window ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    pub(super) ends: Timestamp,
    pub(super) count: u32,
}

impl Window {
    /// What `row` counts at `now`: an ended window is replaced by a fresh one of length `per`.
    pub(super) fn at(row: Option<WindowRow>, per: Duration, now: Timestamp) -> Self {
        row.map(Self::from_row).filter(|window| window.holds(now)).unwrap_or(Self {
            start: now,
            ends: now.plus(per),
            count: 0,
        })
    }

    pub(super) fn from_row((start, ends, count): WindowRow) -> Self {
        Self { start: Timestamp::from_millis(start), ends: Timestamp::from_millis(ends), count }
    }

    pub(super) fn row(self) -> WindowRow {
        (self.start.millis(), self.ends.millis(), self.count)
    }

    /// True while the window lasts. Requests do not come here in the order of their `now`, so one
    /// from before the window is counted in it: else whoever comes late would empty it. Only a
    /// window that begins further ahead than it is long was made before the clock was set back,
    /// and would count for too long.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        now < self.ends && self.start.since(now) <= self.ends.since(self.start)
    }

    /// How long until there is room again, if there is none within `limit`.
    pub(super) fn full(&self, limit: u32, now: Timestamp) -> Option<Duration> {
        (self.count >= limit).then(|| self.ends.since(now))
    }

    pub(super) fn more(self) -> Self {
        Self { count: self.count.saturating_add(1), ..self }
    }

    pub(super) fn less(self, by: u32) -> Self {
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
            assert_eq!(Window::at(row, per, Timestamp::from_millis(now)).count, count, "{why}");
        }
    }

    #[test]
    fn a_full_window_says_how_long() {
        let window = Window::from_row((0, 10_000, 5));
        let now = Timestamp::from_millis(4_000);

        assert_eq!(window.full(5, now), Some(Duration::from_secs(6)));
        assert_eq!(window.full(6, now), None);
    }
}
