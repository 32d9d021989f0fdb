//! `balance` of an `[[upstream]]`: how the server of a request is chosen. `upstream` carries it out.

use http::header::HeaderName;
use serde::Serialize;

use super::written;

/// How a server of the pool is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "balance", content = "hash_by", rename_all = "snake_case")]
pub enum BalancePolicy {
    /// The less busy of two servers chosen at random (power of two choices).
    LeastRequests,
    /// One after the other.
    RoundRobin,
    /// The same server for the same key, as long as it is available (consistent hashing).
    Hash(HashBy),
}

/// The key by which requests are assigned to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashBy {
    /// The client's address; of an IPv6 address the /64, because one client owns all of it.
    Client,
    /// The authenticated caller.
    Subject,
    /// A header field, with the value that the upstream receives.
    Header(#[serde(serialize_with = "written::text")] HeaderName),
    /// A cookie, with the value that the upstream receives.
    Cookie(String),
}
