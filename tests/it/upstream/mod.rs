//! Forwarding over real sockets: connections, framing, failures, tunnels, header fields.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod connections;
mod deadlines;
mod failing;
mod fields;
pub(crate) mod forwarding; // answers good and bad, bodies, fields and paths through a whole gateway
mod framing;
mod limits;
pub(crate) mod pools; // which server of a pool is asked: balance, checks, ejection
mod refusing;
mod retries;
mod reuse;
mod stale;
mod tls;
mod tunnels;
