//! A tunnel that a client asks for: how the upstream is asked, and which answer opens it.
//!
//! Client and upstream may use different ways: `Upgrade` with status 101 in HTTP/1.1, or extended
//! CONNECT with a success status in HTTP/2, which supports WebSockets only. An answer that does not
//! agree to exactly the requested protocol is never passed on as an agreement: the client would
//! send its bytes into something else. `send` and `attempt` are the callers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version, response};
use hyper::ext::Protocol;
use hyper::upgrade::{self, OnUpgrade};

use crate::body::Request;
use crate::headers::{is_by_connect, lists};
use crate::secret;

const WEBSOCKET: &str = "websocket";

/// The text that is appended to the key to compute its answer (RFC 6455 §1.3).
const ACCEPTS: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Lets `copy` ask for the tunnel that `request` asks for. Of both, one may ask when the other was
/// refused.
pub(super) fn copy_tunnel(request: &Request, copy: &mut Request) {
    if let Some(client) = request.extensions().get::<OnUpgrade>() {
        copy.extensions_mut().insert(client.clone());
    }
    if let Some(protocol) = request.extensions().get::<Protocol>() {
        copy.extensions_mut().insert(protocol.clone());
    }
}

/// The tunnel that a client asks for.
pub(super) struct UpgradeRequest {
    method: Method,
    protocol: HeaderValue,
    /// The `Sec-WebSocket-Key` of the client, or ours if the client uses extended CONNECT, which
    /// has none.
    key: Option<HeaderValue>,
    /// True if the client asks by extended CONNECT.
    by_connect: bool,
    client: OnUpgrade,
}

impl UpgradeRequest {
    /// The tunnel that `request` asks for. `None` for a plain request and where no tunnel is
    /// possible: over HTTP/2 for anything but a WebSocket, and for a WebSocket by another method
    /// than GET. The request is then sent without its upgrade.
    pub(super) fn of(request: &mut Request, has_body: bool, http2: bool) -> Option<Self> {
        let protocol = request.headers().get(header::UPGRADE)?.clone();
        // Only GET may open a WebSocket (RFC 6455 §4.1). A server that accepts any method would
        // open one for a request that the route allowed as something else.
        let is_strange = is_websocket(&protocol) && *request.method() != Method::GET;
        // A tunnel begins at the end of the request. A request with a body is sent as the plain
        // request that it also is: an upgrade may be ignored (RFC 9110 §7.8).
        if has_body || is_strange || (http2 && !is_websocket(&protocol)) {
            request.headers_mut().remove(header::UPGRADE);
            request.headers_mut().remove(header::CONNECTION);
            return None;
        }
        let by_connect = is_by_connect(request.extensions());
        let key = match by_connect {
            true => key(),
            false => request.headers().get(header::SEC_WEBSOCKET_KEY).cloned(),
        };
        let method = request.method().clone();
        Some(Self { method, protocol, key, by_connect, client: upgrade::on(request) })
    }

    /// True for a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        is_websocket(&self.protocol)
    }

    /// Asks by `Upgrade` in HTTP/1.1. All fields are set again, because an earlier attempt may have
    /// been made over HTTP/2. `attempt` calls it after it knows which protocol the connection
    /// speaks.
    pub(super) fn for_http1(&self, request: &mut Request) {
        *request.method_mut() = self.method.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
        if let Some(key) = &self.key {
            headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// True if `answer`, with its version as received, opens the tunnel.
    ///
    /// # Errors
    /// The answer agrees to something else, or the client would mistake it for an agreement.
    pub(super) fn is_opened(&self, answer: &response::Parts) -> Result<bool, &'static str> {
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.check_agreement(&answer.headers).map(|()| true);
        }
        // hyper adds this handle only to the success of a CONNECT.
        let connected = answer.version == Version::HTTP_2
            && answer.status.is_success()
            && answer.extensions.get::<OnUpgrade>().is_some();
        // To a client with extended CONNECT, any success status means that the tunnel is open. A
        // plain 200 from an HTTP/1.1 server must therefore not reach it. The client would send
        // frames that no server reads as such.
        if !connected && self.by_connect && answer.status.is_success() {
            return Err("a success that opens no tunnel");
        }
        Ok(connected)
    }

    /// Checks a 101: exactly the requested protocol, `Connection: upgrade`, and the answer to our
    /// own key. RFC 9110 §7.8 requires a 101 to name the protocol, and the connection option makes
    /// sure that no proxy has merely copied the field.
    fn check_agreement(&self, answer: &HeaderMap) -> Result<(), &'static str> {
        let mut named = answer.get_all(header::UPGRADE).iter();
        match (named.next(), named.next()) {
            (Some(named), None)
                if named.as_bytes().eq_ignore_ascii_case(self.protocol.as_bytes()) => {}
            _ => return Err("a 101 to another protocol"),
        }
        if !lists(answer, header::CONNECTION, "upgrade") {
            return Err("a 101 without Connection: upgrade");
        }
        // If the client sent the key, the client checks the answer. If the gateway made the key,
        // then nobody else can check it. A wrong answer to our key means that the server did not
        // understand the upgrade, for example because it answers from a cache.
        let expected = self.key.as_ref().filter(|_| self.by_connect).and_then(accept);
        if self.by_connect && answer.get(header::SEC_WEBSOCKET_ACCEPT) != expected.as_ref() {
            return Err("a 101 to another Sec-WebSocket-Key");
        }
        Ok(())
    }

    /// Sets the fields that tell the client of the agreement, in the client's own way of asking.
    /// The other fields of the answer have been cleaned. A client with a key of its own gets the
    /// upstream's answer to it, or one that is computed here if the upstream speaks HTTP/2.
    pub(super) fn agree(&self, headers: &mut HeaderMap, over_http2: bool) {
        if self.by_connect {
            headers.remove(header::SEC_WEBSOCKET_ACCEPT);
            return;
        }
        headers.insert(header::UPGRADE, self.protocol.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(accept) = self.key.as_ref().filter(|_| over_http2).and_then(accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
    }

    /// The client's end of the tunnel.
    pub(super) fn into_client(self) -> OnUpgrade {
        self.client
    }
}

fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// Turns a request for a WebSocket, which is otherwise ready for HTTP/2, into an extended CONNECT.
/// The key is removed: RFC 8441 §5 does not use it.
pub(super) fn for_http2(request: &mut Request) {
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
}

/// A random `Sec-WebSocket-Key`, for a request whose client sent none.
fn key() -> Option<HeaderValue> {
    let random: [u8; 16] = secret::random();
    HeaderValue::try_from(STANDARD.encode(random)).ok()
}

/// The `Sec-WebSocket-Accept` value for `key` (RFC 6455 §4.2.2). It shows that the answer belongs
/// to this request. SHA-1 is given by the protocol; nothing depends on its secrecy or strength.
fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let accept_source = [key.as_bytes(), ACCEPTS].concat();
    HeaderValue::try_from(STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &accept_source))).ok()
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
