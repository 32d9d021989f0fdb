//! Which numbers of the feed a follower has yet to look for.
//!
//! Entries get their numbers from a sequence, and become visible when their transaction commits,
//! which may be in another order. If a follower sees number 7 before number 6, then 6 is a gap: its
//! transaction may still commit. A gap is looked for until it has been open for longer than any
//! publication takes that was answered. Numbers of transactions that failed are gaps for that time
//! and then forgotten.
//!
//! Invariant: an entry whose publication was answered is above `seen`, or in a gap, or was handed
//! out. What is handed out here may be handed out again; `follower` asks and reads.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// More gaps than this are merged: each is a part of the question.
const MOST_GAPS: usize = 24;

#[derive(Debug, Default)]
pub(super) struct FeedWindow {
    /// The highest number seen.
    seen: i64,
    /// Ranges of numbers below it that were not seen, by their first number.
    gaps: BTreeMap<i64, Gap>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    last: i64,
    /// When a higher number was seen for the first time.
    opened: Instant,
}

impl FeedWindow {
    /// A window at the end of a load: everything up to `seen` is looked for elsewhere.
    pub(super) fn after(seen: i64) -> Self {
        Self { seen, gaps: BTreeMap::new() }
    }

    pub(super) fn seen(&self) -> i64 {
        self.seen
    }

    /// The ranges of numbers to look for, the gaps first; the last one is what is new.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (i64, i64)> {
        let gaps = self.gaps.iter().map(|(first, gap)| (*first, gap.last));
        gaps.chain([(self.seen.saturating_add(1), i64::MAX)])
    }

    /// Takes note of a number that was seen at `now`. True if it is a new one and no gap before.
    pub(super) fn record(&mut self, seq: i64, now: Instant) -> bool {
        if seq > self.seen {
            if seq > self.seen + 1 {
                self.gaps.insert(self.seen + 1, Gap { last: seq - 1, opened: now });
            }
            self.seen = seq;
            return true;
        }
        let around = self.gaps.range(..=seq).next_back();
        if let Some((&first, &gap)) = around
            && seq <= gap.last
        {
            self.gaps.remove(&first);
            if first < seq {
                self.gaps.insert(first, Gap { last: seq - 1, ..gap });
            }
            if seq < gap.last {
                self.gaps.insert(seq + 1, gap);
            }
        }
        false
    }

    /// Forgets the gaps that had been open for `longest` when a look began at `begun`, which has
    /// looked for all of them.
    pub(super) fn forget_gaps(&mut self, begun: Instant, longest: Duration) {
        self.gaps.retain(|_, gap| begun.saturating_duration_since(gap.opened) < longest);
    }

    /// Bounds the number of gaps.
    pub(super) fn merge_gaps(&mut self) {
        while self.gaps.len() > MOST_GAPS {
            self.merge_nearest();
        }
    }

    /// Makes one of the two gaps with the fewest numbers between them. These numbers, which were
    /// handed out, may then be handed out once more.
    fn merge_nearest(&mut self) {
        let pairs = self.gaps.iter().zip(self.gaps.iter().skip(1));
        let nearest = pairs
            .min_by_key(|((_, low), (first, _))| first.saturating_sub(low.last))
            .map(|((first, low), (second, high))| (*first, *low, *second, *high));
        if let Some((first, low, second, high)) = nearest {
            self.gaps.remove(&second);
            let opened = low.opened.max(high.opened);
            self.gaps.insert(first, Gap { last: high.last, opened });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    fn ranges(window: &FeedWindow) -> Vec<(i64, i64)> {
        window.ranges().collect()
    }

    #[test]
    fn numbers_that_were_passed_over_are_looked_for() {
        let now = Instant::now();
        let mut window = FeedWindow::after(10);
        assert_eq!(ranges(&window), [(11, i64::MAX)]);

        assert!(window.record(20, now));
        assert_eq!(ranges(&window), [(11, 19), (21, i64::MAX)]);

        assert!(!window.record(15, now));
        assert!(!window.record(11, now));
        assert!(!window.record(19, now));
        assert!(!window.record(15, now), "again");
        assert!(!window.record(3, now), "before everything");
        assert_eq!(ranges(&window), [(12, 14), (16, 18), (21, i64::MAX)]);
        for seq in [13, 12, 14, 16, 18, 17] {
            window.record(seq, now);
        }
        assert_eq!(ranges(&window), [(21, i64::MAX)]);
        assert_eq!(window.seen(), 20);
    }

    #[test]
    fn a_gap_is_forgotten_only_by_a_look_that_began_late_enough() {
        let opened = Instant::now();
        let mut window = FeedWindow::after(0);
        window.record(5, opened);

        window.forget_gaps(opened + LONGEST - Duration::from_millis(1), LONGEST);
        assert_eq!(ranges(&window), [(1, 4), (6, i64::MAX)]);

        // The rest of a gap is as old as the whole gap was.
        window.record(2, opened + LONGEST);
        window.forget_gaps(opened + LONGEST, LONGEST);
        assert_eq!(ranges(&window), [(6, i64::MAX)]);
    }

    #[test]
    fn many_gaps_are_merged_and_none_is_lost() {
        let opened = Instant::now();
        let mut window = FeedWindow::after(0);
        for number in 1..=1000 {
            window.record(3 * number, opened);
        }

        window.merge_gaps();

        let ranges = ranges(&window);
        assert_eq!(ranges.len(), MOST_GAPS + 1);
        for missing in (1..3000).filter(|number| number % 3 != 0) {
            let is_there = ranges.iter().any(|(first, last)| (*first..=*last).contains(&missing));
            assert!(is_there, "{missing} is not in {ranges:?}");
        }
        // A merged gap still gets smaller by what is found in it.
        for number in 1..3000 {
            window.record(number, opened);
        }
        assert_eq!(window.ranges().collect::<Vec<_>>(), [(3001, i64::MAX)]);
    }
}
