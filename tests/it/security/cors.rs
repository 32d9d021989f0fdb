//! A preflight opens nothing, and marks are ours where the policy is.

use std::sync::{Arc, Mutex};

use http::{Method, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::log_in;
use crate::harness::client::{PATIENCE, TestRequest, raw_exchange};
use crate::harness::{Gateway, Service, ServiceProtocol, Upstream};

fn preflight<'a>(call: TestRequest<'a>) -> TestRequest<'a> {
    call.header("origin", "https://evil.example").header("access-control-request-method", "PUT")
}

#[tokio::test]
async fn without_a_policy_a_preflight_is_a_request_like_any_other() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::serving("native", &upstream).await;

    let reply = preflight(gateway.client().call(Method::OPTIONS, "/orders")).send().await;

    reply.assert_status(401);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_preflight_for_the_upstream_goes_there_bare_and_nothing_else_does() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().login("native").route_to(&upstream, "cors = \"upstream\"").start().await;
    let token = gateway.token("alice").await;
    let client = gateway.client();

    client.call(Method::OPTIONS, "/").send().await.assert_status(401);
    let call = client.call(Method::OPTIONS, "/").header("origin", "https://evil.example");
    call.send().await.assert_status(401);
    preflight(client.get("/")).send().await.assert_status(401);
    upstream.assert_untouched();

    let call = preflight(client.call(Method::OPTIONS, "/")).bearer(&token);
    call.header("x-auth-subject", "forged").send().await.assert_status(200);
    let received = upstream.only();
    for name in ["authorization", "x-auth-subject", "x-auth-username"] {
        assert_eq!(received.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_policy_of_ours_replaces_the_upstreams_and_answers_strangers_without_leave() {
    let upstream = Upstream::answering(|_| {
        Response::builder()
            .header("access-control-allow-origin", "*")
            .header("access-control-allow-credentials", "true")
            .body(bytes::Bytes::new())
            .unwrap()
    })
    .await;
    let keys = "cors = { origins = [\"https://app.example\"], methods = [\"GET\"], headers = [] }";
    let gateway = Gateway::builder().login("native").route_to(&upstream, keys).start().await;
    let token = log_in(&gateway, "/auth/login", "alice").await.member("access_token");
    let client = gateway.client();

    let call = client.get("/").bearer(&token).header("origin", "https://evil.example");
    let stranger = call.send().await;
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    assert_eq!(stranger.header("access-control-allow-credentials"), None);
    let call = client.get("/").bearer(&token).header("origin", "https://app.example");
    let known = call.send().await;
    known.assert_header("access-control-allow-origin", "https://app.example");
    known.assert_header("vary", "Origin");
    assert_eq!(known.header("access-control-allow-credentials"), None);

    let before = upstream.received().len();
    let reply = preflight(client.call(Method::OPTIONS, "/")).send().await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert_eq!(upstream.received().len(), before, "answered here");
}

/// An upstream that agrees to whatever is asked of it and keeps all that it reads.
async fn agreeing() -> (Service, Arc<Mutex<Vec<u8>>>) {
    let read = Arc::new(Mutex::new(Vec::new()));
    let seen = read.clone();
    let service = Service::start(ServiceProtocol::Http1, move |mut stream, _| {
        let seen = seen.clone();
        async move {
            let mut piece = [0; 1024];
            let mut answered = false;
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                let whole = {
                    let mut seen = seen.lock().unwrap();
                    seen.extend_from_slice(&piece[..length]);
                    String::from_utf8_lossy(&seen).to_ascii_lowercase()
                };
                if answered || !whole.contains("\r\n\r\n") {
                    continue;
                }
                answered = true;
                let answer = match whole.contains("upgrade: websocket") {
                    true => {
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                             Upgrade: websocket\r\n\r\n"
                    }
                    false => "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (service.await, read)
}

#[tokio::test]
async fn a_preflight_of_a_stranger_opens_no_tunnel() {
    let (service, read) = agreeing().await;
    let config =
        format!("[[login]]\ndialect = \"native\"\n{}", service.config("", "cors = \"upstream\""));
    let gateway = Gateway::builder().config(&config).start().await;
    let ask = |method: &str| {
        format!(
            "{method} /socket HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
             Access-Control-Request-Method: PUT\r\nConnection: upgrade, close\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nbytes of a stranger"
        )
    };

    let answer = raw_exchange(&gateway.client(), ask("OPTIONS").as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let seen = String::from_utf8_lossy(&read.lock().unwrap()).to_ascii_lowercase();
    assert!(seen.starts_with("options /socket"), "{seen}");
    assert!(!seen.contains("\r\nupgrade:") && !seen.contains("stranger"), "{seen}");
}

#[tokio::test]
async fn a_websocket_is_opened_by_no_method_but_get() {
    for (method, status) in [("GET", "101"), ("POST", "204"), ("OPTIONS", "204"), ("PUT", "204")] {
        let (service, read) = agreeing().await;
        let config = service.config("", "auth = []");
        let gateway = Gateway::builder().config(&config).start().await;
        let mut stream = gateway.client().connect().await;
        let ask = format!(
            "{method} /socket HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await.unwrap();

        let mut answer = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();

        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(answer, format!("HTTP/1.1 {status}"), "{method}");
        let seen = String::from_utf8_lossy(&read.lock().unwrap()).to_ascii_lowercase();
        assert_eq!(seen.contains("upgrade: websocket"), method == "GET", "{method}: {seen}");
    }
}

#[tokio::test]
async fn a_preflight_of_a_stranger_brings_no_body() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::builder().login("native").route_to(&upstream, "cors = \"upstream\"").start().await;
    let client = gateway.client();

    let with_length = preflight(client.call(Method::OPTIONS, "/")).body("of a stranger");
    with_length.send().await.assert_status(400);
    let chunked = "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
                   Access-Control-Request-Method: PUT\r\nTransfer-Encoding: chunked\r\n\
                   Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = raw_exchange(&client, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    upstream.assert_untouched();

    preflight(client.call(Method::OPTIONS, "/")).send().await.assert_status(200);
    assert_eq!(upstream.only().body.len(), 0);
}
