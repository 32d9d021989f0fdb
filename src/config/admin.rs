//! `[admin]`, `[health]`, `[log]`, `[state]` and `[store]`: running the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The operators' side.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// TCP address of `/livez`, `/readyz` and `/metrics`; none: only the unix socket
    /// `admin.sock` in the state folder.
    pub address: Option<SocketAddr>,
}

/// `/healthz` on every client listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Path that is answered; `None` where it was set to "".
    pub path: Option<String>,
}

/// Where the gateway writes its lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub access: LogTarget,
    pub audit: LogTarget,
    /// Format of the diagnostics.
    pub format: LogFormat,
}

/// One stream of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Pretty,
}

/// The folder that is the gateway's own.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub dir: PathBuf,
}

/// Where sessions live.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// A database in the state folder.
    Embedded,
}
