//! WebSockets that are not opened: by the gateway's rules, or because an answer is no agreement.

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BOTH, By, EchoWebSocket, Front};
use crate::harness::{Service, ServiceProtocol};

#[tokio::test]
async fn a_connect_is_decided_as_a_get_of_its_path_would_be() {
    for (route, token, status, why) in [
        ("", None, 401, "no credential"),
        ("", Some("a.b.c"), 401, "a bad one"),
        ("require = { roles = [\"nobody\"] }", Some(""), 403, "no role"),
        ("auth = []\nmethods = [\"POST\", \"PUT\"]", None, 405, "GET is not taken"),
    ] {
        let parrot = EchoWebSocket::start(ServiceProtocol::Http1, false).await;
        let front = Front::before(&parrot.service.config("", route)).await;
        let good = front.token().await;
        let token = token.map(|token| if token.is_empty() { &good } else { token });

        for by in BOTH {
            let refused = front.open(by, token).await;
            assert_eq!(refused.err().map(|status| status.as_u16()), Some(status), "{why}: {by:?}");
        }
        assert_eq!(parrot.service.accepted(), 0, "{why}: the upstream saw nothing");
    }
}

#[tokio::test]
async fn no_other_connect_is_taken() {
    let parrot = EchoWebSocket::start(ServiceProtocol::Http1, false).await;
    let front = Front::before(&parrot.service.config("", "auth = []")).await;

    for (protocol, status) in [(None, 405), (Some("connect-udp"), 501), (Some("webtransport"), 501)]
    {
        let answer = front.connect(protocol, "/socket", None).await;
        assert_eq!(answer.status().as_u16(), status, "{protocol:?}");
    }
    assert_eq!(parrot.service.accepted(), 0, "the upstream saw nothing");
}

#[tokio::test]
async fn an_answer_of_the_gateways_own_is_never_taken_for_a_tunnel() {
    let parrot = EchoWebSocket::start(ServiceProtocol::Http1, false).await;
    let health = "[health]\npath = \"/healthz\"\n";
    let config = format!("{health}{}", parrot.service.config("", "auth = []"));
    let front = Front::before(&config).await;

    for path in ["/healthz", "/.well-known/jwks.json"] {
        let answer = front.connect(Some("websocket"), path, None).await;
        assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("not_implemented"), "{body:?}");
    }
    assert_eq!(parrot.service.accepted(), 0, "the upstream saw nothing");
}

/// An upstream that answers the first head it reads with `answer`.
async fn answering(answer: &'static str) -> Service {
    Service::start(ServiceProtocol::Http1, move |mut stream, _| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.read_to_end(&mut head).await;
    })
    .await
}

#[tokio::test]
async fn only_an_agreement_to_our_own_key_opens_a_tunnel() {
    for (answer, status, why) in [
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
            "an answer to another key",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            502,
            "no answer to the key",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 502, "a success without a tunnel"),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502, "another success"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403, "a refusal is passed on"),
    ] {
        let service = answering(answer).await;
        let front = Front::before(&service.config("", "auth = []")).await;

        let refused = front.open(By::Connect, None).await;

        assert_eq!(refused.err().map(|status| status.as_u16()), Some(status), "{why}");
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_asked_at_all_sees_a_plain_request() {
    let parrot = EchoWebSocket::start(ServiceProtocol::Plain, false).await;
    let front = Front::before(&parrot.service.config("", "auth = []")).await;

    for by in BOTH {
        let refused = front.open(by, None).await;
        assert_eq!(refused.err(), Some(StatusCode::UPGRADE_REQUIRED), "{by:?}");
    }
}
