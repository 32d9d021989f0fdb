//! The part of a `[[route]]` about streams, which outlive their request: tunnels (WebSocket) and
//! answers that flow for a long time. `pipeline` and `upstream` enforce it.

use std::time::Duration;

use serde::Serialize;

use super::written;

/// When the streams of a route end, and how many may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStreams {
    #[serde(skip_serializing_if = "CloseAt::is_by_kind")]
    pub close_at: CloseAt,
    /// The time that a WebSocket client has, after the close frame, before its connection is cut
    /// off.
    #[serde(serialize_with = "written::duration")]
    pub close_notice: Duration,
    /// Upper bound on open tunnels of one session or credential, on all routes together.
    pub max_tunnels: usize,
}

/// The event that ends a stream at the latest. A session that is ended by a logout or by an
/// operator always ends its streams at once. Without this, a tunnel could be used for weeks after
/// the user has lost their rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseAt {
    /// A tunnel ends with its token, a plain answer with its session: a download may take longer
    /// than a short token lives. A tunnel has no natural end, so the end of its token is taken.
    ByKind,
    Token,
    Session,
}

impl CloseAt {
    /// True for the default, which has no name in a configuration.
    fn is_by_kind(&self) -> bool {
        *self == Self::ByKind
    }
}
