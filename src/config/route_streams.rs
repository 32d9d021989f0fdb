//! The keys of a `[[route]]` about streams, which outlive their request: tunnels (WebSocket) and
//! answers that flow for a long time.
//!
//! A stream was authorised when it began. These settings say how long that authorisation lasts, and
//! how many streams one caller may hold. `pipeline` and `upstream` enforce them.

use std::time::Duration;

use super::reader::TableReader;
use crate::settings::{CloseAt, RouteStreams};

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
}
