//! WebSockets to upstreams over HTTP/2: extended CONNECT (RFC 8441).
//!
//! Inside the gateway a request for a WebSocket is a GET with an upgrade, whatever its client used
//! (`headers::as_upgrade`). On a connection to an upstream that supports extended CONNECT, the
//! request is turned back. `connect`, `attempt` and `upgrade_request` are the callers.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{self, HeaderValue};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;

use super::connect::{WorkerExecutor, drive, http2_builder};
use super::error::ConnectError;
use super::transport::UpstreamTransport;
use crate::body::{Body, Request};
use crate::runtime::Worker;
use crate::secret;

const WEBSOCKET: &str = "websocket";

/// The text that is appended to the key to compute its answer (RFC 6455 §1.3).
const ACCEPTS: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Turns a request for a WebSocket, which is otherwise ready for HTTP/2, into an extended CONNECT.
/// The key is removed: RFC 8441 §5 does not use it.
pub(super) fn for_http2(request: &mut Request) {
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
}

/// A random `Sec-WebSocket-Key`, for a request whose client sent none.
pub(super) fn key() -> Option<HeaderValue> {
    let random: [u8; 16] = secret::random();
    HeaderValue::try_from(STANDARD.encode(random)).ok()
}

/// The `Sec-WebSocket-Accept` value for `key` (RFC 6455 §4.2.2). It shows that the answer belongs
/// to this request. SHA-1 is given by the protocol; nothing depends on its secrecy or strength.
pub(super) fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let accept_source = [key.as_bytes(), ACCEPTS].concat();
    HeaderValue::try_from(STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &accept_source))).ok()
}

/// The use that can be made of a new HTTP/2 connection.
pub(super) enum HandshakeResult {
    /// The server supports extended CONNECT.
    Opens(http2::SendRequest<Body>),
    /// The server does not support it.
    Plain(http2::SendRequest<Body>),
}

/// Polling interval. hyper shows the values in a server's SETTINGS, but does not notify of their
/// arrival. The wait is short, because SETTINGS are the first frame of a server (RFC 9113 §3.4),
/// and only a new connection for a WebSocket waits at all.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The handshake on a connection for a WebSocket. Extended CONNECT may be used only after the
/// server's SETTINGS have allowed it (RFC 8441 §3), so the function waits for them. The caller
/// limits the time.
pub(super) async fn handshake(
    transport: UpstreamTransport,
    worker: &std::sync::Arc<Worker>,
) -> Result<HandshakeResult, ConnectError> {
    let (sender, mut connection) = http2_builder(WorkerExecutor(worker.clone()))
        // The initial limit of 0 streams stays until the server's SETTINGS arrive. A change of the
        // limit therefore reveals their arrival.
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
    Ok(if opens { HandshakeResult::Opens(sender) } else { HandshakeResult::Plain(sender) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_rfc_does_it() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");

        assert_eq!(accept(&key).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
