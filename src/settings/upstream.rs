//! `[[upstream]]`: a named pool of servers that all serve the same. `upstream` connects to them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::balance::BalancePolicy;
use super::credential::UpstreamCredential;
use super::proxy_protocol::ProxyVersion;
use super::upstream_calls::UpstreamCalls;
use super::upstream_health::HealthPolicy;
use super::written;

/// A pool with at least one server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamSettings {
    pub name: String,
    pub servers: Vec<ServerSettings>,
    #[serde(flatten)]
    pub balance: BalancePolicy,
    /// When servers are taken out of use and how they come back.
    #[serde(flatten)]
    pub care: HealthPolicy,
    /// Use HTTP/2: negotiated by ALPN over TLS, with prior knowledge otherwise (RFC 9113, section
    /// 3.3).
    pub http2: bool,
    /// Begin each connection with the client's address, in a PROXY header.
    pub proxy_protocol: Option<ProxyVersion>,
    #[serde(flatten)]
    pub calls: UpstreamCalls,
    /// The servers ignore case in paths, so routes to this upstream do the same.
    pub case_insensitive: bool,
    /// The credential that the gateway presents to it.
    pub credential: Option<UpstreamCredential>,
    pub timeouts: UpstreamTimeouts,
    #[serde(skip_serializing_if = "UpstreamTls::is_default")]
    pub tls: UpstreamTls,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerSettings {
    /// The address as written; it names the server in logs and metrics.
    #[serde(rename = "url")]
    pub name: String,
    #[serde(skip)]
    pub address: ServerAddress,
    pub weight: u32,
    /// Used only if no other server is available.
    pub backup: bool,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// `http://host:port` or `https://host:port`.
    Tcp { host: String, port: u16, tls: bool },
    /// `unix:/path`.
    Unix(PathBuf),
    /// `builtin:echo`: the gateway answers with the request that it received, for tests of a
    /// configuration.
    Echo,
}

/// How long an upstream may take for each part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UpstreamTimeouts {
    #[serde(serialize_with = "written::duration")]
    pub connect: Duration,
    /// From the last byte of the request to the head of the response.
    #[serde(serialize_with = "written::duration")]
    pub first_byte: Duration,
    /// Between two pieces of the response.
    #[serde(serialize_with = "written::duration")]
    pub idle: Duration,
    /// From the first attempt to the last byte of the response; `None`: unlimited.
    #[serde(serialize_with = "written::maybe_duration")]
    pub total: Option<Duration>,
    /// How long an unused connection is kept open. It should be shorter than the server's own time:
    /// a request on a connection that the server is just closing is lost. A lost request can be
    /// repeated only if it is safe to repeat.
    #[serde(serialize_with = "written::duration")]
    pub keep_alive: Duration,
}

/// How the TLS certificate of an upstream is verified, and which one the gateway presents.
#[derive(Clone, Debug, PartialEq, Default, Serialize)]
pub struct UpstreamTls {
    /// PEM text of the CA to trust instead of the public CAs.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<String>,
    /// The name to send (SNI) and to verify, if it is not the host's.
    pub server_name: Option<String>,
    /// Files with the certificate chain and the key that the gateway presents.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "certificate")]
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Do not verify the certificate. Only an explicit `true` sets this; it is warned of at every
    /// start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

impl UpstreamTls {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn certificate<S: Serializer>(
    files: &Option<(PathBuf, PathBuf)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(files.iter().flat_map(|(chain, key)| [("chain", chain), ("key", key)]))
}
