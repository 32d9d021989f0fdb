//! The client's address, scheme and certificate behind a trusted proxy.
//!
//! `X-Forwarded-*` fields count only from the listener's `trusted_proxies`, and only for the
//! client's address and scheme, never to choose a route. So does the field with the certificate that
//! the client showed to the proxy; it is verified here. The list of addresses is read from the
//! right, because only its end was written by a proxy that the operator trusts; a client can write
//! anything at its beginning. `handle` is the caller.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;

use crate::client::{AddressText, Client, Scheme};
use crate::clock::Timestamp;
use crate::gateway::Generation;
use crate::headers::X_FORWARDED_FOR;
use crate::settings::Config;

/// The client as described by the trusted proxy in front of it. Without one, the client of the
/// connection. The scheme is taken from `X-Forwarded-Proto`; any value but `http` and `https` is
/// ignored. Where proxies tell certificates, that of the connection is the proxy's own and no
/// client's.
pub(super) fn client(
    peer: &Arc<Client>,
    headers: &HeaderMap,
    generation: &Generation,
    now: Timestamp,
) -> Arc<Client> {
    if !peer.trusted_proxy {
        return peer.clone();
    }
    let listener =
        generation.config.listeners.iter().find(|listener| listener.name == *peer.listener);
    let trusted = listener.map_or(&[][..], |listener| &listener.trusted_proxies);
    let mut client = Client::clone(peer);
    if let Some(address) = forwarded_for(headers, trusted) {
        client.address = Some(address);
        client.address_text = AddressText::default();
    }
    match headers.get("x-forwarded-proto").map(http::HeaderValue::as_bytes) {
        Some(b"https") => client.scheme = Scheme::Https,
        Some(b"http") => client.scheme = Scheme::Http,
        _ => {}
    }
    if let Some(forwarded) = generation.forwarded_certificates.get(&*peer.listener) {
        let told = forwarded.read(headers, now);
        client.certificate_fault = told.as_ref().err().copied();
        client.certificate = told.ok().flatten();
    }
    Arc::new(client)
}

/// The last address in `X-Forwarded-For` that does not belong to a trusted proxy.
fn forwarded_for(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let lines: Vec<Cow<'_, str>> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .collect();
    let mut last = None;
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        // A trusted proxy writes valid addresses only. An unreadable entry was written by somebody
        // else, and so was everything to its left. The last address that was readable counts, which
        // may be a proxy's own.
        let Some(address) = address(entry.trim()) else { break };
        last = Some(address);
        if !trusted.iter().any(|net| net.contains(&address)) {
            break;
        }
    }
    last
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]:80`.
fn address(entry: &str) -> Option<IpAddr> {
    let bracketed = entry.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((inside, _)) = bracketed {
        return inside.parse().ok();
    }
    entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.rsplit_once(':')?.0.parse().ok())
        .map(|a| a.to_canonical())
}

/// True if many clients share this address (`shared_addresses`), so that it must not be counted as
/// one client. Also true without an address.
pub(super) fn shares_address(client: &Client, config: &Config) -> bool {
    let Some(address) = client.address else { return true };
    config
        .listeners
        .iter()
        .filter(|listener| listener.name == *client.listener)
        .any(|listener| listener.shared_addresses.iter().any(|net| net.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_list_is_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        for (lines, expected, why) in [
            (&["203.0.113.7"][..], Some("203.0.113.7"), "one client"),
            (
                &["1.2.3.4, 203.0.113.7"],
                Some("203.0.113.7"),
                "a client may write its own beginning",
            ),
            (&["203.0.113.7, 10.0.0.9"], Some("203.0.113.7"), "trusted proxies are passed over"),
            (&["203.0.113.7", "10.0.0.9"], Some("203.0.113.7"), "lines are one list"),
            (&["10.0.0.1, 10.0.0.9"], Some("10.0.0.1"), "all trusted: the first"),
            (&["203.0.113.7, nonsense, 10.0.0.9"], Some("10.0.0.9"), "nothing before nonsense"),
            (&["[2001:db8::1]:4711"], Some("2001:db8::1"), "an IPv6 address with a port"),
            (&[], None, "no list"),
        ] {
            let headers = lines
                .iter()
                .map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap()));
            let found = forwarded_for(&headers.collect(), &trusted);
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{why}");
        }
    }
}
