//! `[[upstream]]`: named pools of servers that all serve the same content.
//!
//! This file reads the servers, timeouts and TLS. `balance`, `upstream_calls`, `upstream_health`
//! and `credential` read the other keys of the section. No server is contacted while the
//! configuration is checked, so a check works while servers are down.

use std::time::Duration;

use super::item::SpannedValue;
use super::path::is_host_name;
use super::reader::TableReader;
use super::references::References;
use super::warnings::WarningName;
use crate::settings::{
    BalancePolicy, CertificateFiles, HealthPolicy, ProxyVersion, ServerAddress, ServerSettings,
    UpstreamCalls, UpstreamCredential, UpstreamSettings, UpstreamTimeouts, UpstreamTls,
};

/// A server in the same network accepts at once, or not at all.
const CONNECT: Duration = Duration::from_secs(2);
/// Longer than nearly all responses take, and shorter than clients wait.
const FIRST_BYTE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
/// Below 5 s, after which Node.js and Apache close connections; these are the shortest defaults in
/// use.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
const MAX_WEIGHT: u64 = 1000;

const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

impl UpstreamSettings {
    pub(super) fn read(mut table: TableReader<'_>, known: &mut References) -> Self {
        let name = known.upstreams.read(&mut table, None);
        let servers = read_servers(&mut table);
        // With consistent hashing, slow start has no effect; `HealthPolicy` reports it then.
        let balance = BalancePolicy::read(&mut table);
        let care = HealthPolicy::read(&mut table, matches!(balance, BalancePolicy::Hash(_)));
        let base = servers.iter().find_map(|server| server.url());
        let credential = table
            .get("credential")
            .and_then(|item| UpstreamCredential::read(&item, known, base.as_deref()));
        let tls = table.get("tls");
        let speaks_tls = |server: &ServerSettings| {
            matches!(server.address, ServerAddress::Tcp { tls: true, .. })
        };
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

fn read_servers(table: &mut TableReader<'_>) -> Vec<ServerSettings> {
    let Some(item) = table.required("servers", "for example [\"http://10.0.0.5:8080\"]") else {
        return Vec::new();
    };
    let remedy = "must name at least one server";
    let Some(list) = item.filled_list(remedy) else { return Vec::new() };
    let mut servers: Vec<ServerSettings> = Vec::with_capacity(list.len());
    for item in &list {
        let Some(server) = ServerSettings::read(item) else { continue };
        // The same address twice would count its failures and connections separately.
        if servers.iter().any(|other| other.address == server.address) {
            item.issue("stands here twice: give it a weight");
        }
        servers.push(server);
    }
    // A backup is used when the others are down. Without others it would always be used, and would
    // be no backup.
    if !servers.is_empty() && servers.iter().all(|server| server.backup) {
        item.issue("must have a server that is no backup");
    }
    servers
}

impl ServerSettings {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        if !item.is_table() {
            return Some(Self {
                address: ServerAddress::read(item)?,
                name: item.string()?.to_owned(),
                weight: 1,
                backup: false,
            });
        }
        let mut table = item.table()?;
        let url = table.required("url", "for example \"http://10.0.0.5:8080\"");
        let weight = table.number_or("weight", 1, 1..=MAX_WEIGHT);
        let backup = table.bool_or("backup", false);
        let url = url?;
        // Invariant: the value is within the range, so it fits.
        let weight = u32::try_from(weight).unwrap_or(1);
        let address = ServerAddress::read(&url)?;
        let name = url.string()?.to_owned();
        Some(Self { address, name, weight, backup })
    }
}

impl ServerSettings {
    /// The server's address as a URL; `None` for sockets and built-in servers.
    fn url(&self) -> Option<String> {
        let ServerAddress::Tcp { host, port, tls } = &self.address else { return None };
        let scheme = if *tls { "https" } else { "http" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Some(format!("{scheme}://{host}:{port}"))
    }
}

impl ServerAddress {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let text = item.string()?;
        match Self::parse(text) {
            Ok(Self::Unix(path)) => {
                Some(Self::Unix(item.reading().resolve(&path.to_string_lossy())))
            }
            Ok(address) => Some(address),
            // The value is hidden, because it may contain a password.
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
        // A password in the address would be printed in logs and metrics, where the address names
        // the server. Credentials for a server belong into `credential`, where they are kept as
        // secrets.
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

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`. The host is returned without brackets.
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
    fn read(mut table: TableReader<'_>) -> Self {
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
    fn read(mut table: TableReader<'_>) -> Self {
        let certificate = table.get("certificate").as_ref().and_then(CertificateFiles::read);
        let server_name = table.get("server_name");
        let name = server_name.as_ref().and_then(SpannedValue::string);
        if let (Some(item), Some(name)) = (&server_name, name)
            && !is_host_name(name)
        {
            item.issue("must be a host name");
        }
        let ca = table.get("ca").and_then(|item| item.read_certificates()).map(|(_, pem)| pem);
        table.default_is("insecure_skip_verify", false);
        let insecure = table.get("insecure_skip_verify");
        let skips = insecure.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
        match insecure.as_ref().filter(|_| skips) {
            // A CA that is never looked at suggests a protection that does not exist.
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
