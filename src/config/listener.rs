//! `[[listener]]`: where clients connect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// One place where clients connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// As written; names the listener in logs.
    pub name: String,
    pub bind: Bind,
    /// Peers whose PROXY v1/v2 header is required and believed.
    pub proxy_protocol: Vec<IpNet>,
    /// Peers whose X-Forwarded-* is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Peers behind which many clients share one address: `per_address` is off for them.
    pub shared_addresses: Vec<IpNet>,
    /// Answers 308 to https and nothing else.
    pub redirect_to_https: bool,
    /// A plain listener that is not on loopback, accepted on the operator's word.
    pub allow_plain_http: bool,
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub timeouts: ListenerTimeouts,
}

/// What a listener binds to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A socket handed over by systemd under this name.
    Descriptor(String),
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Chosen by SNI from the names in the certificates; the first is the default.
    pub certificates: Vec<Certificate>,
    /// Names of a certificate made at first start and kept in the state folder.
    pub self_signed: Vec<String>,
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
    pub min_version: TlsVersion,
}

/// A certificate chain and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Optional,
    Required,
}

/// The oldest TLS version spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// How much a listener takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections open at once.
    pub connections: usize,
    /// Connections open at once from one address (/64 for IPv6).
    pub connections_per_address: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub header_count: usize,
    /// Bytes of the request target.
    pub uri_bytes: usize,
    /// HTTP/2 streams open at once on one connection.
    pub streams: u32,
}

/// How long a listener waits.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTimeouts {
    /// For a TLS handshake to finish.
    pub handshake: Duration,
    /// For a request's head to arrive.
    pub header: Duration,
    /// Between two pieces of a request's body, and for a client to take a piece of the answer.
    pub body_idle: Duration,
    /// For the next request on an open connection.
    pub keep_alive: Duration,
}
