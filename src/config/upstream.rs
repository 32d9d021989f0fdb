//! `[[upstream]]`: named pools of servers that all serve the same thing.

use std::path::PathBuf;
use std::time::Duration;

/// A pool with at least one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    pub name: String,
    pub servers: Vec<Server>,
    pub balance: Balance,
    /// Speak HTTP/2 to it: by ALPN over TLS, with prior knowledge otherwise.
    pub http2: bool,
    pub timeouts: UpstreamTimeouts,
    /// Tries after the first; only where the upstream cannot have acted.
    pub retries: u8,
    pub tls: UpstreamTls,
    /// Paths are matched without regard to case.
    pub case_insensitive: bool,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// As written; names the server in logs.
    pub name: String,
    pub address: ServerAddress,
    pub weight: u32,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// `http://host:port` or `https://host:port`.
    Tcp { host: String, port: u16, tls: bool },
    /// `unix:/path`.
    Unix(PathBuf),
    /// `builtin:echo`: answers with what it received.
    Echo,
}

/// How a server of the pool is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less busy of two chosen at random.
    LeastRequests,
    /// In turn.
    RoundRobin,
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamTimeouts {
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// How long an unused connection is kept; below the upstream's own.
    pub keep_alive: Duration,
}

/// How TLS to an upstream is checked.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct UpstreamTls {
    /// PEM of the CA to trust instead of the public ones.
    pub ca: Option<String>,
    /// Chain and key to show.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Name to ask for and to check, where it is not the host's.
    pub server_name: Option<String>,
}
