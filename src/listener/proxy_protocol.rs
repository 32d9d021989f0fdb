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

use super::connection::{Peer, Shared};
use super::gate::{Counted, HandshakeFailure, Permit};
use super::socket::Stream;
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
pub(super) struct Introduced {
    pub(super) peer: Peer,
    pub(super) rest: Bytes,
}

/// The beginning of a connection.
enum Opening {
    /// The header names the client.
    Told(SocketAddr),
    /// The proxy speaks for itself (LOCAL), or does not know the client (UNKNOWN).
    Untold,
    /// There is no header.
    Bare,
}

/// The result of looking for a header in the bytes received so far.
#[derive(Debug, PartialEq, Eq)]
enum Found {
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
pub(super) async fn introduced<H>(
    shared: &Shared<H>,
    stream: &mut Stream,
    peer: Peer,
    permit: &mut Permit,
    limit: Duration,
) -> Option<Introduced> {
    let mut held = BytesMut::with_capacity(USUAL);
    let opening = timeout(limit, read(stream, &mut held)).await;
    let peer = match opening.unwrap_or(Err(HandshakeFailure::Timeout)) {
        Ok(Opening::Told(source)) => shared.peer(Some(source)),
        Ok(Opening::Untold) => peer,
        // A load balancer checks the gateway's health without a header. It may ask for nothing
        // else. On a TLS listener it would have to speak TLS, and would then be no simple check.
        Ok(Opening::Bare) if !shared.speaks_tls() => {
            shared.gate().count(Counted::WithoutProxy);
            Peer { is_bare: true, ..peer }
        }
        Ok(Opening::Bare) => {
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
    has_room.then(|| Introduced { peer, rest: held.freeze() })
}

/// Reads the header, and leaves the bytes after it in `held`.
async fn read(stream: &mut Stream, held: &mut BytesMut) -> Result<Opening, HandshakeFailure> {
    loop {
        match find(held) {
            Found::Whole(length) => return parse(&held.split_to(length)),
            Found::None => return Ok(Opening::Bare),
            Found::TooLong => return Err(HandshakeFailure::ProxyHeader),
            Found::Part => {}
        }
        // Reading is bounded by the longest header: bytes beyond it belong to TLS or HTTP, and may
        // wait in the socket.
        let room = LONGEST_V2.saturating_sub(held.len());
        if !matches!(stream.read_buf(&mut (&mut *held).limit(room)).await, Ok(1..)) {
            return Err(HandshakeFailure::Closed);
        }
    }
}

/// Looks for a header in the bytes received so far, without waiting for more.
fn find(held: &[u8]) -> Found {
    // While fewer bytes have arrived than a signature has, their beginning is compared.
    let begins = |signature: &[u8]| held.iter().zip(signature).all(|(one, other)| one == other);
    if begins(SIGNATURE_V2) {
        let Some([.., high, low]) = held.first_chunk::<FIXED_V2>() else { return Found::Part };
        return match FIXED_V2 + usize::from(u16::from_be_bytes([*high, *low])) {
            LONGER_V2.. => Found::TooLong,
            length if held.len() < length => Found::Part,
            length => Found::Whole(length),
        };
    }
    if !begins(SIGNATURE_V1) {
        return Found::None;
    }
    match held.iter().take(LONGEST_V1).position(|byte| *byte == b'\n') {
        Some(end) => Found::Whole(end + 1),
        None if held.len() >= LONGEST_V1 => Found::TooLong,
        None => Found::Part,
    }
}

fn parse(header: &[u8]) -> Result<Opening, HandshakeFailure> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, length)) if length == header.len() => match parsed.proxied_address() {
            None => Ok(Opening::Untold),
            Some(told) if told.protocol == Protocol::Stream => Ok(Opening::Told(told.source)),
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
        for (held, expected, why) in [
            (vec![], Found::Part, "nothing yet"),
            (b"PRO".to_vec(), Found::Part, "perhaps"),
            (b"POST /".to_vec(), Found::None, "a request"),
            (b"\r\n\r\nGET".to_vec(), Found::None, "a request after empty lines"),
            (b"PROXY UNKNOWN\r\nGET".to_vec(), Found::Whole(15), "what follows is not its own"),
            (b"PROXY TCP4 1.2.3.4".to_vec(), Found::Part, "no end yet"),
            ([&b"PROXY "[..], &[b'x'; 101]].concat(), Found::TooLong, "no end"),
            (v2(12), Found::Part, "no addresses yet"),
            ([v2(2), vec![0; 5]].concat(), Found::Whole(18), "and no more"),
            (v2(4312), Found::Part, "the longest"),
            (v2(4313), Found::TooLong, "longer"),
        ] {
            assert_eq!(find(&held), expected, "{why}");
        }
    }
}
