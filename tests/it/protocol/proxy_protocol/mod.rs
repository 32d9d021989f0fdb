//! The PROXY header: believed from listed peers, understood from nobody else, written upstream.

mod inbound;
mod outbound;

use std::net::SocketAddr;

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};

fn told(source: &str) -> ProxyHeader<'static> {
    let source: SocketAddr = source.parse().unwrap();
    let destination = match source {
        SocketAddr::V4(_) => "198.51.100.1:443".parse().unwrap(),
        SocketAddr::V6(_) => "[2001:db8:2::1]:443".parse().unwrap(),
    };
    ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
}

pub(crate) fn v1(source: &str) -> Vec<u8> {
    let mut header = Vec::new();
    told(source).encode_v1(&mut header).unwrap();
    header
}

pub(crate) fn v2(source: &str) -> Vec<u8> {
    let mut header = Vec::new();
    told(source).encode_v2(&mut header).unwrap();
    header
}

/// Version 2 with so many bytes of padding behind the addresses.
fn padded(source: &str, padding: usize) -> Vec<u8> {
    let (mut header, mut bytes) = (told(source), Vec::new());
    header.append_tlv(Tlv::Authority("app.example".into()));
    header.append_tlv(Tlv::Noop(padding));
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

/// Version 2 byte by byte: version and command, family and protocol, and what follows.
fn raw_v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}
