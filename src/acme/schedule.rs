//! When a certificate is renewed, and how long to wait after a failure. Only arithmetic: the caller
//! has the clock and draws the random numbers.

use std::time::Duration;

use crate::clock::Timestamp;

/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);
/// Upper bound on a wait that an authority asks for. A limit may hold for a week; an order a day
/// costs neither side anything, and an operator who has solved the problem waits no longer.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);
/// Bounds on the pause between questions about the renewal (RFC 9773, section 4.3.2).
const PAUSES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));

/// A number that was drawn evenly from all 16-bit numbers.
pub(super) type Drawn = u16;

/// The time at which a certificate is renewed if the authority suggests none: after two thirds of
/// its life, and up to a thirtieth of it later. The last part is drawn, so that certificates that
/// were ordered together are not renewed together.
pub(super) fn own_time(not_before: Timestamp, lifetime: Duration, drawn: Drawn) -> Timestamp {
    not_before.plus(lifetime / 3 * 2).plus(part(lifetime / 30, drawn))
}

/// The time that was drawn from the window which the authority suggests (RFC 9773, section 4.2), but
/// not after nine tenths of the certificate's life: a window that is too late must not let it end.
pub(super) fn suggested_time(
    window: (Timestamp, Timestamp),
    not_before: Timestamp,
    lifetime: Duration,
    drawn: Drawn,
) -> Timestamp {
    let (start, end) = window;
    let latest = not_before.plus(lifetime / 10 * 9);
    start.plus(part(end.since(start), drawn)).min(latest)
}

/// The wait after `failures` failures in a row, of which there was at least one: a minute, doubled
/// each time up to six hours, and up to a quarter longer, so that gateways that failed together do
/// not come back together. `retry_after` is the wait that the authority has requested; the
/// result is shorter than that only if the authority requested more than a day.
pub(super) fn wait_after(failures: u32, retry_after: Option<Duration>, drawn: Drawn) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST_WAIT);
    let retry_after = retry_after.unwrap_or_default().min(LONGEST_ASKED);
    wait.max(retry_after) + part(wait / 4, drawn)
}

/// The pause until the authority is asked about the renewal again.
pub(super) fn pause(retry_after: Duration) -> Duration {
    retry_after.clamp(PAUSES.0, PAUSES.1)
}

/// The part of `whole` that `drawn` is of all numbers.
fn part(whole: Duration, drawn: Drawn) -> Duration {
    whole.mul_f64(f64::from(drawn) / f64::from(Drawn::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const START: Timestamp = Timestamp::from_secs(1_795_339_800);

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        for (days, drawn, expected) in
            [(90, 0, 60.0), (90, Drawn::MAX, 63.0), (6, 0, 4.0), (6, Drawn::MAX, 4.2)]
        {
            let at = own_time(START, DAY * days, drawn);

            assert_eq!(at, START.plus(DAY.mul_f64(expected)), "{days} days, {drawn}");
        }
    }

    #[test]
    fn a_suggested_window_is_followed_unless_the_certificate_would_end() {
        let window = |from: u32, to: u32| (START.plus(DAY * from), START.plus(DAY * to));
        let time = |window, drawn| suggested_time(window, START, DAY * 90, drawn);

        assert_eq!(time(window(10, 12), 0), START.plus(DAY * 10));
        assert_eq!(time(window(10, 12), Drawn::MAX), START.plus(DAY * 12));
        assert_eq!(time(window(100, 120), 0), START.plus(DAY * 81), "after the end");
        assert_eq!(time(window(12, 10), Drawn::MAX), START.plus(DAY * 12), "the wrong way round");
    }

    #[test]
    fn the_wait_doubles_up_to_six_hours_and_is_never_shorter_than_asked() {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        for (failures, wanted, expected) in [
            (1, None, minutes(1)),
            (2, None, minutes(2)),
            (9, None, minutes(256)),
            (10, None, minutes(360)),
            (u32::MAX, None, minutes(360)),
            (1, Some(minutes(30)), minutes(30)),
            (1, Some(DAY * 7), DAY),
        ] {
            assert_eq!(wait_after(failures, wanted, 0), expected, "{failures}, {wanted:?}");
        }
        assert_eq!(wait_after(1, None, Drawn::MAX), Duration::from_secs(75));
    }
}
