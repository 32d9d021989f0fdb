//! The PROXY header, versions 1 and 2 (haproxy.org/download/2.8/doc/proxy-protocol.txt), which
//! comes before TLS.
//!
//! It is read only from peers that have to send it; from all others the bytes are faulty TLS or
//! HTTP. The address in the header replaces the socket's address everywhere: in limits, in logs, in
//! `X-Forwarded-For`, and where `trusted_proxies` is looked up. The last is right because the
//! request was written by the peer behind the proxy, and the proxy only passes bytes on. LOCAL and
//! UNKNOWN keep the socket's address. TLVs are skipped.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::time::timeout;

use super::admission::{ConnectionEvent, HandshakeFailure, ListenerPermit};
use super::context::{ConnectedPeer, ListenerContext};
use super::socket::ClientStream;
use crate::client::address_group;

/// The first bytes of a header of version 2, and the length of its fixed part.
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_V2: usize = 16;
const SIGNATURE_V1: &[u8] = b"PROXY ";
/// The longest possible line of version 1, with its line end.
const LONGEST_V1: usize = 107;
/// The largest addresses (unix paths) and 4 KiB of TLVs: names and certificates fit.
const LONGEST_V2: usize = FIXED_V2 + 216 + (4 << 10);
const LONGER_V2: usize = LONGEST_V2 + 1;
/// The size of the buffer at the beginning; a usual header fits.
const USUAL: usize = 256;

/// The peer according to the proxy, and the bytes that came after the header.
pub(super) struct ProxiedPeer {
    pub(super) peer: ConnectedPeer,
    pub(super) rest: Bytes,
}

/// The beginning of a connection.
enum HeaderSource {
    /// The header names the client.
    Proxied(SocketAddr),
    /// The proxy speaks for itself (LOCAL), or does not know the client (UNKNOWN).
    Local,
    /// There is no header.
    Missing,
}

/// The result of looking for a header in the bytes received so far.
#[derive(Debug, PartialEq, Eq)]
enum HeaderLength {
    /// A complete header of this length.
    Whole(usize),
    /// More bytes are needed.
    Part,
    TooLong,
    None,
}

/// Reads the header of the proxy `peer`, and from then on counts the client's address. `None`: the
/// connection has to be closed, which was counted. A connection without a header is allowed on a
/// plain listener only, for health checks.
pub(super) async fn read_proxy_header<H>(
    shared: &ListenerContext<H>,
    stream: &mut ClientStream,
    peer: ConnectedPeer,
    permit: &mut ListenerPermit,
    limit: Duration,
) -> Option<ProxiedPeer> {
    let mut received = BytesMut::with_capacity(USUAL);
    let opening = timeout(limit, read(stream, &mut received)).await;
    let peer = match opening.unwrap_or(Err(HandshakeFailure::Timeout)) {
        Ok(HeaderSource::Proxied(source)) => shared.peer(Some(source)),
        Ok(HeaderSource::Local) => peer,
        // A load balancer checks the gateway's health without a header. It may ask for nothing
        // else. On a TLS listener it would have to speak TLS, and would then be no simple check.
        Ok(HeaderSource::Missing) if !shared.speaks_tls() => {
            shared.gate().count(ConnectionEvent::WithoutProxy);
            ConnectedPeer { lacks_proxy_header: true, ..peer }
        }
        Ok(HeaderSource::Missing) => {
            shared.failed(HandshakeFailure::ProxyHeader);
            return None;
        }
        Err(failure) => {
            shared.failed(failure);
            return None;
        }
    };
    // The address was not counted when the connection was accepted, because it was the proxy's.
    let group = peer.address.filter(|_| !peer.is_shared).map(address_group);
    let has_room = group.is_none_or(|group| permit.share(group));
    has_room.then(|| ProxiedPeer { peer, rest: received.freeze() })
}

/// Reads the header, and leaves the bytes after it in `received`.
async fn read(
    stream: &mut ClientStream,
    received: &mut BytesMut,
) -> Result<HeaderSource, HandshakeFailure> {
    loop {
        match find(received) {
            HeaderLength::Whole(length) => return parse(&received.split_to(length)),
            HeaderLength::None => return Ok(HeaderSource::Missing),
            HeaderLength::TooLong => return Err(HandshakeFailure::ProxyHeader),
            HeaderLength::Part => {}
        }
        // Reading is bounded by the longest header: bytes beyond it belong to TLS or HTTP, and may
        // wait in the socket.
        let room = LONGEST_V2.saturating_sub(received.len());
        if !matches!(stream.read_buf(&mut (&mut *received).limit(room)).await, Ok(1..)) {
            return Err(HandshakeFailure::Closed);
        }
    }
}

/// Looks for a header in the bytes received so far, without waiting for more.
fn find(received: &[u8]) -> HeaderLength {
    // While fewer bytes have arrived than a signature has, their beginning is compared.
    let begins = |signature: &[u8]| received.iter().zip(signature).all(|(one, other)| one == other);
    if begins(SIGNATURE_V2) {
        let Some([.., high, low]) = received.first_chunk::<FIXED_V2>() else {
            return HeaderLength::Part;
        };
        return match FIXED_V2 + usize::from(u16::from_be_bytes([*high, *low])) {
            LONGER_V2.. => HeaderLength::TooLong,
            length if received.len() < length => HeaderLength::Part,
            length => HeaderLength::Whole(length),
        };
    }
    if !begins(SIGNATURE_V1) {
        return HeaderLength::None;
    }
    match received.iter().take(LONGEST_V1).position(|byte| *byte == b'\n') {
        Some(end) => HeaderLength::Whole(end + 1),
        None if received.len() >= LONGEST_V1 => HeaderLength::TooLong,
        None => HeaderLength::Part,
    }
}

fn parse(header: &[u8]) -> Result<HeaderSource, HandshakeFailure> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, length)) if length == header.len() => match parsed.proxied_address() {
            None => Ok(HeaderSource::Local),
            Some(proxied) if proxied.protocol == Protocol::Stream => {
                Ok(HeaderSource::Proxied(proxied.source))
            }
            // The header of a datagram; a stream cannot carry one.
            Some(_) => Err(HandshakeFailure::ProxyHeader),
        },
        _ => Err(HandshakeFailure::ProxyHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_long_as_it_says() {
        let v2 = |length: u16| [SIGNATURE_V2, b"\x21\x11", &length.to_be_bytes()].concat();
        for (received, expected, why) in [
            (vec![], HeaderLength::Part, "nothing yet"),
            (b"PRO".to_vec(), HeaderLength::Part, "perhaps"),
            (b"POST /".to_vec(), HeaderLength::None, "a request"),
            (b"\r\n\r\nGET".to_vec(), HeaderLength::None, "a request after empty lines"),
            (
                b"PROXY UNKNOWN\r\nGET".to_vec(),
                HeaderLength::Whole(15),
                "what follows is not its own",
            ),
            (b"PROXY TCP4 1.2.3.4".to_vec(), HeaderLength::Part, "no end yet"),
            ([&b"PROXY "[..], &[b'x'; 101]].concat(), HeaderLength::TooLong, "no end"),
            (v2(12), HeaderLength::Part, "no addresses yet"),
            ([v2(2), vec![0; 5]].concat(), HeaderLength::Whole(18), "and no more"),
            (v2(4312), HeaderLength::Part, "the longest"),
            (v2(4313), HeaderLength::TooLong, "longer"),
        ] {
            assert_eq!(find(&received), expected, "{why}");
        }
    }
}
