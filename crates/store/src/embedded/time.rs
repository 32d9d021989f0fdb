//! The time guard: decides whether the wall clock is believed.
//!
//! A store forgets by the wall clock: sessions, revocations, counts. If a clock is far ahead for a
//! moment (an empty battery at boot, corrected by NTP a minute later), the store would forget
//! revocations that are needed again when the clock is right: tokens that were logged out would
//! come back to life.
//!
//! So the highest time ever seen is kept in the store. A clock more than an hour beyond that time,
//! and beyond what the monotonic clock has counted since, is suspect. Nothing is forgotten until it
//! has stayed there for the lifetime of the longest access token. After that no logged-out token is
//! valid by either clock.

use std::time::Duration;

use tollhouse_core::clock::{Clock, Timestamp};

/// How far a clock may jump without suspicion: a change to summer time where the machine's clock
/// runs in local time, and every correction that NTP makes by itself.
const JUMP: Duration = Duration::from_secs(3600);

/// How much later a time must be before it is written to the store again.
const WRITE_AFTER: Duration = Duration::from_secs(60);

/// The highest believed time, and a jump that is not believed yet. Every operation that forgets
/// rows looks at the clock through this guard first.
#[derive(Debug)]
pub(super) struct TimeGuard {
    highest: Timestamp,
    /// The reading of the monotonic clock at `highest`.
    at: Duration,
    /// A jump ahead: when it began, by the monotonic clock, and the wall clock's time then.
    jump: Option<(Duration, Timestamp)>,
    /// How long a jump must hold before it is believed.
    patience: Duration,
    /// A longer such time of an earlier configuration, and until when tokens of it may be valid, by
    /// the monotonic clock.
    earlier: Option<(Duration, Duration)>,
    written: Timestamp,
}

impl TimeGuard {
    pub(super) fn new(clock: &Clock, patience: Duration) -> Self {
        let highest = clock.now();
        let at = clock.monotonic();
        Self { highest, at, jump: None, patience, earlier: None, written: Timestamp::default() }
    }

    /// Changes how long a jump must hold before it is believed. A jump that is being waited out is
    /// measured by the new time at once, if that is longer. A shorter time counts when the last
    /// token that was issued under the longer one has ended.
    pub(super) fn set_patience(&mut self, patience: Duration, clock: &Clock) {
        if patience < self.patience {
            let until = clock.monotonic().saturating_add(self.patience);
            let (longest, last) = self.earlier.unwrap_or_default();
            self.earlier = Some((longest.max(self.patience), last.max(until)));
        }
        self.patience = patience;
    }

    /// How long a jump must hold now.
    fn longest_patience(&self) -> Duration {
        self.earlier.map_or(self.patience, |(longest, _)| longest.max(self.patience))
    }

    /// Continues from the highest time in the store, if that is later than what was written last.
    pub(super) fn resume(&mut self, stored: Timestamp, clock: &Clock) {
        if self.written < stored {
            (self.highest, self.at, self.jump) = (stored, clock.monotonic(), None);
            self.written = stored;
        }
        self.look(clock);
    }

    /// Compares the wall clock with the time that the monotonic clock leads us to expect.
    pub(super) fn look(&mut self, clock: &Clock) {
        let now = clock.now();
        let at = clock.monotonic();
        self.earlier = self.earlier.filter(|(_, until)| at < *until);
        let expected = self.highest.plus(at.saturating_sub(self.at));
        // A clock that goes back needs no suspicion: then rows are kept too long, which is safe.
        if now <= expected.plus(JUMP) {
            self.jump = None;
        } else {
            let (since, _) = *self.jump.get_or_insert((at, now));
            if at.saturating_sub(since) < self.longest_patience() {
                return;
            }
            self.jump = None;
        }
        // The highest time never decreases, so setting the clock back and forth gains nothing.
        if now > self.highest {
            (self.highest, self.at) = (now, at);
        }
    }

    /// True if rows may be forgotten by the clock.
    pub(super) fn is_believed(&self) -> bool {
        self.jump.is_none()
    }

    /// The highest believed time, if it should be written down now; it counts as written then.
    pub(super) fn take_due(&mut self) -> Option<Timestamp> {
        let is_due = self.highest.since(self.written) >= WRITE_AFTER;
        is_due.then(|| {
            self.written = self.highest;
            self.highest
        })
    }

    /// The highest believed time.
    pub(super) fn highest(&self) -> Timestamp {
        self.highest
    }

    /// The time that was written down last.
    pub(super) fn written(&self) -> Timestamp {
        self.written
    }

    /// The note for the operator while the clock is not believed.
    pub(super) fn note(&self) -> Option<String> {
        let (_, jumped) = self.jump?;
        Some(format!(
            "the clock is at {jumped}, more than an hour beyond the latest time seen ({}): nothing \
             that expired is forgotten until it has stayed there for {} minutes; if it is wrong, \
             put it right",
            self.highest,
            self.longest_patience().as_secs().div_ceil(60),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollhouse_core::clock::TestClock;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn guarded() -> (TestClock, Clock, TimeGuard) {
        let moved = TestClock::new(START);
        let clock = Clock::test(moved.clone());
        let guard = TimeGuard::new(&clock, 10 * MINUTE);
        (moved, clock, guard)
    }

    #[test]
    fn time_that_passes_is_believed() {
        let (moved, clock, mut guard) = guarded();

        moved.advance(40 * DAY);
        guard.look(&clock);

        assert!(guard.is_believed(), "the machine was up all the time");
        assert_eq!(guard.take_due(), Some(START.plus(40 * DAY)));
        assert_eq!(guard.take_due(), None);
    }

    #[test]
    fn a_jump_is_believed_once_it_has_held() {
        let (moved, clock, mut guard) = guarded();
        moved.set(START.plus(40 * DAY));
        guard.look(&clock);
        assert!(!guard.is_believed());
        assert!(guard.note().is_some());

        moved.advance(9 * MINUTE);
        guard.look(&clock);
        assert!(!guard.is_believed());

        moved.advance(MINUTE);
        guard.look(&clock);
        assert!(guard.is_believed());
        assert_eq!(guard.note(), None);
    }

    #[test]
    fn a_shorter_patience_counts_once_the_tokens_of_the_longer_one_have_ended() {
        let (moved, clock, mut guard) = guarded();
        guard.set_patience(MINUTE, &clock);
        moved.set(START.plus(40 * DAY));
        guard.look(&clock);
        moved.advance(9 * MINUTE);
        guard.look(&clock);
        assert!(!guard.is_believed(), "a token of ten minutes is still out");
        moved.advance(MINUTE);
        guard.look(&clock);
        assert!(guard.is_believed());

        moved.set(START.plus(80 * DAY));
        guard.look(&clock);
        moved.advance(MINUTE);
        guard.look(&clock);
        assert!(guard.is_believed());
    }

    #[test]
    fn a_jump_that_is_put_right_has_never_been() {
        let (moved, clock, mut guard) = guarded();
        moved.set(START.plus(40 * DAY));
        guard.look(&clock);
        moved.set(START.plus(MINUTE));
        guard.look(&clock);

        assert!(guard.is_believed());
        assert_eq!(guard.take_due(), Some(START.plus(MINUTE)));
    }

    #[test]
    fn a_clock_that_was_behind_may_be_put_right() {
        let (moved, clock, mut guard) = guarded();
        moved.set(START.minus(400 * DAY));
        guard.look(&clock);
        moved.set(START.plus(MINUTE));
        guard.look(&clock);

        assert!(guard.is_believed());
    }

    #[test]
    fn what_the_store_has_seen_counts_across_a_restart() {
        let (_, clock, mut guard) = guarded();

        guard.resume(START.minus(2 * DAY), &clock);

        assert!(!guard.is_believed(), "how long it was off, nobody knows");
    }
}
