//! `pass` of a route: credentials that the route's upstream verifies itself.

use http::HeaderName;
use serde::Serialize;

use super::written;

/// One kind of credential that is forwarded without verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassRule {
    /// Requests that have this header field.
    Header(#[serde(serialize_with = "written::text")] HeaderName),
    /// Requests with an `Authorization` field of this scheme, in the spelling of the configuration.
    Scheme(String),
}
