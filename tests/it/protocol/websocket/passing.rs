//! What passes an open WebSocket, and how it was asked for.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{BOTH, By, EchoWebSocket, Front, UPSTREAMS};
use crate::harness::ServiceProtocol;
use crate::harness::client::PATIENCE;
use crate::harness::scripted_upstream::eventually;
use crate::harness::tls_gateway::TlsGateway;
use crate::protocol::streams::{Socket, assert_echo};

/// The next message, pings and pongs included.
async fn next(socket: &mut Socket) -> Message {
    timeout(PATIENCE, socket.next()).await.expect("a message in time").unwrap().unwrap()
}

#[tokio::test]
async fn messages_of_every_kind_pass_whatever_both_sides_speak() {
    for (over, opens) in UPSTREAMS {
        let parrot = EchoWebSocket::start(over, opens).await;
        let front = Front::before(&parrot.service.config("", "")).await;
        let token = front.token().await;
        for by in BOTH {
            let mut socket = front.open(by, Some(&token)).await.unwrap();

            assert_echo(&mut socket, Message::text("hello")).await;
            assert_echo(&mut socket, Message::binary(vec![7; 1024 * 1024])).await;
            socket.send(Message::Ping("are you there".into())).await.unwrap();
            let pong = next(&mut socket).await;
            assert_eq!(pong, Message::Pong("are you there".into()), "{over:?} {by:?}");
            socket.close(None).await.unwrap();
            let ended = async { while let Some(Ok(_)) = socket.next().await {} };
            timeout(PATIENCE, ended).await.expect("both sides have closed");
        }

        eventually(|| front.gateway.access_log().len() == 3).await;
        let lines = front.gateway.access_log();
        let told = |line: usize| {
            let line = &lines[line];
            (line["http.request.method"].clone(), line["http.response.status_code"].clone())
        };
        assert_eq!(told(1), ("GET".into(), 101.into()), "by Upgrade");
        assert_eq!(told(2), ("GET".into(), 200.into()), "by CONNECT");
    }
}

#[tokio::test]
async fn an_upstream_that_closes_is_heard_with_its_reason() {
    for (over, opens) in UPSTREAMS {
        let parrot = EchoWebSocket::start(over, opens).await;
        let front = Front::before(&parrot.service.config("", "auth = []")).await;
        for by in BOTH {
            let mut socket = front.open(by, None).await.unwrap();

            socket.send(Message::text("bye")).await.unwrap();

            match next(&mut socket).await {
                Message::Close(Some(frame)) => {
                    assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Normal, "done"));
                }
                other => panic!("{over:?} {by:?}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn an_upstream_of_http1_is_asked_by_an_upgrade_with_a_key_of_ours() {
    let parrot = EchoWebSocket::start(ServiceProtocol::Http1, false).await;
    let front = Front::before(&parrot.service.config("", "")).await;
    let token = front.token().await;

    front.open(By::Connect, Some(&token)).await.unwrap();

    let (method, fields) = parrot.only();
    assert_eq!(method, Method::GET);
    assert_eq!(
        (&fields["connection"], &fields["upgrade"]),
        (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
    );
    assert_eq!(fields["sec-websocket-key"].len(), 24);
    assert_eq!(fields["x-auth-username"], "alice");
    assert!(!fields.contains_key("authorization"));
}

#[tokio::test]
async fn an_upstream_of_http2_is_asked_by_connect_where_it_lets_that() {
    let parrot = EchoWebSocket::start(ServiceProtocol::Http2, true).await;
    let front = Front::before(&parrot.service.config("", "")).await;
    let token = front.token().await;

    front.open(By::Upgrade, Some(&token)).await.unwrap();

    let (method, fields) = parrot.only();
    assert_eq!(method, Method::CONNECT);
    assert_eq!(fields["sec-websocket-version"], "13");
    assert_eq!(fields["x-auth-username"], "alice");
    for name in ["sec-websocket-key", "upgrade", "connection", "authorization"] {
        assert!(!fields.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_lets_no_websocket_be_opened_over_http2_is_asked_over_http1_from_then_on()
{
    let parrot = EchoWebSocket::start(ServiceProtocol::Both, false).await;
    let front = Front::before(&parrot.service.config("", "auth = []")).await;

    let mut first = front.open(By::Connect, None).await.unwrap();
    assert_echo(&mut first, Message::text("first")).await;
    assert_eq!(parrot.service.accepted(), 2, "one that found out, and one");
    let mut second = front.open(By::Upgrade, None).await.unwrap();
    assert_echo(&mut second, Message::text("second")).await;

    assert_eq!(parrot.service.accepted(), 3, "it is known by now");
}

#[tokio::test]
async fn a_websocket_that_went_back_to_http1_takes_the_place_of_one_connection() {
    let parrot = EchoWebSocket::start(ServiceProtocol::Both, false).await;
    let keys = "max_connections = 1\nqueue = { requests = 0 }";
    let front = Front::before(&parrot.service.config(keys, "auth = []")).await;

    let mut socket = front.open(By::Connect, None).await.unwrap();
    let refused = front.open(By::Upgrade, None).await;

    assert_eq!(refused.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_echo(&mut socket, Message::text("still there")).await;
    assert_eq!(parrot.service.accepted(), 2, "one that found out, and one in its place");
}

#[tokio::test]
async fn a_connection_whose_only_streams_are_tunnels_is_not_idle() {
    let parrot = EchoWebSocket::start(ServiceProtocol::Http1, false).await;
    let secure = TlsGateway::new();
    let keys = "timeouts = { keep_alive = \"1s\" }\n";
    let builder = secure.builder_with(keys).config(&parrot.service.config("", "auth = []"));
    let front = Front::start(&secure, builder).await;
    let mut socket = front.open(By::Connect, None).await.unwrap();

    // Longer than an idle connection is kept, with the time that it is given to end.
    sleep(Duration::from_secs(8)).await;

    assert_echo(&mut socket, Message::text("still here")).await;
}
