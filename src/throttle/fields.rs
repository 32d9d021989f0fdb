//! What clients are told of rate limits: `RateLimit-Policy` and `RateLimit`, lists of structured
//! fields (draft-ietf-httpapi-ratelimit-headers-10; RFC 9651).
//!
//! `t` is the time in which no more than `r` should be asked for: until the next request passes
//! where nothing is left, which `Retry-After` says too, else until the whole budget is back.

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::gcra::{Budget, Exceeded};
use crate::config::RateLimit;

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What the rules said of one request; costs nothing where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    policies: String,
    budgets: String,
}

/// A rule as clients are told it. Windows are whole seconds there: a shorter one is told as one,
/// so who keeps to it keeps to the rule.
pub(super) fn policy(name: &str, rule: &RateLimit) -> String {
    format!("\"{name}\";q={};w={}", rule.requests, seconds(rule.per))
}

impl Told {
    pub(super) fn left(&mut self, name: &str, policy: &str, budget: Budget) {
        self.add(name, policy, budget.left, budget.more_in);
    }

    pub(super) fn nothing_left(&mut self, name: &str, policy: &str, exceeded: Exceeded) {
        self.add(name, policy, 0, exceeded.retry_after);
    }

    fn add(&mut self, name: &str, policy: &str, left: u64, until: Duration) {
        if !self.policies.is_empty() {
            self.policies.push_str(", ");
            self.budgets.push_str(", ");
        }
        self.policies.push_str(policy);
        // Writing to a string does not fail.
        let _ = write!(self.budgets, "\"{name}\";r={left};t={}", seconds(until));
    }

    /// Adds the fields to an answer, after those that an upstream may have set for its own limits:
    /// both are lists.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if self.policies.is_empty() {
            return;
        }
        for (name, text) in [(RATELIMIT_POLICY, &self.policies), (RATELIMIT, &self.budgets)] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.append(name, value);
            }
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u128 {
    duration.as_millis().div_ceil(1000)
}
