//! The PROXY header, v1 and v2 (haproxy.org/download/2.8/doc/proxy-protocol.txt), before TLS.
//!
//! It is read from the peers that owe it and from nobody else; to all others its bytes are bad
//! TLS or bad HTTP. The address in it takes the socket's place everywhere: in limits, in logs, in
//! X-Forwarded-For, and where `trusted_proxies` is asked, because what is in the request was
//! written by whoever stands there, not by the proxy that passes bytes on. LOCAL and UNKNOWN
//! leave the socket's own. TLVs are passed over; what follows the header is handed on.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::time::timeout;

use super::connection::{Peer, Shared};
use super::gate::{Counted, HandshakeFailure, Permit};
use super::socket::Stream;
use crate::client::address_group;

/// What every header of version 2 begins with, and how long its fixed part is.
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_V2: usize = 16;
const SIGNATURE_V1: &[u8] = b"PROXY ";
/// The longest line there can be, its end included.
const LONGEST_V1: usize = 107;
/// The largest addresses (unix paths) and 4 KiB of TLVs: names and certificates fit.
const LONGEST_V2: usize = FIXED_V2 + 216 + (4 << 10);
const LONGER_V2: usize = LONGEST_V2 + 1;
/// Holds a usual header.
const USUAL: usize = 256;

/// Who has connected, as the proxy says, and what came after its header.
pub(super) struct Introduced {
    pub(super) peer: Peer,
    pub(super) rest: Bytes,
}

/// How a connection begins.
enum Opening {
    /// The proxy speaks for whoever is there.
    Told(SocketAddr),
    /// The proxy speaks for itself, or does not know for whom.
    Untold,
    /// Without a header.
    Bare,
}

/// What the first bytes tell of a header.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is so long and has arrived.
    Whole(usize),
    /// More has to arrive.
    Part,
    TooLong,
    None,
}

/// Lets the proxy `peer` say who has connected, and counts that address from now on. `None`,
/// counted, where the connection has to be closed.
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
        // A load balancer asks plainly for our health, and may ask for nothing else.
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
    let group = peer.address.filter(|_| !peer.is_shared).map(address_group);
    let has_room = group.is_none_or(|group| permit.share(group));
    has_room.then(|| Introduced { peer, rest: held.freeze() })
}

/// Reads the header and leaves what came after it in `held`.
async fn read(stream: &mut Stream, held: &mut BytesMut) -> Result<Opening, HandshakeFailure> {
    loop {
        match find(held) {
            Found::Whole(length) => return parse(&held.split_to(length)),
            Found::None => return Ok(Opening::Bare),
            Found::TooLong => return Err(HandshakeFailure::ProxyHeader),
            Found::Part => {}
        }
        let room = LONGEST_V2.saturating_sub(held.len());
        if !matches!(stream.read_buf(&mut (&mut *held).limit(room)).await, Ok(1..)) {
            return Err(HandshakeFailure::Closed);
        }
    }
}

fn find(held: &[u8]) -> Found {
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
            // Nobody's datagrams arrive here.
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
