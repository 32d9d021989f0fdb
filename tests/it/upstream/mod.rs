//! Forwarding over real sockets: connections, framing, failures, tunnels, header fields.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod connections;
mod deadlines;
mod failing;
pub(crate) mod fake;
mod fields;
mod framing;
mod limits;
mod refusing;
mod retries;
mod reuse;
mod stale;
mod tls;
mod tunnels;
