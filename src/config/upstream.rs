//! `[[upstream]]`: named pools of servers that all serve the same thing.

use std::path::PathBuf;
use std::time::Duration;

use super::balance::Balance;
use super::item::Item;
use super::known::Known;
use super::listener::Certificate;
use super::path::is_host_name;
use super::reader::Table;
use super::upstream_calls::UpstreamCalls;
use super::upstream_health::Care;
use super::warnings::WarningName;
use super::{ProxyVersion, UpstreamCredential};

/// A pool with at least one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    pub name: String,
    pub servers: Vec<Server>,
    pub balance: Balance,
    /// Speak HTTP/2 to it: by ALPN over TLS, with prior knowledge otherwise.
    pub http2: bool,
    /// Begin its connections with the client's address.
    pub proxy_protocol: Option<ProxyVersion>,
    pub timeouts: UpstreamTimeouts,
    pub calls: UpstreamCalls,
    /// Which servers are left out.
    pub care: Care,
    pub tls: UpstreamTls,
    /// Paths are matched without regard to case.
    pub case_insensitive: bool,
    /// What it demands of whoever calls.
    pub credential: Option<UpstreamCredential>,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// As written; names the server in logs.
    pub name: String,
    pub address: ServerAddress,
    pub weight: u32,
    /// Used only when no other can be.
    pub backup: bool,
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

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamTimeouts {
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// From the first try to the answer's last byte; `None`: as long as it takes.
    pub total: Option<Duration>,
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
    /// Believe whoever answers. Nothing but an explicit `true` sets it, and everything says so.
    pub insecure_skip_verify: bool,
}

/// A server in the same house answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(2);
/// Longer than nearly all answers, shorter than a client's patience.
const FIRST_BYTE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
/// Below the 5 s after which Node.js and Apache close, the shortest defaults in use: a request
/// sent on a connection that is just being closed is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
const MAX_WEIGHT: u64 = 1000;

const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

impl Upstream {
    pub(super) fn read(mut table: Table<'_>, known: &mut Known) -> Self {
        let name = known.upstreams.read(&mut table, None);
        let servers = read_servers(&mut table);
        let balance = Balance::read(&mut table);
        let care = Care::read(&mut table, matches!(balance, Balance::Hash(_)));
        let base = servers.iter().find_map(|server| server.url());
        let credential = table
            .get("credential")
            .and_then(|item| UpstreamCredential::read(&item, &known.dialects, base.as_deref()));
        let tls = table.get("tls");
        let speaks_tls =
            |server: &Server| matches!(server.address, ServerAddress::Tcp { tls: true, .. });
        if let Some(item) = tls.as_ref().filter(|_| !servers.iter().any(speaks_tls)) {
            item.issue("is of no use: none of the servers is https");
        }
        let http2 = table.bool_or("http2", false);
        Self {
            name,
            proxy_protocol: ProxyVersion::read(&mut table, http2),
            balance,
            http2,
            timeouts: UpstreamTimeouts::read(table.table("timeouts")),
            calls: UpstreamCalls::read(&mut table),
            care,
            tls: tls.and_then(|item| item.table()).map(UpstreamTls::read).unwrap_or_default(),
            case_insensitive: table.bool_or("case_insensitive", false),
            credential,
            servers,
        }
    }
}

fn read_servers(table: &mut Table<'_>) -> Vec<Server> {
    let Some(item) = table.required("servers", "for example [\"http://10.0.0.5:8080\"]") else {
        return Vec::new();
    };
    let Some(list) = item.list() else { return Vec::new() };
    if list.is_empty() {
        item.issue("must name at least one server");
    }
    let mut servers: Vec<Server> = Vec::with_capacity(list.len());
    for item in &list {
        let Some(server) = Server::read(item) else { continue };
        if servers.iter().any(|other| other.address == server.address) {
            item.issue("stands here twice: give it a weight");
        }
        servers.push(server);
    }
    if !servers.is_empty() && servers.iter().all(|server| server.backup) {
        item.issue("must have a server that is no backup");
    }
    servers
}

impl Server {
    fn read(item: &Item<'_>) -> Option<Self> {
        if !item.is_table() {
            return Some(Self {
                address: ServerAddress::read(item)?,
                name: item.text()?.to_owned(),
                weight: 1,
                backup: false,
            });
        }
        let mut table = item.table()?;
        let url = table.required("url", "for example \"http://10.0.0.5:8080\"");
        let weight = table.number_or("weight", 1, 1..=MAX_WEIGHT);
        let backup = table.bool_or("backup", false);
        let url = url?;
        // Invariant: within the range, so it fits.
        let weight = u32::try_from(weight).unwrap_or(1);
        let (address, name) = (ServerAddress::read(&url)?, url.text()?.to_owned());
        Some(Self { address, name, weight, backup })
    }
}

impl Server {
    /// Its address as a URL, if it has one.
    fn url(&self) -> Option<String> {
        let ServerAddress::Tcp { host, port, tls } = &self.address else { return None };
        let scheme = if *tls { "https" } else { "http" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Some(format!("{scheme}://{host}:{port}"))
    }
}

impl ServerAddress {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text()?;
        match Self::parse(text) {
            Ok(Self::Unix(path)) => {
                Some(Self::Unix(item.reading().resolve(&path.to_string_lossy())))
            }
            Ok(address) => Some(address),
            // What stands there may have a password in it.
            Err(remedy) if text.contains('@') => {
                item.hidden_issue(remedy);
                None
            }
            Err(remedy) => {
                item.issue(remedy);
                None
            }
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("needs a path: \"unix:/run/app.sock\"".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if let Some(builtin) = text.strip_prefix("builtin:") {
            return match builtin {
                "echo" => Ok(Self::Echo),
                _ => Err("no such builtin server; there is \"builtin:echo\"".to_owned()),
            };
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err("must be http://, https:// or unix:".to_owned()),
            None => return Err(format!("needs a scheme: write \"http://{text}\"")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err("must be without a user and password".to_owned());
        }
        if authority.contains(['/', '?', '#']) {
            return Err(
                "must be without a path: a route's replace_prefix puts one in front".to_owned()
            );
        }
        let (host, port) = split_port(authority, if tls { 443 } else { 80 })?;
        Ok(Self::Tcp { host, port, tls })
    }
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port`; the host comes without brackets.
fn split_port(authority: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port.map(str::parse::<u16>) {
        None => default,
        Some(Ok(port)) if port != 0 => port,
        Some(_) => return Err("has a port that is no number from 1 to 65535".to_owned()),
    };
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Result<std::net::Ipv6Addr, _> = v6.parse();
        return address
            .map(|v6| (v6.to_string(), port))
            .map_err(|_| "is no IPv6 address".to_owned());
    }
    match is_host_name(host) {
        true => Ok((host.to_ascii_lowercase(), port)),
        false => Err("has no host name or address".to_owned()),
    }
}

impl UpstreamTimeouts {
    fn read(mut table: Table<'_>) -> Self {
        Self {
            connect: table.duration_or("connect", CONNECT, WAIT),
            first_byte: table.duration_or("first_byte", FIRST_BYTE, WAIT),
            idle: table.duration_or("idle", IDLE, WAIT),
            total: table.duration("total", WAIT),
            keep_alive: table.duration_or("keep_alive", KEEP_ALIVE, WAIT),
        }
    }
}

impl UpstreamTls {
    fn read(mut table: Table<'_>) -> Self {
        let certificate = table.get("certificate").as_ref().and_then(Certificate::read);
        let server_name = table.get("server_name");
        let name = server_name.as_ref().and_then(Item::text);
        if let (Some(item), Some(name)) = (&server_name, name)
            && !is_host_name(name)
        {
            item.issue("must be a host name");
        }
        let ca = table.get("ca").and_then(|item| item.read_certificates()).map(|(_, pem)| pem);
        let insecure = table.get("insecure_skip_verify");
        let skips = insecure.as_ref().and_then(Item::bool).unwrap_or(false);
        match insecure.as_ref().filter(|_| skips) {
            Some(item) if ca.is_some() => {
                item.issue("believes any certificate, so that `ca` says nothing: leave one out");
            }
            Some(item) => item.warn(
                WarningName::UnverifiedUpstream,
                "believes whoever answers: all that is sent there can be read and changed on the \
                 way; name the server's own certificate or its CA as `ca` instead",
            ),
            None => {}
        }
        Self {
            ca,
            certificate: certificate.map(|pair| (pair.chain, pair.key)),
            server_name: name.map(str::to_ascii_lowercase),
            insecure_skip_verify: skips,
        }
    }
}
