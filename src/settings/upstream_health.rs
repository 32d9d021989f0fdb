//! `health`, `outlier` and `slow_start` of an `[[upstream]]`: when a server of the pool is taken
//! out of use, and how it comes back. `upstream` carries both kinds of checks out.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use serde::{Serialize, Serializer};

use super::written;

/// How the servers of a pool are watched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthPolicy {
    /// The time in which a server that came back grows to its full share of requests.
    #[serde(serialize_with = "written::duration")]
    pub slow_start: Duration,
    /// Requests to each server every few seconds; `None`: no checks.
    pub health: Option<HealthCheck>,
    /// Servers that fail requests are taken out of use; `None`: never.
    #[serde(serialize_with = "outlier_or_false")]
    pub outlier: Option<OutlierSettings>,
}

/// A request that a healthy server answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthCheck {
    #[serde(serialize_with = "written::text")]
    pub path: PathAndQuery,
    #[serde(serialize_with = "written::duration")]
    pub interval: Duration,
    /// For the whole check, from connecting to the last byte of the response.
    #[serde(serialize_with = "written::duration")]
    pub timeout: Duration,
    /// A server is taken out of use after so many failed checks in a row.
    pub fall: u32,
    /// A server is used again after so many successful checks in a row.
    pub rise: u32,
    /// The statuses with which a healthy server answers.
    #[serde(serialize_with = "statuses")]
    pub status: Vec<RangeInclusive<u16>>,
    /// The value of the field `Host`; `None`: the server's own host and port.
    #[serde(serialize_with = "written::maybe_field_value")]
    pub host: Option<HeaderValue>,
}

/// When a server that fails requests is taken out of use (ejected).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OutlierSettings {
    /// The number of failures in a row.
    pub failures: u32,
    /// How long the first ejection lasts. Each further one lasts twice as long as the one before.
    #[serde(serialize_with = "written::duration")]
    pub ejection: Duration,
    /// Upper bound on an ejection. A server that works for so long afterwards begins with short
    /// ejections again.
    #[serde(serialize_with = "written::duration")]
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

fn outlier_or_false<S: Serializer>(
    outlier: &Option<OutlierSettings>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match outlier {
        Some(outlier) => outlier.serialize(serializer),
        None => serializer.serialize_bool(false),
    }
}

/// Each range as its first and last status, and a single status as itself.
fn statuses<S: Serializer>(
    status: &[RangeInclusive<u16>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(status.iter().map(|range| match (range.start(), range.end()) {
        (one, other) if one == other => one.to_string(),
        (from, to) => format!("{from}-{to}"),
    }))
}
