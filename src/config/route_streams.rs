//! `[[route]]` keys of what outlives its request: tunnels, and answers that flow for long.

use std::time::Duration;

use super::out::Out;
use super::reader::Table;

/// How the streams of a route end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteStreams {
    pub close_at: CloseAt,
    /// How long a WebSocket's client has after the close frame before it is cut off.
    pub close_notice: Duration,
    /// Tunnels that one session or credential may have open at once, on all routes together.
    pub max_tunnels: usize,
}

/// Whose end a stream does not outlive. (A session that is ended by somebody always ends them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseAt {
    /// Tunnels the token's, plain answers the session's: a download outlives a short token.
    ByKind,
    Token,
    Session,
}

/// What a client needs to answer a close frame.
const CLOSE_NOTICE: Duration = Duration::from_secs(1);
/// An ended session does not stay open because its client looks away.
const LONGEST_NOTICE: Duration = Duration::from_secs(60);
/// More than one user's windows have open, few enough that no session takes all connections.
const MAX_TUNNELS: usize = 64;

impl RouteStreams {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let forms = [("token", CloseAt::Token), ("session", CloseAt::Session)];
        let close_at = table.get("close_at").and_then(|item| item.choice(&forms));
        Self {
            close_at: close_at.unwrap_or(CloseAt::ByKind),
            close_notice: table.duration_or(
                "close_notice",
                CLOSE_NOTICE,
                Duration::ZERO..=LONGEST_NOTICE,
            ),
            max_tunnels: table.count_or("max_tunnels", MAX_TUNNELS, 1..=100_000),
        }
    }

    pub(super) fn print(self, out: Out) -> Out {
        let close_at = match self.close_at {
            CloseAt::ByKind => None,
            CloseAt::Token => Some("token"),
            CloseAt::Session => Some("session"),
        };
        out.maybe("close_at", close_at)
            .time("close_notice", self.close_notice)
            .int("max_tunnels", self.max_tunnels)
    }
}
