//! The end of the time that one exchange may take, from its request to the last byte of its answer.
//!
//! It bounds every wait of a request: the queue for a connection, connecting, the answer's head,
//! and the answer's body. `send` sets it; `attempt` and `response` look at it.

use std::time::Duration;

use tokio::time::Instant;

/// The end of the time for a whole exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExchangeDeadline {
    pub(super) at: Instant,
    pub(super) limit: Duration,
}

impl ExchangeDeadline {
    /// The end of an exchange that begins now and may take `limit`.
    pub(super) fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// True if the time is over.
    pub(super) fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }
}
