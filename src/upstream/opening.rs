//! A tunnel that a client asks for: how it is asked of an upstream, and what opens it.
//!
//! Client and upstream may each ask and answer in a way of their own: by `Upgrade` and 101 in
//! HTTP/1.1, by extended CONNECT and a success in HTTP/2, which only a WebSocket can. Nothing is
//! passed on as an agreement that does not agree to what was asked for.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version, response};
use hyper::upgrade::{self, OnUpgrade};

use super::extended_connect as connect;
use super::headers::lists;
use crate::body::Request;

/// What a client asks to have a tunnel for.
pub(super) struct Opening {
    method: Method,
    protocol: HeaderValue,
    /// The client's, or ours where it asks without one.
    key: Option<HeaderValue>,
    /// It asks by extended CONNECT.
    by_connect: bool,
    client: OnUpgrade,
}

impl Opening {
    /// What `request` asks for; `None`, with nothing asked of the upstream either, for an ordinary
    /// request and where there can be no tunnel: over HTTP/2, for anything but a WebSocket, and for a
    /// WebSocket by another method than GET.
    pub(super) fn of(request: &mut Request, has_body: bool, http2: bool) -> Option<Self> {
        let protocol = request.headers().get(header::UPGRADE)?.clone();
        // Only a GET may open a WebSocket (RFC 6455 §4.1): a server that does so for any method
        // would open one for a request that was let through as something else.
        let is_strange = is_websocket(&protocol) && *request.method() != Method::GET;
        // A tunnel begins where the request ends: one that has a body of its own is sent as the
        // plain request that it also is (RFC 9110 §7.8).
        if has_body || is_strange || (http2 && !is_websocket(&protocol)) {
            request.headers_mut().remove(header::UPGRADE);
            request.headers_mut().remove(header::CONNECTION);
            return None;
        }
        let by_connect = connect::is_by_connect(request.extensions());
        let key = match by_connect {
            true => connect::key(),
            false => request.headers().get(header::SEC_WEBSOCKET_KEY).cloned(),
        };
        let method = request.method().clone();
        Some(Self { method, protocol, key, by_connect, client: upgrade::on(request) })
    }

    pub(super) fn is_websocket(&self) -> bool {
        is_websocket(&self.protocol)
    }

    /// Asks in HTTP/1.1. An earlier attempt may have asked otherwise.
    pub(super) fn for_http1(&self, request: &mut Request) {
        *request.method_mut() = self.method.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
        if let Some(key) = &self.key {
            headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// Whether `answer`, with its version as it came, opens the tunnel.
    ///
    /// # Errors
    /// Where it agrees to something else, or its client would take it for an agreement.
    pub(super) fn is_opened(&self, answer: &response::Parts) -> Result<bool, &'static str> {
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.check_agreement(&answer.headers).map(|()| true);
        }
        // Hyper has it only for the success of a CONNECT.
        let connected = answer.version == Version::HTTP_2
            && answer.status.is_success()
            && answer.extensions.get::<OnUpgrade>().is_some();
        if !connected && self.by_connect && answer.status.is_success() {
            return Err("a success that opens no tunnel");
        }
        Ok(connected)
    }

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
        // The answer to a client's own key is for the client to check.
        let expected = self.key.as_ref().filter(|_| self.by_connect).and_then(connect::accept);
        if self.by_connect && answer.get(header::SEC_WEBSOCKET_ACCEPT) != expected.as_ref() {
            return Err("a 101 to another Sec-WebSocket-Key");
        }
        Ok(())
    }

    /// Says in the fields of the answer, which are otherwise clean, what its client waits for.
    pub(super) fn agree(&self, headers: &mut HeaderMap, over_http2: bool) {
        if self.by_connect {
            headers.remove(header::SEC_WEBSOCKET_ACCEPT);
            return;
        }
        headers.insert(header::UPGRADE, self.protocol.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(accept) = self.key.as_ref().filter(|_| over_http2).and_then(connect::accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
    }

    /// The client's end of the tunnel.
    pub(super) fn into_client(self) -> OnUpgrade {
        self.client
    }
}

fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
}
