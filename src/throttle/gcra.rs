//! The arithmetic of a rate limit: the generic cell rate algorithm (GCRA), as a function of `now`.
//!
//! The state of a caller is one number, the theoretical arrival time: the time at which the whole
//! budget is restored. Its unit is a millisecond divided by `requests`, so one request costs
//! exactly `per` (in milliseconds) of these units. No division is rounded, so no error accumulates.
//! Nothing here reads a clock or takes a lock; `counters` stores the numbers.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::settings::RateLimit;

/// A rate: `requests` in a period, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcraRate {
    requests: u64,
    /// The cost of one request in units: the period in milliseconds.
    cost: u64,
    /// The whole budget (the burst) in units.
    whole: u64,
}

/// The rest of a caller's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemainingBudget {
    /// Requests that would pass now.
    pub requests: u64,
    /// The time until there is more: without any left, until the next request passes; otherwise
    /// until the whole budget is restored. Clients get this time in `RateLimit`.
    pub reset_after: Duration,
}

/// The limit is exceeded. `retry_after` is the time until the next request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateExceeded {
    pub retry_after: Duration,
}

impl GcraRate {
    /// The rate of a configured rule.
    pub fn new(rule: &RateLimit) -> Self {
        let cost = u64::try_from(rule.per.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { requests: rule.requests.max(1), cost, whole: cost.saturating_mul(rule.burst.max(1)) }
    }

    /// `requests` in each `per`. All of them may come at once.
    pub fn of(requests: u32, per: Duration) -> Self {
        let requests = u64::from(requests).max(1);
        let cost = u64::try_from(per.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { requests, cost, whole: cost.saturating_mul(requests) }
    }

    /// Counts one request in `tat`. A refused request is not counted, so a caller who retries
    /// too early does not extend the refusal.
    ///
    /// # Errors
    /// The budget is used up.
    pub fn admit(&self, tat: &mut u64, now: Timestamp) -> Result<RemainingBudget, RateExceeded> {
        let now = self.at(now);
        let most = now.saturating_add(self.whole);
        // The time is bounded by the present from below, because an unused budget does not grow
        // beyond the burst. It is bounded from above by a budget that was spent just now: if the
        // clock was set back, then callers must not be refused for as long as it was. Both bounds
        // are applied in one step, before the request is counted.
        *tat = (*tat).clamp(now, most);
        let next = tat.saturating_add(self.cost);
        if next > most {
            return Err(RateExceeded { retry_after: self.duration(next - most) });
        }
        *tat = next;
        Ok(RemainingBudget {
            requests: (most - next) / self.cost,
            reset_after: self.duration(next - now),
        })
    }

    /// True if the whole budget is there. Such a caller needs no entry.
    pub fn is_whole(&self, tat: u64, now: Timestamp) -> bool {
        tat <= self.at(now)
    }

    /// A timestamp in units.
    fn at(&self, now: Timestamp) -> u64 {
        now.millis().saturating_mul(self.requests)
    }

    /// A number of units as a duration, rounded up: a caller who comes a moment too early would be
    /// refused again. The result is at least as long as the exact time. Clients sleep for this time
    /// before they retry.
    fn duration(&self, parts: u64) -> Duration {
        Duration::from_millis(parts.div_ceil(self.requests))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::LimitBy;

    fn rate(requests: u64, per: u64, burst: u64) -> GcraRate {
        let per = Duration::from_millis(per);
        GcraRate::new(&RateLimit { requests, per, burst, by: LimitBy::Route })
    }

    #[test]
    fn a_budget_is_spent_and_comes_back_piece_by_piece() {
        let rate = rate(4, 1000, 4);
        let mut tat = 0;
        let mut at = |millis: u64| rate.admit(&mut tat, Timestamp::from_millis(5_000 + millis));
        let millis = Duration::from_millis;

        assert_eq!(at(0), Ok(RemainingBudget { requests: 3, reset_after: millis(250) }));
        assert_eq!(at(0), Ok(RemainingBudget { requests: 2, reset_after: millis(500) }));
        assert_eq!(at(0), Ok(RemainingBudget { requests: 1, reset_after: millis(750) }));
        assert_eq!(at(0), Ok(RemainingBudget { requests: 0, reset_after: millis(1000) }));
        assert_eq!(at(0), Err(RateExceeded { retry_after: millis(250) }));
        assert_eq!(at(249), Err(RateExceeded { retry_after: millis(1) }));
        assert_eq!(at(250), Ok(RemainingBudget { requests: 0, reset_after: millis(1000) }));
        assert_eq!(at(10_000), Ok(RemainingBudget { requests: 3, reset_after: millis(250) }));
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out_for_longer_than_the_budget() {
        let rate = rate(1, 1000, 2);
        let mut tat = 0;
        let day = Timestamp::from_secs(86_400);
        rate.admit(&mut tat, day).unwrap();

        let set_back = rate.admit(&mut tat, Timestamp::from_secs(100));
        let later = rate.admit(&mut tat, Timestamp::from_secs(101));

        assert_eq!(set_back, Err(RateExceeded { retry_after: Duration::from_secs(1) }));
        assert!(later.is_ok());
    }

    proptest! {
        /// In any period no more requests pass than the burst and what was restored. A caller that
        /// comes back after `retry_after` passes then, and not a millisecond earlier.
        #[test]
        fn no_more_pass_than_the_rule_says(
            (requests, per, burst) in (1_u64..2000, 1_u64..100_000, 1_u64..200),
            pauses in proptest::collection::vec(0_u64..3000, 1..300),
        ) {
            let rate = rate(requests, per, burst);
            let mut tat = 0;
            let mut passed = 0_u64;
            let start = 1_795_339_800_000;
            let mut now = start;
            for pause in pauses {
                now += pause;
                match rate.admit(&mut tat, Timestamp::from_millis(now)) {
                    Ok(budget) => {
                        passed += 1;
                        prop_assert!(budget.requests < burst);
                        prop_assert!(!rate.is_whole(tat, Timestamp::from_millis(now)));
                    }
                    Err(RateExceeded { retry_after }) => {
                        let wait = u64::try_from(retry_after.as_millis()).unwrap();
                        prop_assert!(wait >= 1);
                        let mut early = tat;
                        let mut in_time = tat;
                        let at = |millis| Timestamp::from_millis(now + millis);
                        prop_assert!(rate.admit(&mut early, at(wait - 1)).is_err());
                        prop_assert!(rate.admit(&mut in_time, at(wait)).is_ok());
                    }
                }
                prop_assert!(passed <= burst + (now - start) * requests / per);
            }
        }

        /// A caller that keeps to the rate is never refused, whatever the rate divides to.
        #[test]
        fn an_even_pace_is_never_refused(requests in 1_u64..1000, per in 1_u64..100_000) {
            let rate = rate(requests, per, 1);
            let mut tat = 0;
            for number in 0..200_u64 {
                let at = 1_795_339_800_000 + number * per.div_ceil(requests);
                prop_assert!(rate.admit(&mut tat, Timestamp::from_millis(at)).is_ok());
            }
        }
    }
}
