//! A client's WebSocket over HTTP/2: extended CONNECT (RFC 8441), brought to the form of HTTP/1.1.
//!
//! Inside the gateway there is one form: a GET with an upgrade. A client's extended CONNECT is
//! turned into it before any decision, so that every rule of a path applies. A plain CONNECT, which
//! would make the gateway an open proxy, and CONNECT for other protocols are never converted and
//! are refused later. `upstream` turns the request back on a connection that supports extended
//! CONNECT. The pipeline is the caller.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Extensions, Method};
use hyper::ext::Protocol;

const WEBSOCKET: &str = "websocket";

/// Marks a request whose client used extended CONNECT.
#[derive(Clone, Copy, Debug)]
struct ByConnect;

/// Turns a client's extended CONNECT for a WebSocket into the equivalent GET. All other requests
/// stay unchanged. The mark `ByConnect` remains, because the answer must be in the client's form
/// again.
pub fn as_upgrade(head: &mut Parts) {
    let protocol = head.extensions.get::<Protocol>();
    let is_websocket =
        protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEBSOCKET));
    if head.method != Method::CONNECT || !is_websocket {
        return;
    }
    head.method = Method::GET;
    head.extensions.remove::<Protocol>();
    head.extensions.insert(ByConnect);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    // Extended CONNECT does not use the key (RFC 8441 §5). One that the client sent anyway must not
    // reach the upstream, where it would count as the client's. `UpgradeRequest` creates a key of
    // its own if the upstream speaks HTTP/1.1.
    head.headers.remove(header::SEC_WEBSOCKET_KEY);
}

/// True if the client used extended CONNECT.
pub fn is_by_connect(extensions: &Extensions) -> bool {
    extensions.get::<ByConnect>().is_some()
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
}
