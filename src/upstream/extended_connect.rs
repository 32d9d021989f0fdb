//! WebSockets over HTTP/2: extended CONNECT (RFC 8441), as a client asks for one and as one is
//! asked of an upstream.
//!
//! Inside, there is only one way to ask: a GET that wants to upgrade. A client's CONNECT is turned
//! into that before anything is decided, so that every rule of a path holds for it; a connection
//! to an upstream that lets WebSockets be opened turns it back. CONNECT without a protocol, which
//! would make a proxy of us, and every other protocol are never turned into anything.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Extensions, Method};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;

use super::connect::{OnWorker, drive, http2_builder};
use super::error::ConnectError;
use super::transport::Transport;
use crate::body::{Body, Request};
use crate::runtime::Worker;
use crate::secret;

const WEBSOCKET: &str = "websocket";

/// What follows the key where its answer is worked out (RFC 6455 §1.3).
const ACCEPTS: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Marks a request whose client asked by extended CONNECT.
#[derive(Clone, Copy, Debug)]
struct ByConnect;

/// Turns a client's extended CONNECT for a WebSocket into the GET that asks for the same.
pub fn as_upgrade(head: &mut Parts) {
    let asked = head.extensions.get::<Protocol>();
    let is_websocket = asked.is_some_and(|asked| asked.as_str().eq_ignore_ascii_case(WEBSOCKET));
    if head.method != Method::CONNECT || !is_websocket {
        return;
    }
    head.method = Method::GET;
    head.extensions.remove::<Protocol>();
    head.extensions.insert(ByConnect);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    // It belongs to the other way of asking (RFC 8441 §5).
    head.headers.remove(header::SEC_WEBSOCKET_KEY);
}

/// Whether the client asked by extended CONNECT.
pub fn is_by_connect(extensions: &Extensions) -> bool {
    extensions.get::<ByConnect>().is_some()
}

/// Turns a request for a WebSocket, otherwise ready for HTTP/2, into an extended CONNECT.
pub(super) fn for_http2(request: &mut Request) {
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
}

/// A `Sec-WebSocket-Key` for a request whose client sent none.
pub(super) fn key() -> Option<HeaderValue> {
    let random: [u8; 16] = secret::random();
    HeaderValue::try_from(STANDARD.encode(random)).ok()
}

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455 §4.2.2). It shows that the answer is
/// one to this request, and is no secret.
pub(super) fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let told = [key.as_bytes(), ACCEPTS].concat();
    HeaderValue::try_from(STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &told))).ok()
}

/// What a fresh HTTP/2 connection is good for.
pub(super) enum Fresh {
    /// Its server lets WebSockets be opened.
    Opens(http2::SendRequest<Body>),
    /// It does not.
    Plain(http2::SendRequest<Body>),
}

/// Hyper tells what a server's SETTINGS allow, but not when they have come.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The handshake on a connection that a WebSocket is to be opened on; nothing may be asked before
/// the server has said whether it lets that (RFC 8441 §3). Waits for its word without a limit.
pub(super) async fn handshake(
    transport: Transport,
    worker: &std::sync::Arc<Worker>,
) -> Result<Fresh, ConnectError> {
    let (sender, mut connection) = http2_builder(OnWorker(worker.clone()))
        // No stream is allowed until the SETTINGS have come: that is how we know.
        .initial_max_send_streams(0)
        .handshake(TokioIo::new(transport))
        .await
        .map_err(ConnectError::Handshake)?;
    while connection.current_max_send_streams() == 0 {
        tokio::select! {
            ended = &mut connection => return Err(match ended {
                Ok(()) => ConnectError::Refused(std::io::ErrorKind::UnexpectedEof.into()),
                Err(error) => ConnectError::Handshake(error),
            }),
            () = sleep(LOOK_EVERY) => (),
        }
    }
    let opens = connection.is_extended_connect_protocol_enabled();
    drive(connection, worker);
    Ok(if opens { Fresh::Opens(sender) } else { Fresh::Plain(sender) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, protocol: Option<&'static str>) -> Parts {
        let request = http::Request::builder().method(method).uri("https://a/ws");
        let mut head = request.header("sec-websocket-key", "x").body(()).unwrap().into_parts().0;
        if let Some(protocol) = protocol {
            head.extensions.insert(Protocol::from_static(protocol));
        }
        head
    }

    #[test]
    fn only_a_connect_for_a_websocket_becomes_an_upgrade() {
        for (method, protocol, becomes) in [
            (Method::CONNECT, Some("websocket"), true),
            (Method::CONNECT, Some("connect-udp"), false),
            (Method::CONNECT, None, false),
            (Method::GET, None, false),
        ] {
            let mut head = head(method.clone(), protocol);

            as_upgrade(&mut head);

            assert_eq!(is_by_connect(&head.extensions), becomes, "{method} {protocol:?}");
            assert_eq!(head.headers.contains_key("upgrade"), becomes);
            assert_eq!(head.headers.contains_key("sec-websocket-key"), !becomes);
            assert_eq!(head.method, if becomes { Method::GET } else { method });
        }
    }

    #[test]
    fn a_key_is_answered_as_the_rfc_does_it() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");

        assert_eq!(accept(&key).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
