//! `health`, `outlier` and `slow_start` of an `[[upstream]]`: when a server of the pool is taken
//! out of use, and how it comes back. `upstream` carries both kinds of checks out.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

/// How the servers of a pool are watched.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPolicy {
    /// Requests to each server every few seconds; `None`: no checks.
    pub health: Option<HealthCheck>,
    /// Servers that fail requests are taken out of use; `None`: never.
    pub outlier: Option<OutlierSettings>,
    /// The time in which a server that came back grows to its full share of requests.
    pub slow_start: Duration,
}

/// A request that a healthy server answers.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub path: PathAndQuery,
    pub interval: Duration,
    /// For the whole check, from connecting to the last byte of the response.
    pub timeout: Duration,
    /// A server is taken out of use after so many failed checks in a row.
    pub fall: u32,
    /// A server is used again after so many successful checks in a row.
    pub rise: u32,
    /// The statuses with which a healthy server answers.
    pub status: Vec<RangeInclusive<u16>>,
    /// The value of the field `Host`; `None`: the server's own host and port.
    pub host: Option<HeaderValue>,
}

/// When a server that fails requests is taken out of use (ejected).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierSettings {
    /// The number of failures in a row.
    pub failures: u32,
    /// How long the first ejection lasts. Each further one lasts twice as long as the one before.
    pub ejection: Duration,
    /// Upper bound on an ejection. A server that works for so long afterwards begins with short
    /// ejections again.
    pub max_ejection: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self { health: None, outlier: Some(OutlierSettings::default()), slow_start: Duration::ZERO }
    }
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            // Long enough for a restart, and short enough if the ejection was a mistake.
            ejection: Duration::from_secs(10),
            max_ejection: Duration::from_secs(300),
        }
    }
}
