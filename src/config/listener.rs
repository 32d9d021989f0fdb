//! `[[listener]]`: where clients connect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::hsts::Hsts;
use super::item::Item;
use super::path::is_host_name;
use super::reader::Table;
use super::warnings::WarningName;
use crate::client::LeastRate;

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
    /// Said with every answer.
    pub hsts: Option<Hsts>,
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
    /// Bytes of a request's body in a second, on the whole; 0 is off.
    pub body_rate: u64,
    /// How far a body may be behind `body_rate`.
    pub body_grace: Duration,
    /// For the next request on an open connection.
    pub keep_alive: Duration,
}

/// Each holds about 32 KiB with TLS.
const CONNECTIONS: usize = 10_000;
/// Enough for an office behind one address, too few to take all connections from there.
const CONNECTIONS_PER_ADDRESS: usize = 512;
/// A token of 8 KiB, a key, cookies of 8 KiB and the usual fields.
const HEADER_BYTES: u64 = 32 << 10;
/// What hyper and most servers behind us take.
const HEADER_COUNT: usize = 100;
/// What most servers behind us take.
const URI_BYTES: u64 = 8 << 10;
/// RFC 9113 §6.5.2 recommends no fewer.
const STREAMS: u64 = 100;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A head that takes longer comes from a very bad line or from somebody who holds connections.
const HEADER: Duration = Duration::from_secs(10);
const BODY_IDLE: Duration = Duration::from_secs(30);
/// Less than a tenth of what the slowest mobile line (GPRS) carries.
const BODY_RATE: u64 = 512;
const BODY_GRACE: Duration = Duration::from_secs(10);
/// Longer than the minute that load balancers keep connections to us.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

impl Listener {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let address = table.required("address", "for example \"0.0.0.0:8443\"");
        let bind = address.as_ref().and_then(Bind::read);
        let name = address.as_ref().filter(|item| item.is_text()).and_then(Item::text);
        let redirect_to_https = table.bool_or("redirect_to_https", false);
        let allow_plain_http = table.bool_or("allow_plain_http", false);
        let tls = table.get("tls").and_then(|item| item.table()).map(Tls::read);
        if tls.is_some() && redirect_to_https {
            table
                .issue("redirect_to_https", "is for a plain listener: this one speaks TLS already");
        }
        if let (Some(bind), Some(item), None) = (&bind, &address, &tls) {
            check_plain(bind, item, redirect_to_https, allow_plain_http);
        }
        Self {
            name: name.unwrap_or_default().to_owned(),
            bind: bind.unwrap_or(Bind::Descriptor(String::new())),
            proxy_protocol: read_nets(&mut table, "proxy_protocol"),
            trusted_proxies: read_nets(&mut table, "trusted_proxies"),
            shared_addresses: read_nets(&mut table, "shared_addresses"),
            redirect_to_https,
            allow_plain_http,
            tls,
            limits: Limits::read(table.table("limits")),
            timeouts: ListenerTimeouts::read(table.table("timeouts")),
        }
    }
}

/// Passwords and tokens do not travel in the clear unless the operator says who protects them.
fn check_plain(bind: &Bind, item: &Item<'_>, redirect: bool, allow: bool) {
    let is_local = match bind {
        Bind::Tcp(address) => address.ip().is_loopback(),
        Bind::Unix(_) => true,
        // Whatever systemd opened: it may face anybody.
        Bind::Descriptor(_) => false,
    };
    if is_local || redirect {
        return;
    }
    if allow {
        item.warn(
            WarningName::PlainHttp,
            "takes credentials over plain HTTP: TLS must end in front of it",
        );
    } else {
        item.issue(
            "is plain HTTP and not on loopback: add [listener.tls], redirect_to_https = true, or \
             allow_plain_http = true if TLS ends in front of it",
        );
    }
}

impl Bind {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text()?;
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                item.issue("needs a path: \"unix:/run/tollhouse.sock\"");
                return None;
            }
            return Some(Self::Unix(item.reading().resolve(path)));
        }
        if let Some(name) = text.strip_prefix("fd:") {
            // sd_listen_fds_with_names(3): no colons and no controls.
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
                item.issue("needs the socket's name in systemd: \"fd:https\"");
                return None;
            }
            return Some(Self::Descriptor(name.to_owned()));
        }
        item.socket_address().map(Self::Tcp)
    }
}

fn read_nets(table: &mut Table<'_>, key: &'static str) -> Vec<IpNet> {
    table.list(key).iter().filter_map(read_net).collect()
}

pub(super) fn read_net(item: &Item<'_>) -> Option<IpNet> {
    let net = read_any_net(item)?;
    if net.prefix_len() == 0 {
        item.warn(
            WarningName::EverybodyTrusted,
            "is everybody: any client could forge its address",
        );
    }
    Some(net)
}

/// A net that nobody's word is taken for.
pub(super) fn read_any_net(item: &Item<'_>) -> Option<IpNet> {
    let text = item.text()?;
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.into());
    }
    let Ok(net) = text.parse::<IpNet>() else {
        item.issue("must be an address or a net, for example \"10.0.0.0/8\"");
        return None;
    };
    if net != net.trunc() {
        item.issue(format!("has bits beyond its length: write \"{}\"", net.trunc()));
    }
    Some(net)
}

impl Tls {
    fn read(mut table: Table<'_>) -> Self {
        let listed = table.list("certificates");
        let names = table.list("self_signed");
        let certificates = listed.iter().filter_map(Certificate::read).collect();
        let self_signed = names.iter().filter_map(read_name).collect();
        if listed.is_empty() && names.is_empty() {
            table.issue(
                "certificates",
                "is missing: name a chain and a key, or self_signed = [\"localhost\"]",
            );
        }
        let client_ca = table.get("client_ca").and_then(|item| item.read_certificates());
        let forms = [("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
        let client_auth = table.get("client_auth");
        if let (Some(item), None) = (&client_auth, &client_ca) {
            item.issue("needs a client_ca: whose certificates are accepted");
        }
        let client_auth = match (client_auth.and_then(|item| item.choice(&forms)), &client_ca) {
            (Some(auth), _) => auth,
            // Whoever names a CA and nothing else means it.
            (None, Some(_)) => ClientAuth::Required,
            (None, None) => ClientAuth::None,
        };
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let min_version = table.get("min_version").and_then(|item| item.choice(&versions));
        Self {
            certificates,
            self_signed,
            client_ca: client_ca.map(|(path, _)| path),
            client_auth,
            min_version: min_version.unwrap_or(TlsVersion::Tls12),
            hsts: Hsts::read(&mut table),
        }
    }
}

impl Certificate {
    pub(super) fn read(item: &Item<'_>) -> Option<Self> {
        let mut table = item.table()?;
        let chain = table.required("chain", "the PEM file with the certificates");
        let key = table.required("key", "the PEM file with the private key");
        let chain = chain.and_then(|item| item.read_certificates());
        let key = key.and_then(|item| item.read_private_key());
        Some(Self { chain: chain?.0, key: key? })
    }
}

/// A name or address that a certificate is made for.
fn read_name(item: &Item<'_>) -> Option<String> {
    let name = item.text()?.to_ascii_lowercase();
    if name.parse::<std::net::IpAddr>().is_err() && !is_host_name(&name) {
        item.issue("must be a host name or an IP address");
        return None;
    }
    Some(name)
}

impl Limits {
    fn read(mut table: Table<'_>) -> Self {
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let many = 1..=10_000_000;
        Self {
            connections: table.count_or("connections", CONNECTIONS, many.clone()),
            connections_per_address: table.count_or(
                "connections_per_address",
                CONNECTIONS_PER_ADDRESS,
                many,
            ),
            header_bytes: bytes(table.size_or("header_bytes", HEADER_BYTES, 8 << 10..=1 << 20)),
            header_count: table.count_or("header_count", HEADER_COUNT, 10..=1_000),
            uri_bytes: bytes(table.size_or("uri_bytes", URI_BYTES, 256..=64 << 10)),
            // Invariant: within the range, so it fits.
            streams: u32::try_from(table.number_or("streams", STREAMS, 1..=10_000)).unwrap_or(100),
        }
    }
}

impl ListenerTimeouts {
    fn read(mut table: Table<'_>) -> Self {
        Self {
            handshake: table.duration_or("handshake", HANDSHAKE, WAIT),
            header: table.duration_or("header", HEADER, WAIT),
            body_idle: table.duration_or("body_idle", BODY_IDLE, WAIT),
            body_rate: table.size_or("body_rate", BODY_RATE, 0..=1 << 20),
            body_grace: table.duration_or("body_grace", BODY_GRACE, WAIT),
            keep_alive: table.duration_or("keep_alive", KEEP_ALIVE, WAIT),
        }
    }

    /// How slowly a request's body may come, if there is a bound.
    pub fn least_rate(&self) -> Option<LeastRate> {
        let least = LeastRate { bytes: self.body_rate, grace: self.body_grace };
        (self.body_rate > 0).then_some(least)
    }
}
