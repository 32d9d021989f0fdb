//! `[process]`: threads and how the gateway stops.

use std::time::Duration;

/// Threads and drain.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Worker threads; default: one a core.
    pub workers: usize,
    /// Threads of the back room.
    pub back_room: usize,
    /// How long health says 503 before the listeners close, so that a load balancer notices.
    pub drain_delay: Duration,
    /// How long open requests and tunnels may go on after that.
    pub drain_timeout: Duration,
}
