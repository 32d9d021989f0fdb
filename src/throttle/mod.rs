//! Rate limits of routes: how many requests a caller may make in a period.
//!
//! The rules are prepared with their generation. Counters are handed on from the previous
//! generation if a rule is unchanged, so that a reload does not reset limits. Rules by client and
//! by route apply before authentication, so that a flood costs no verification; rules by subject
//! and by session apply after it. Nothing here answers a client: the pipeline does that, with the
//! statements in `RateLimitHeaders`.

mod counters;
mod fields;
mod gcra;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use self::counters::RateCounters;
pub use self::fields::RateLimitHeaders;
pub use self::gcra::{GcraRate, RateExceeded, RemainingBudget};
use crate::client::address_group;
use crate::clock::Timestamp;
use crate::identity::{Identity, SessionId, Subject};
use crate::settings::{Config, LimitBy, RateLimit, RouteSettings};

/// The counters of all rules of one configuration. They are keyed by route and rule, so that the
/// next generation can find those that it shares.
#[derive(Debug, Default)]
pub struct RateLimiter {
    counters: HashMap<(String, RateLimit), Arc<RateCounters>>,
    keys: usize,
}

/// The rules of one route, in the order of the configuration.
#[derive(Debug, Default)]
pub struct RouteLimits {
    rules: Vec<LimitRule>,
}

/// One rule with its counters. Requests of all workers count in the same counters.
#[derive(Debug)]
struct LimitRule {
    by: LimitBy,
    /// The name of the rule for clients and in metrics.
    name: String,
    /// The rule as a list item, such as `"client";q=100;w=1`.
    policy: String,
    counters: Arc<RateCounters>,
}

/// The caller, as far as known when rules are applied.
#[derive(Clone, Copy, Debug)]
pub enum LimitCaller<'a> {
    /// Not authenticated yet. Without an address if many clients share it; such clients are not
    /// counted apart. The rules by route still apply to them.
    Unproved {
        address: Option<IpAddr>,
    },
    Proved(&'a Identity),
    /// Let through without authentication, or without a valid credential on a route that observes.
    Unknown {
        address: Option<IpAddr>,
    },
}

/// A rule that a request would break.
#[derive(Debug)]
pub struct ExceededRule<'a> {
    /// The name of the rule.
    pub rule: &'a str,
    pub exceeded: RateExceeded,
}

/// The identity under which one rule counts a request.
#[derive(Hash)]
enum LimitKey<'a> {
    Everybody,
    Address(IpAddr),
    Subject(&'a Subject),
    Session(SessionId),
}

impl RateLimiter {
    /// Builds counters for every rule of `config`. The counters of `last` are kept for rules that
    /// are the same, unless the configured number of callers has changed. A changed rule begins
    /// with fresh counters, because an arrival time counts in units of the rule.
    pub fn build(config: &Config, last: Option<&Self>) -> Self {
        let keys = config.throttle.keys;
        let last = last.filter(|last| last.keys == keys);
        let mut counters = HashMap::new();
        for route in &config.routes {
            for rule in &route.rate_limit {
                let key = (route.name.clone(), rule.clone());
                let kept = last.and_then(|last| last.counters.get(&key)).cloned();
                let made = || Arc::new(RateCounters::new(GcraRate::new(rule), keys));
                counters.insert(key, kept.unwrap_or_else(made));
            }
        }
        Self { counters, keys }
    }

    /// Counters that begin where those of this limiter are and change nothing there.
    #[must_use]
    pub fn over(&self) -> Self {
        let over = |(key, counters): (&(String, RateLimit), &Arc<RateCounters>)| {
            (key.clone(), Arc::new(RateCounters::over(counters)))
        };
        Self { counters: self.counters.iter().map(over).collect(), keys: self.keys }
    }

    /// The rules of a route of the same configuration. Several rules by the same kind get numbered
    /// names. Metrics and clients tell them apart by these names, for example `client` and
    /// `client-2`.
    pub fn limits(&self, route: &RouteSettings) -> RouteLimits {
        let mut rules: Vec<LimitRule> = Vec::with_capacity(route.rate_limit.len());
        for rule in &route.rate_limit {
            let key = (route.name.clone(), rule.clone());
            let Some(counters) = self.counters.get(&key).cloned() else { continue };
            let name = match rules.iter().filter(|other| other.by == rule.by).count() {
                0 => rule.by.name().to_owned(),
                before => format!("{}-{}", rule.by.name(), before + 1),
            };
            let policy = fields::policy(&name, rule);
            rules.push(LimitRule { by: rule.by, name, policy, counters });
        }
        RouteLimits { rules }
    }

    /// Forgets callers whose budgets are whole. The background runtime calls it every few seconds.
    pub fn sweep(&self, now: Timestamp) {
        for counters in self.counters.values() {
            counters.sweep(now);
        }
    }

    /// The number of entries of all rules.
    pub fn len(&self) -> usize {
        self.counters.values().map(|counters| counters.len()).sum()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RouteLimits {
    /// True if the route has no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The names of the rules, for metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// Counts a request under the rules that apply to this caller, up to the first broken one, and
    /// adds their statements to `headers`. Counts of earlier rules are not taken back: the request
    /// was made, even if it is refused.
    pub fn admit<'a>(
        &'a self,
        caller: LimitCaller<'_>,
        now: Timestamp,
        headers: &mut RateLimitHeaders,
    ) -> Option<ExceededRule<'a>> {
        for rule in &self.rules {
            let Some(who) = caller.as_who(rule.by) else { continue };
            match rule.counters.admit(who, now) {
                Ok(budget) => headers.left(&rule.name, &rule.policy, budget),
                Err(exceeded) => {
                    headers.nothing_left(&rule.name, &rule.policy, exceeded);
                    return Some(ExceededRule { rule: &rule.name, exceeded });
                }
            }
        }
        None
    }
}

impl<'a> LimitCaller<'a> {
    /// The identity under which a rule `by` counts this caller; `None` if the rule does not apply
    /// at this moment. Rules by client and route apply before authentication only, rules by subject
    /// and session after it only, so that no request is counted twice by one rule.
    fn as_who(self, by: LimitBy) -> Option<LimitKey<'a>> {
        match (self, by) {
            (Self::Unproved { .. }, LimitBy::Route) => Some(LimitKey::Everybody),
            (Self::Unproved { address }, LimitBy::Client)
            | (Self::Unknown { address }, LimitBy::Subject | LimitBy::Session) => {
                address.map(|address| LimitKey::Address(address_group(address)))
            }
            (Self::Proved(identity), LimitBy::Subject) => {
                Some(LimitKey::Subject(&identity.subject))
            }
            // A caller without a session, such as the holder of an API key, has one budget for all
            // requests.
            (Self::Proved(identity), LimitBy::Session) => Some(
                identity.session.map_or(LimitKey::Subject(&identity.subject), LimitKey::Session),
            ),
            (Self::Unproved { .. }, LimitBy::Subject | LimitBy::Session)
            | (Self::Proved(_) | Self::Unknown { .. }, LimitBy::Route | LimitBy::Client) => None,
        }
    }
}
