//! Forwarding over real sockets: connections, framing, failures, tunnels, header fields.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod connections;
pub(crate) mod fake;
mod fields;
mod framing;
mod tls;
mod tunnels;
