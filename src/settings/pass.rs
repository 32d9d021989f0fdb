//! `pass` of a route: credentials that the route's upstream verifies itself.

use http::HeaderName;

/// One kind of credential that is forwarded without verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassRule {
    /// Requests that have this header field.
    Header(HeaderName),
    /// Requests with an `Authorization` field of this scheme, in the spelling of the configuration.
    Scheme(String),
}
