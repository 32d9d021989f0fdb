//! `maintenance` of a route: every request is refused with 503, except from chosen networks.
//! `pipeline` applies it.

use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::written;

/// Maintenance of a route: 503 (RFC 9110, section 15.6.4) for all clients but a few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaintenanceMode {
    /// The time after which clients should try again; sent as `Retry-After`.
    #[serde(serialize_with = "written::duration")]
    pub retry_after: Duration,
    /// A message for people, if the form of the answer has a place for it.
    pub message: Option<String>,
    /// Networks whose clients are let through.
    #[serde(serialize_with = "written::texts")]
    pub networks: Vec<IpNet>,
}
