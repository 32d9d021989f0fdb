//! The keys of a `[[route]]` about streams, which outlive their request: tunnels (WebSocket) and
//! answers that flow for a long time.
//!
//! A stream was authorised when it began. These settings say how long that authorisation lasts, and
//! how many streams one caller may hold. `pipeline` and `upstream` enforce them.

use std::time::Duration;

use super::out::TableWriter;
use super::reader::TableReader;

/// When the streams of a route end, and how many may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteStreams {
    pub close_at: CloseAt,
    /// The time that a WebSocket client has, after the close frame, before its connection is cut
    /// off.
    pub close_notice: Duration,
    /// Upper bound on open tunnels of one session or credential, on all routes together.
    pub max_tunnels: usize,
}

/// The event that ends a stream at the latest. A session that is ended by a logout or by an
/// operator always ends its streams at once. Without this, a tunnel could be used for weeks after
/// the user has lost their rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseAt {
    /// A tunnel ends with its token, a plain answer with its session: a download may take longer
    /// than a short token lives. A tunnel has no natural end, so the end of its token is taken.
    ByKind,
    Token,
    Session,
}

/// Enough for a client to answer a close frame.
const CLOSE_NOTICE: Duration = Duration::from_secs(1);
/// Upper bound. A client that does not react must not keep the stream of an ended session open.
const LONGEST_NOTICE: Duration = Duration::from_secs(60);
/// More than the windows of one user have open, and few enough that one session cannot take all
/// connections.
const MAX_TUNNELS: usize = 64;

impl RouteStreams {
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
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

    pub(super) fn print(self, out: TableWriter) -> TableWriter {
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
