//! The part of an `[[upstream]]` about its requests: retries, name resolution, limited connections
//! and the queue for them. The defaults limit the load that a failing pool gets in addition.

use std::time::Duration;

use serde::Serialize;

use super::written;

/// How a pool handles one request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UpstreamCalls {
    /// Attempts after the first. They are made only if the upstream cannot have acted on the
    /// request.
    pub retries: u8,
    /// Upper bound on retries, in percent of the requests (a retry budget).
    pub retry_budget: u8,
    /// How long the addresses of a host name are used before they are resolved again; zero: for one
    /// connection.
    #[serde(serialize_with = "written::duration")]
    pub resolve: Duration,
    /// Upper bound on connections to each server; `None`: one for each request in progress.
    pub max_connections: Option<usize>,
    pub queue: UpstreamQueue,
}

/// The requests that wait for one of a server's limited connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UpstreamQueue {
    pub requests: usize,
    #[serde(serialize_with = "written::duration")]
    pub timeout: Duration,
}

impl Default for UpstreamCalls {
    fn default() -> Self {
        Self {
            retries: 1,
            // The same as in Envoy and Linkerd: a failing pool gets a fifth more requests, not twice
            // as many.
            retry_budget: 20,
            // The time to live that most name servers give to addresses of cloud services.
            resolve: Duration::from_secs(30),
            max_connections: None,
            queue: UpstreamQueue { requests: 100, timeout: Duration::from_secs(5) },
        }
    }
}
