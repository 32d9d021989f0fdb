//! `[[listener]]`: the addresses at which clients connect, and the bounds on what a client can use
//! before it is authenticated. `listener` opens the sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use super::acme::AcmeSettings;
use super::forwarded_certificate::ForwardedCertificate;
use super::hsts::HstsPolicy;
use super::written;
use crate::client::LeastRate;

/// One address at which clients connect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerSettings {
    /// The address as written; it names the listener in logs.
    #[serde(rename = "address")]
    pub name: String,
    #[serde(skip)]
    pub bind: BindAddress,
    /// Peers that must send a PROXY v1 or v2 header, and whose header is believed.
    #[serde(serialize_with = "written::texts")]
    pub proxy_protocol: Vec<IpNet>,
    /// Peers whose `X-Forwarded-*` fields are believed.
    #[serde(serialize_with = "written::texts")]
    pub trusted_proxies: Vec<IpNet>,
    /// How those peers tell the certificates of their clients, if they do.
    pub forwarded_certificate: Option<ForwardedCertificate>,
    /// Addresses that many clients share: limits per address are off for them.
    #[serde(serialize_with = "written::texts")]
    pub shared_addresses: Vec<IpNet>,
    /// Answer every request with 308 to the https URL, and nothing else.
    pub redirect_to_https: bool,
    /// Plain HTTP on an address that is not loopback, allowed explicitly by the operator.
    pub allow_plain_http: bool,
    /// The authority that issues the certificate of this listener. Invariant: with it there is `tls`,
    /// which names no certificate of its own.
    pub acme: Option<AcmeSettings>,
    pub tls: Option<ListenerTls>,
    pub limits: ListenerLimits,
    pub timeouts: ListenerTimeouts,
}

/// The socket of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A socket that systemd has opened and passes on under this name.
    Descriptor(String),
}

/// The TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerTls {
    /// The certificate is chosen by SNI among the names in the certificates; the first one is the
    /// default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFiles>,
    /// Names of a self-signed certificate, which is made at the first start and kept in the state
    /// folder.
    pub self_signed: Vec<String>,
    /// Strict transport security, sent with every answer.
    pub hsts: Option<HstsPolicy>,
    pub client_ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "ClientAuth::is_none")]
    pub client_auth: ClientAuth,
    pub min_version: TlsVersion,
}

/// The files of a certificate chain and of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Whether clients have to present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    None,
    Optional,
    Required,
}

/// The oldest TLS version that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// Upper bounds of a listener. All of them apply before authentication.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerLimits {
    /// Open connections.
    pub connections: usize,
    /// Open connections from one address (of IPv6, one /64).
    pub connections_per_address: usize,
    /// Bytes of a request's head.
    #[serde(serialize_with = "written::size")]
    pub header_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Bytes of the request target.
    #[serde(serialize_with = "written::size")]
    pub uri_bytes: usize,
    /// Open HTTP/2 streams on one connection.
    pub streams: u32,
}

/// How long a listener waits for a client. Without these bounds a few slow clients could hold all
/// connections (Slowloris). The times for body and answer also release the memory that a stalled
/// transfer holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerTimeouts {
    /// For a TLS handshake to finish.
    #[serde(serialize_with = "written::duration")]
    pub handshake: Duration,
    /// For the head of a request to arrive.
    #[serde(serialize_with = "written::duration")]
    pub header: Duration,
    /// Between two pieces of a request's body, and for a client to take a piece of the response.
    #[serde(serialize_with = "written::duration")]
    pub body_idle: Duration,
    /// The least average rate of a request's body, in bytes a second; 0: no bound.
    #[serde(serialize_with = "written::size")]
    pub body_rate: u64,
    /// How far a body may fall behind `body_rate`.
    #[serde(serialize_with = "written::duration")]
    pub body_grace: Duration,
    /// For the next request on an open connection.
    #[serde(serialize_with = "written::duration")]
    pub keep_alive: Duration,
}

impl ListenerTimeouts {
    /// The least rate of a request's body, if there is a bound.
    pub fn least_rate(&self) -> Option<LeastRate> {
        let least = LeastRate { bytes: self.body_rate, grace: self.body_grace };
        (self.body_rate > 0).then_some(least)
    }
}

impl ClientAuth {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}
