//! `mirror` of a route: another upstream that gets a copy of the route's requests. `pipeline` sends
//! the copies.

use serde::Serialize;

use super::written;

/// The upstream that copies are sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MirrorSettings {
    /// The name of the `[[upstream]]`.
    pub upstream: String,
    /// The share of requests that are copied, in percent.
    pub percent: u8,
    /// Upper bound in bytes; a request with a larger body is not copied.
    #[serde(serialize_with = "written::size")]
    pub body_limit: u64,
}
