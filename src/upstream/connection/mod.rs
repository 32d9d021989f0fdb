//! Connections to servers: opening them, keeping them, and limiting their number.
//!
//! A connection is opened by `connect` (address, PROXY header, TLS, HTTP handshake) and kept by
//! `idle` for one worker, or by `limit` for all workers of a server with a limit. Nothing here
//! knows of pools or requests; `pool` and `forward` are the callers.

mod connect;
mod handshake;
mod idle;
mod limit;
mod pooled;
mod proxy_header;
mod resolve;
mod transport;

pub(super) use self::connect::{
    ConnectOptions, HandshakeOptions, ServerEndpoint, ServerHost, ServerTls, WireProtocol, connect,
    open, tls_config,
};
pub(super) use self::idle::IdleConnections;
pub(super) use self::limit::{AcquireError, AcquiredSlot, ConnectionLimiter};
pub(super) use self::pooled::{CheckedOut, IdleConnection, PooledConnection, RequestSender};
pub(super) use self::proxy_header::ProxyHeaderBytes;
pub(super) use self::resolve::LookupSpawner;
#[cfg(test)]
pub(super) use self::resolve::{DnsBackend, NameResolver};
pub(super) use self::transport::{UpstreamStream, UpstreamTransport};
