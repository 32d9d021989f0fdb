//! Rate limits of routes: how many requests a caller may make in a time.
//!
//! A route's rules are ready when its generation is; what was counted is handed on by the last
//! generation where a rule is the same. Rules by client and route are asked before anybody is
//! authenticated, so that a flood costs no verification; rules by subject and session after it.
//! Nothing here answers a client: `pipeline` does, by `Told`.

mod counters;
mod fields;
mod gcra;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use self::counters::Counters;
pub use self::fields::Told;
pub use self::gcra::{Budget, Exceeded, Rate};
use crate::client::address_group;
use crate::clock::Timestamp;
use crate::config::{Config, LimitBy, RateLimit, Route};
use crate::identity::{Identity, SessionId, Subject};

/// Everything that is counted for one configuration.
#[derive(Debug, Default)]
pub struct Throttle {
    counters: HashMap<(String, RateLimit), Arc<Counters>>,
    keys: usize,
}

/// The rules of one route.
#[derive(Debug, Default)]
pub struct Limits {
    rules: Vec<Rule>,
}

/// A rule and who came under it.
#[derive(Debug)]
struct Rule {
    by: LimitBy,
    /// What clients and metrics know it by.
    name: String,
    /// `"client";q=100;w=1`.
    policy: String,
    counters: Arc<Counters>,
}

/// Who calls, as far as that is known when rules are asked.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// Nobody was asked yet. Without an address where many share it: such are not told apart.
    Unproved {
        address: Option<IpAddr>,
    },
    Proved(&'a Identity),
    /// Let through without being asked or without having proved it.
    Unknown {
        address: Option<IpAddr>,
    },
}

/// A rule that a request would break.
#[derive(Debug)]
pub struct Broken<'a> {
    /// The rule's name.
    pub rule: &'a str,
    pub exceeded: Exceeded,
}

/// What one rule counts as one.
#[derive(Hash)]
enum Who<'a> {
    Everybody,
    Address(IpAddr),
    Subject(&'a Subject),
    Session(SessionId),
}

impl Throttle {
    /// Counters for every rule of `config`; those of `last` where they are the same.
    pub fn build(config: &Config, last: Option<&Self>) -> Self {
        let keys = config.throttle.keys;
        let last = last.filter(|last| last.keys == keys);
        let mut counters = HashMap::new();
        for route in &config.routes {
            for rule in &route.rate_limit {
                let key = (route.name.clone(), rule.clone());
                let kept = last.and_then(|last| last.counters.get(&key)).cloned();
                let made = || Arc::new(Counters::new(Rate::new(rule), keys));
                counters.insert(key, kept.unwrap_or_else(made));
            }
        }
        Self { counters, keys }
    }

    /// The rules of a route of the same configuration.
    pub fn limits(&self, route: &Route) -> Limits {
        let mut rules: Vec<Rule> = Vec::with_capacity(route.rate_limit.len());
        for rule in &route.rate_limit {
            let key = (route.name.clone(), rule.clone());
            let Some(counters) = self.counters.get(&key).cloned() else { continue };
            let name = match rules.iter().filter(|other| other.by == rule.by).count() {
                0 => rule.by.name().to_owned(),
                before => format!("{}-{}", rule.by.name(), before + 1),
            };
            let policy = fields::policy(&name, rule);
            rules.push(Rule { by: rule.by, name, policy, counters });
        }
        Limits { rules }
    }

    /// Forgets callers of whom nothing has to be known; to be called every few seconds.
    pub fn sweep(&self, now: Timestamp) {
        for counters in self.counters.values() {
            counters.sweep(now);
        }
    }

    /// Callers of whom something is known, under all rules together.
    pub fn len(&self) -> usize {
        self.counters.values().map(|counters| counters.len()).sum()
    }

    /// True if nobody is counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Limits {
    /// True if there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Names of the rules, for metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// Counts a request under the rules that can be asked of this caller and notes in `told` what
    /// they say, up to the first that is broken. What earlier rules counted stays counted: a
    /// request that was made was made.
    pub fn admit<'a>(
        &'a self,
        caller: Caller<'_>,
        now: Timestamp,
        told: &mut Told,
    ) -> Option<Broken<'a>> {
        for rule in &self.rules {
            let Some(who) = caller.as_who(rule.by) else { continue };
            match rule.counters.admit(who, now) {
                Ok(budget) => told.left(&rule.name, &rule.policy, budget),
                Err(exceeded) => {
                    told.nothing_left(&rule.name, &rule.policy, exceeded);
                    return Some(Broken { rule: &rule.name, exceeded });
                }
            }
        }
        None
    }
}

impl<'a> Caller<'a> {
    /// What a rule `by` counts this caller as; `None` if it is not asked now.
    fn as_who(self, by: LimitBy) -> Option<Who<'a>> {
        match (self, by) {
            (Self::Unproved { .. }, LimitBy::Route) => Some(Who::Everybody),
            (Self::Unproved { address }, LimitBy::Client)
            | (Self::Unknown { address }, LimitBy::Subject | LimitBy::Session) => {
                address.map(|address| Who::Address(address_group(address)))
            }
            (Self::Proved(identity), LimitBy::Subject) => Some(Who::Subject(&identity.subject)),
            // Who has no session, such as the holder of an API key, has one budget for all he does.
            (Self::Proved(identity), LimitBy::Session) => {
                Some(identity.session.map_or(Who::Subject(&identity.subject), Who::Session))
            }
            (Self::Unproved { .. }, LimitBy::Subject | LimitBy::Session)
            | (Self::Proved(_) | Self::Unknown { .. }, LimitBy::Route | LimitBy::Client) => None,
        }
    }
}
