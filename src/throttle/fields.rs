//! The header fields that tell clients of rate limits: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10), lists of structured fields (RFC 9651).
//!
//! `t` is the time within which no more than `r` requests should be sent: if nothing is left, the
//! time until the next request passes, which `Retry-After` states as well; otherwise the time until
//! the whole budget is restored. `RouteLimits::admit` fills the lists, the pipeline adds them to
//! answers.

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::gcra::{RateExceeded, RemainingBudget};
use crate::settings::RateLimit;

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The statements of all rules about one request. Empty, and free of cost, on a route without
/// rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimitHeaders {
    policies: String,
    budgets: String,
}

/// A rule as clients see it. Windows are whole seconds there, and a shorter window is stated as one
/// second: a client that follows the statement also follows the rule. It is rendered once, when the
/// rules are built.
pub(super) fn policy(name: &str, rule: &RateLimit) -> String {
    format!("\"{name}\";q={};w={}", rule.requests, seconds(rule.per))
}

impl RateLimitHeaders {
    /// Adds a rule whose budget is not used up.
    pub(super) fn left(&mut self, name: &str, policy: &str, budget: RemainingBudget) {
        self.add(name, policy, budget.requests, budget.reset_after);
    }

    /// Adds a rule that the request has broken.
    pub(super) fn nothing_left(&mut self, name: &str, policy: &str, exceeded: RateExceeded) {
        self.add(name, policy, 0, exceeded.retry_after);
    }

    /// Adds one item to both lists.
    fn add(&mut self, name: &str, policy: &str, left: u64, until: Duration) {
        if !self.policies.is_empty() {
            self.policies.push_str(", ");
            self.budgets.push_str(", ");
        }
        self.policies.push_str(policy);
        // Invariant: writing to a string does not fail.
        let _ = write!(self.budgets, "\"{name}\";r={left};t={}", seconds(until));
    }

    /// Adds the fields to an answer. They are appended to those that an upstream may have set for
    /// its own limits, because both fields are lists. Without rules nothing is added.
    pub fn write_to(&self, headers: &mut HeaderMap) {
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
