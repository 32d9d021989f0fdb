//! The facts of a request that `UpstreamPool::forward` needs, and the answer that it returns.
//!
//! The pipeline fills in the facts and reads the answer.

use std::sync::Arc;

use super::lifetime::StreamLifetime;
use super::replay::BodyMemory;
use crate::body::Response;
use crate::clock::Timestamp;
use crate::headers::{HeaderEdits, HeaderFacts, ReservedHeaders};
use crate::identity::SessionId;
use crate::runtime::BackgroundRuntime;
use crate::users::LegacySessions;

/// The facts of one request that are not in the request itself.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    pub facts: &'a HeaderFacts<'a>,
    /// Names that a client must not smuggle in through trailers.
    pub protected: &'a Arc<ReservedHeaders>,
    /// The `response_headers` setting of the route.
    pub response_rules: &'a HeaderEdits,
    /// The session, token and route that a long answer or a tunnel must not outlive.
    pub lifetime: Option<&'a StreamLifetime>,
    /// The result of `UpstreamPool::key` for the request.
    pub key: Option<u64>,
    /// The runtime on which the gateway logs in at the upstream, if that is configured.
    pub background: &'a BackgroundRuntime,
    pub memory: BodyMemory<'a>,
    /// The caller's session, and where its legacy credential is; `None` if the caller has no session,
    /// or no source keeps credentials.
    pub session: Option<CallerSession<'a>>,
    pub now: Timestamp,
}

/// The session of a caller who logged in here, and with it perhaps at a legacy system.
#[derive(Clone, Copy, Debug)]
pub struct CallerSession<'a> {
    pub id: SessionId,
    pub legacy: &'a Arc<LegacySessions>,
}

/// The answer of an upstream.
#[derive(Debug)]
pub struct ForwardedResponse {
    pub response: Response,
    /// The server that gave the answer, for the log.
    pub server: Arc<str>,
    /// True if the upstream agreed to the requested tunnel, which has begun. The status that tells
    /// the client depends on how the client asked (101, or 200 for extended CONNECT).
    pub tunnel: bool,
}
