//! `[admin]`, `[health]`, `[log]`, `[state]` and `[store]`: the values for operating the gateway.
//! `server` opens what is named here.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use super::admin_socket::AdminSocket;
use super::written;

/// The access for operators.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdminSettings {
    /// The TCP address of `/livez`, `/readyz` and `/metrics`. `None`: operators and probes use only
    /// the unix socket `admin.sock` in the state folder.
    pub address: Option<SocketAddr>,
    /// The users of the machine who may use the unix socket.
    pub socket: AdminSocket,
}

/// The health path on every client listener. It is for load balancers, and needs no credential.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthSettings {
    /// The path that is answered; `None` if it was set to "".
    #[serde(serialize_with = "written::text_or_empty")]
    pub path: Option<String>,
}

/// The destinations of the access log and of the audit log, and the format of the diagnostics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogSettings {
    pub access: LogTarget,
    /// The form of the access lines. It follows a reload.
    pub access_format: AccessFormat,
    pub audit: LogTarget,
    /// True if requests for the health path are written to the access log as well.
    pub health: bool,
    /// The format of the diagnostics on standard error.
    pub format: LogFormat,
}

/// The destination of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    Off,
    Stdout,
    Stderr,
    #[serde(untagged)]
    File(PathBuf),
}

/// The form of an access line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessFormat {
    /// An object with every field that there is.
    Json,
    /// The same fields as `key="value"`.
    Logfmt,
    /// The combined format of nginx and Apache.
    Combined,
    /// A short line for people.
    Pretty,
}

/// The format of the diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people if standard error is a terminal, else JSON.
    Auto,
    Json,
    Pretty,
}

/// The folder that belongs to the gateway: keys, store, certificates and admin socket.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateSettings {
    pub dir: PathBuf,
}
