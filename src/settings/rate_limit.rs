//! `rate_limit` of a route: how many requests one caller may make in a time; and `[throttle]`,
//! which bounds the memory for counting them. `throttle` enforces the limits.

use std::time::Duration;

use serde::Serialize;

use super::written;

/// A limit: so many requests in so much time (a token bucket).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RateLimit {
    pub requests: u64,
    #[serde(serialize_with = "written::duration")]
    pub per: Duration,
    /// Requests that may come at once after a pause.
    pub burst: u64,
    pub by: LimitBy,
}

/// The requests that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// Those of one subject, with whichever credential.
    Subject,
    /// Those of one session; of one subject if the credential has no session.
    Session,
    /// Those from one address (of an IPv6 address the /64).
    Client,
    /// All requests to the route.
    Route,
}

/// The settings of `[throttle]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThrottleSettings {
    /// Upper bound on callers that one rule counts at the same time.
    pub keys: usize,
}

impl LimitBy {
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("subject", Self::Subject),
        ("session", Self::Session),
        ("client", Self::Client),
        ("route", Self::Route),
    ];

    /// The name of the key in the configuration.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, by)| *by == self).map_or("", |(name, _)| name)
    }
}
