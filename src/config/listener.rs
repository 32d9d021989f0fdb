//! `[[listener]]`: the addresses at which clients connect.
//!
//! The defaults bound all that a client can use before it is authenticated: connections, sizes and
//! times. Plain HTTP beyond the own machine is refused, unless the operator says that TLS ends in
//! front of the gateway. Sockets are opened by `listener`, not here.

use std::time::Duration;

use ipnet::IpNet;

use super::item::SpannedValue;
use super::path::is_host_name;
use super::reader::TableReader;
use super::warnings::WarningName;
use crate::settings::{
    AcmeSettings, BindAddress, CertificateFiles, ClientAuth, ForwardedCertificate, HstsPolicy,
    ListenerLimits, ListenerSettings, ListenerTimeouts, ListenerTls, TlsVersion,
};

/// A connection takes about 32 KiB with TLS.
const CONNECTIONS: usize = 10_000;
/// Enough for an office behind one address, and too few for one address to take all connections.
const CONNECTIONS_PER_ADDRESS: usize = 512;
/// Room for a token of 8 KiB, a key, cookies of 8 KiB and the usual fields.
const HEADER_BYTES: u64 = 32 << 10;
/// The limit of hyper, and of most servers behind the gateway.
const HEADER_COUNT: usize = 100;
/// The limit of most servers behind the gateway.
const URI_BYTES: u64 = 8 << 10;
/// RFC 9113, section 6.5.2, recommends no fewer.
const STREAMS: u64 = 100;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A head that takes longer comes over a very bad line, or from somebody who wants to hold
/// connections.
const HEADER: Duration = Duration::from_secs(10);
const BODY_IDLE: Duration = Duration::from_secs(30);
/// Less than a tenth of the rate of the slowest mobile network (GPRS).
const BODY_RATE: u64 = 512;
const BODY_GRACE: Duration = Duration::from_secs(10);
/// Longer than the minute for which load balancers keep connections to the gateway: the side that
/// sends requests should close first. If the gateway closed first, a request sent at that moment
/// would be lost.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

const BESIDE_ACME: &str = "is beside acme, which orders the certificate: leave one of them out";

const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

impl ListenerSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let address = table.required("address", "for example \"0.0.0.0:8443\"");
        let bind = address.as_ref().and_then(BindAddress::read);
        let name = address.as_ref().filter(|item| item.is_text()).and_then(SpannedValue::string);
        let redirect_to_https = table.bool_or("redirect_to_https", false);
        let allow_plain_http = table.bool_or("allow_plain_http", false);
        let acme_item = table.get("acme");
        let has_acme = acme_item.is_some();
        let acme = acme_item.as_ref().and_then(AcmeSettings::read);
        let tls = match has_acme && !table.has("tls") {
            // A certificate is all that TLS needs; the other settings of `tls` have defaults.
            true => Some(table.table("tls")),
            false => table.get("tls").and_then(|item| item.table()),
        };
        let tls = tls.map(|tls| ListenerTls::read(tls, has_acme));
        // A TLS listener that redirects to https would send its clients to itself.
        if tls.is_some() && redirect_to_https {
            table
                .issue("redirect_to_https", "is for a plain listener: this one speaks TLS already");
        }
        if let (Some(bind), Some(item), None) = (&bind, &address, &tls) {
            check_plain(bind, item, redirect_to_https, allow_plain_http);
        }
        let trusted_proxies = read_nets(&mut table, "trusted_proxies");
        let forwarded = table.get("forwarded_certificate");
        if let Some(item) = forwarded.as_ref().filter(|_| trusted_proxies.is_empty()) {
            item.issue("needs trusted_proxies: nobody else is believed");
        }
        Self {
            name: name.unwrap_or_default().to_owned(),
            bind: bind.unwrap_or(BindAddress::Descriptor(String::new())),
            proxy_protocol: read_nets(&mut table, "proxy_protocol"),
            forwarded_certificate: forwarded
                .and_then(|item| ForwardedCertificate::read(item.table()?)),
            trusted_proxies,
            shared_addresses: read_nets(&mut table, "shared_addresses"),
            redirect_to_https,
            allow_plain_http,
            acme,
            tls,
            limits: ListenerLimits::read(table.table("limits")),
            timeouts: ListenerTimeouts::read(table.table("timeouts")),
        }
    }
}

/// Refuses plain HTTP on an address that other machines can reach, because passwords and tokens
/// would be sent in the clear. The operator can allow it if TLS ends in front of the gateway. Unix
/// sockets are local, and a listener that only redirects never reads a credential.
fn check_plain(bind: &BindAddress, item: &SpannedValue<'_>, redirect: bool, allow: bool) {
    let is_local = match bind {
        BindAddress::Tcp(address) => address.ip().is_loopback(),
        BindAddress::Unix(_) => true,
        // Systemd may have opened it on any address, so it counts as public.
        BindAddress::Descriptor(_) => false,
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
            "is plain HTTP and not on loopback: add [listener.tls] or acme, redirect_to_https = true, or \
             allow_plain_http = true if TLS ends in front of it",
        );
    }
}

impl BindAddress {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let text = item.string()?;
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                item.issue("needs a path: \"unix:/run/tollhouse.sock\"");
                return None;
            }
            return Some(Self::Unix(item.reading().resolve(path)));
        }
        if let Some(name) = text.strip_prefix("fd:") {
            // The characters that systemd allows in such a name (`sd_listen_fds_with_names(3)`).
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
                item.issue("needs the socket's name in systemd: \"fd:https\"");
                return None;
            }
            return Some(Self::Descriptor(name.to_owned()));
        }
        item.socket_address().map(Self::Tcp)
    }
}

fn read_nets(table: &mut TableReader<'_>, key: &'static str) -> Vec<IpNet> {
    table.default_is(key, Vec::<String>::new());
    table.list(key).iter().filter_map(read_net).collect()
}

/// Reads an address or a network that something is believed of.
pub(super) fn read_net(item: &SpannedValue<'_>) -> Option<IpNet> {
    let net = read_any_net(item)?;
    // A network of length 0 contains every address: each client could then claim any address for
    // itself. The operator may mean it, for a gateway that no client can reach directly, so it is a
    // warning.
    if net.prefix_len() == 0 {
        item.warn(
            WarningName::EverybodyTrusted,
            "is everybody: any client could forge its address",
        );
    }
    Some(net)
}

/// Reads an address or a network.
pub(super) fn read_any_net(item: &SpannedValue<'_>) -> Option<IpNet> {
    let text = item.string()?;
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.into());
    }
    let Ok(net) = text.parse::<IpNet>() else {
        item.issue("must be an address or a net, for example \"10.0.0.0/8\"");
        return None;
    };
    // `10.0.0.5/8` is either the network or one address; the operator has to say which.
    if net != net.trunc() {
        item.issue(format!("has bits beyond its length: write \"{}\"", net.trunc()));
    }
    Some(net)
}

impl ListenerTls {
    /// Reads the table. With `acme` an authority issues the certificate, and there must be no other.
    fn read(mut table: TableReader<'_>, has_acme: bool) -> Self {
        let listed = table.list("certificates");
        let names = table.list("self_signed");
        let certificates = listed.iter().filter_map(CertificateFiles::read).collect();
        let self_signed = names.iter().filter_map(read_name).collect();
        // The lists as written decide, not the certificates that could be read: a faulty
        // certificate was reported already.
        match (has_acme, listed.is_empty(), names.is_empty()) {
            (true, false, _) => table.issue("certificates", BESIDE_ACME),
            (true, true, false) => table.issue("self_signed", BESIDE_ACME),
            (false, true, true) => table.issue(
                "certificates",
                "is missing: name a chain and a key, or self_signed = [\"localhost\"]",
            ),
            _ => {}
        }
        let client_ca = table.get("client_ca").and_then(|item| item.read_certificates());
        let forms = [("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
        let client_auth = table.get("client_auth");
        if let (Some(item), None) = (&client_auth, &client_ca) {
            item.issue("needs a client_ca: whose certificates are accepted");
        }
        let client_auth = match (client_auth.and_then(|item| item.choice(&forms)), &client_ca) {
            (Some(auth), _) => auth,
            // A CA without `client_auth` is meant to protect the listener, so a certificate is
            // required. If it were optional by default, a forgotten line would leave the listener
            // open to everybody.
            (None, Some(_)) => ClientAuth::Required,
            (None, None) => ClientAuth::None,
        };
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let min_version = table.choice_or("min_version", TlsVersion::Tls12, &versions);
        Self {
            certificates,
            self_signed,
            client_ca: client_ca.map(|(path, _)| path),
            client_auth,
            min_version,
            hsts: HstsPolicy::read(&mut table),
        }
    }
}

impl CertificateFiles {
    pub(super) fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let mut table = item.table()?;
        let chain = table.required("chain", "the PEM file with the certificates");
        let key = table.required("key", "the PEM file with the private key");
        let chain = chain.and_then(|item| item.read_certificates());
        let key = key.and_then(|item| item.read_private_key());
        Some(Self { chain: chain?.0, key: key? })
    }
}

/// Reads a name or address for the self-signed certificate.
fn read_name(item: &SpannedValue<'_>) -> Option<String> {
    let name = item.string()?.to_ascii_lowercase();
    if name.parse::<std::net::IpAddr>().is_err() && !is_host_name(&name) {
        item.issue("must be a host name or an IP address");
        return None;
    }
    Some(name)
}

impl ListenerLimits {
    fn read(mut table: TableReader<'_>) -> Self {
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
            // Invariant: the value is within the range, so it fits.
            streams: u32::try_from(table.number_or("streams", STREAMS, 1..=10_000)).unwrap_or(100),
        }
    }
}

impl ListenerTimeouts {
    fn read(mut table: TableReader<'_>) -> Self {
        Self {
            handshake: table.duration_or("handshake", HANDSHAKE, WAIT),
            header: table.duration_or("header", HEADER, WAIT),
            body_idle: table.duration_or("body_idle", BODY_IDLE, WAIT),
            body_rate: table.size_or("body_rate", BODY_RATE, 0..=1 << 20),
            body_grace: table.duration_or("body_grace", BODY_GRACE, WAIT),
            keep_alive: table.duration_or("keep_alive", KEEP_ALIVE, WAIT),
        }
    }
}
