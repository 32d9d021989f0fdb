//! The PROXY header before a connection to an upstream with `proxy_protocol`.
//!
//! It names the client's address and comes before TLS and HTTP. Such a connection belongs to one
//! client and is not reused for another request, because the upstream attributes everything on it
//! to that client. `forward` and `pool` create the headers; `connect` writes them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::client::Client;
use crate::settings::ProxyVersion;
use crate::upstream::error::{ConnectError, ForwardError};

/// A PROXY header, ready to be written.
#[derive(Debug)]
pub(in crate::upstream) struct ProxyHeaderBytes(Vec<u8>);

impl ProxyHeaderBytes {
    /// A header that names `client`. A client without an address is written as unknown.
    ///
    /// # Errors
    /// The address cannot be written in the configured version.
    pub(in crate::upstream) fn naming(
        version: ProxyVersion,
        client: &Client,
    ) -> Result<Self, ForwardError> {
        Self::encode(version, addresses(client)).map_err(|what| ForwardError::Unwritable { what })
    }

    /// A header that names no client: the gateway itself is the caller, for example in a health
    /// check.
    ///
    /// # Errors
    /// The configured version cannot express it.
    pub(in crate::upstream) fn local(version: ProxyVersion) -> Result<Self, ConnectError> {
        Self::encode(version, None).map_err(|what| ConnectError::Refused(io::Error::other(what)))
    }

    /// Encodes a header of the configured version.
    fn encode(
        version: ProxyVersion,
        addresses: Option<ProxiedAddress>,
    ) -> Result<Self, &'static str> {
        let header = addresses.map_or_else(ProxyHeader::with_local, ProxyHeader::with_address);
        let mut bytes = Vec::with_capacity(64);
        match version {
            ProxyVersion::V1 => header.encode_v1(&mut bytes),
            ProxyVersion::V2 => header.encode_v2(&mut bytes),
        }
        .map_err(|_| "its client's address does not fit a PROXY header")?;
        Ok(Self(bytes))
    }

    /// Writes the header as the first bytes of a connection.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn write(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), ConnectError> {
        let written: io::Result<()> = stream.write_all(&self.0).await;
        written.map_err(ConnectError::Refused)
    }
}

/// The client's address and the address that the client connected to, both of one family.
fn addresses(client: &Client) -> Option<ProxiedAddress> {
    let address = client.address?.to_canonical();
    // The port is known only if the client itself is connected to us. Behind an HTTP proxy the
    // peer's port belongs to the proxy, and 0 is written.
    let peer = client.peer.filter(|peer| peer.ip().to_canonical() == address);
    let source = SocketAddr::new(address, peer.map_or(0, |peer| peer.port()));
    let local = client.local.map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()));
    let unknown: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let destination = local.unwrap_or(SocketAddr::new(unknown, 0));
    // A PROXY header has one family for both addresses. If the families differ, then the IPv4
    // address is written in its IPv6 form. The mapped form (RFC 4291 §2.5.5.2) keeps both addresses
    // readable.
    Some(match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => {
            ProxiedAddress::stream(source, destination)
        }
        _ => ProxiedAddress::stream(mapped(source), mapped(destination)),
    })
}

/// An IPv4 address in IPv6 form; an IPv6 address unchanged.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::{RequestBounds, Scheme};

    fn client(address: Option<&str>, peer: Option<&str>, local: Option<&str>) -> Client {
        Client {
            address: address.map(|text| text.parse().unwrap()),
            peer: peer.map(|text| text.parse().unwrap()),
            local: local.map(|text| text.parse().unwrap()),
            listener: "test".into(),
            scheme: Scheme::Https,
            sni: None,
            names: None,
            certificate: None,
            certificate_fault: None,
            trusted_proxy: false,
            address_text: Default::default(),
            only_health: false,
            redirect: false,
            bounds: RequestBounds {
                uri_bytes: 1,
                header_count: 1,
                body_idle: Duration::ZERO,
                body_rate: None,
            },
        }
    }

    #[test]
    fn both_addresses_are_of_one_kind() {
        let v4 = Some("192.0.2.7:1");
        let v6 = Some("[2001:db8::7]:1");
        let at_v4 = Some("198.51.100.1:443");
        let at_v6 = Some("[2001:db8::1]:443");
        for (address, peer, local, expected, why) in [
            ("192.0.2.7", v4, at_v4, "TCP4 192.0.2.7 198.51.100.1 1 443", "IPv4"),
            ("2001:db8::7", v6, at_v6, "TCP6 2001:db8::7 2001:db8::1 1 443", "IPv6"),
            ("192.0.2.7", v4, at_v6, "TCP6 ::ffff:192.0.2.7 2001:db8::1 1 443", "mixed"),
            ("192.0.2.9", v4, at_v4, "TCP4 192.0.2.9 198.51.100.1 0 443", "behind an HTTP proxy"),
            ("192.0.2.7", v4, None, "TCP4 192.0.2.7 0.0.0.0 1 0", "by a unix socket"),
        ] {
            let client = client(Some(address), peer, local);
            let preface = ProxyHeaderBytes::naming(ProxyVersion::V1, &client).unwrap();
            assert_eq!(preface.0, format!("PROXY {expected}\r\n").as_bytes(), "{why}");
        }
    }

    #[test]
    fn a_client_without_an_address_is_nobody_known() {
        let client = client(None, None, None);

        let v1 = ProxyHeaderBytes::naming(ProxyVersion::V1, &client).unwrap();
        let v2 = ProxyHeaderBytes::naming(ProxyVersion::V2, &client).unwrap();

        assert_eq!(v1.0, b"PROXY UNKNOWN\r\n");
        assert_eq!(v2.0, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
