//! Upgrades: when a tunnel begins, and when it has to end.

use std::sync::Arc;
use std::time::Duration;

use tollhouse::clock::{Clock, TestClock, Timestamp};
use tollhouse::identity::SessionId;
use tollhouse::session::{OpenStreams, Revocations};
use tollhouse::upstream::{CancellationSources, ForwardError, RouteCancellation, StreamLifetime};

use crate::harness::scripted_upstream::{
    GET, OK, PoolGateway, ScriptedUpstream, UpstreamConnection, eventually, settings_to,
};

const MOMENT: Duration = Duration::from_millis(100);

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: gateway\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
const CLOSE_1008: &[u8] = &[0x88, 0x02, 0x03, 0xf0];

const SESSION: &str = "0190b2c4-7d3a-7000-8000-000000000001";

struct Session {
    id: SessionId,
    ends: Arc<CancellationSources>,
    clock: TestClock,
    expires: Timestamp,
}

impl Session {
    fn new() -> Self {
        let clock = TestClock::new(Timestamp::from_secs(1_000));
        let ends = CancellationSources {
            streams: OpenStreams::default(),
            revocations: Arc::new(Revocations::default()),
            entries: Default::default(),
            clock: Clock::test(clock.clone()),
        };
        let id = SessionId::parse(SESSION).unwrap();
        Self { id, ends: Arc::new(ends), clock, expires: Timestamp::from_secs(1_600) }
    }

    fn watch(&self) -> StreamLifetime {
        StreamLifetime {
            token: None,
            route: RouteCancellation::new(&self.ends),
            origin: Some(self.id.into()),
            tunnel_until: Some(self.expires),
            answer_until: None,
            notice: Duration::from_secs(1),
            max_tunnels: 8,
        }
    }
}

async fn gate(watch: Option<StreamLifetime>) -> (ScriptedUpstream, PoolGateway) {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.watch = watch;
    let gate = settings.start().await;
    (fake, gate)
}

async fn tunnel(
    fake: &ScriptedUpstream,
    gate: &PoolGateway,
) -> (UpstreamConnection, UpstreamConnection) {
    let mut client = gate.ask(ASK).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(AGREE).await;
    client.head().await;
    (client, upstream)
}

#[tokio::test]
async fn bytes_pass_both_ways_once_the_upstream_has_agreed() {
    let (fake, gate) = gate(None).await;

    let mut client = gate.ask(ASK).await;
    let mut upstream = fake.accept().await;
    let asked = upstream.head().await;
    upstream.send(format!("{AGREE}early")).await;
    let agreed = client.head().await;
    client.send("hello").await;
    upstream.until("hello").await;
    upstream.send("there").await;
    client.until("earlythere").await;

    assert!(asked.contains("upgrade: websocket") && asked.contains("connection: upgrade"));
    assert!(agreed.starts_with("http/1.1 101") && agreed.contains("upgrade: websocket"));
    assert!(agreed.contains("sec-websocket-accept: x"), "{agreed}");
    assert_eq!(gate.pool.snapshot().servers[0].in_flight, 1);
    drop(upstream);
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn bytes_sent_too_early_are_held_until_the_upstream_agrees() {
    let (fake, gate) = gate(None).await;

    let mut client = gate.ask(&format!("{ASK}early")).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    assert!(upstream.is_silent(MOMENT).await, "nothing before the 101");
    upstream.send(AGREE).await;

    client.head().await;
    upstream.until("early").await;
}

#[tokio::test]
async fn bytes_sent_too_early_are_a_request_of_their_own_if_the_upstream_refuses() {
    let (fake, gate) = gate(None).await;

    let smuggled = "GET /admin HTTP/1.1\r\nHost: gateway\r\nX-Auth-Subject: root\r\n\r\n";
    let mut client = gate.ask(&format!("{ASK}{smuggled}")).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    assert!(upstream.is_silent(MOMENT).await);
    upstream.send(OK).await;
    client.until("ok").await;
    let next = upstream.head().await;

    assert!(next.starts_with("get /admin") && !next.contains("x-auth-subject"), "{next}");
    assert!(next.contains("via: 1.1 tollhouse"), "it came through the gateway: {next}");
}

#[tokio::test]
async fn an_agreement_to_something_else_is_502() {
    for (answer, why) in [
        (AGREE.replace("WebSocket", "other"), "another protocol"),
        (AGREE.replace("Connection: Upgrade\r\n", ""), "no Connection"),
        (AGREE.replace("Upgrade: WebSocket\r\n", ""), "no Upgrade"),
    ] {
        let (fake, gate) = gate(None).await;
        let mut client = gate.ask(ASK).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send(answer).await;

        assert!(client.head().await.starts_with("http/1.1 502"), "{why}");
        assert_eq!(upstream.rest().await, b"", "{why}");
    }
}

#[tokio::test]
async fn a_request_with_a_body_is_no_upgrade() {
    let (fake, gate) = gate(None).await;
    let request = ASK.replace("GET", "POST").replace("Host", "Content-Length: 4\r\nHost");

    let mut client = gate.ask(&format!("{request}hi")).await;
    let mut upstream = fake.accept().await;
    let asked = upstream.head().await;
    upstream.send(AGREE).await;

    assert!(!asked.contains("\r\nupgrade:") && !asked.contains("connection: upgrade"), "{asked}");
    assert!(client.head().await.starts_with("http/1.1 502"));
}

#[tokio::test]
async fn a_web_socket_ends_with_its_session_by_a_close_frame() {
    let session = Session::new();
    let (fake, gate) = gate(Some(session.watch())).await;
    let (mut client, mut upstream) = tunnel(&fake, &gate).await;
    upstream.send(b"\x82\x02ab").await;
    client.until("ab").await;

    session.ends.streams.end(session.id);

    assert_eq!(client.rest().await, CLOSE_1008);
    assert_eq!(upstream.rest().await, b"");
    eventually(|| session.ends.streams.open() == 0).await;
}

#[tokio::test]
async fn a_web_socket_ends_with_its_token() {
    let session = Session::new();
    let (fake, gate) = gate(Some(session.watch())).await;
    let (mut client, mut upstream) = tunnel(&fake, &gate).await;

    session.clock.advance(Duration::from_secs(600));

    assert_eq!(client.rest().await, CLOSE_1008);
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn a_close_frame_does_not_cut_a_frame_in_two() {
    let session = Session::new();
    let (fake, gate) = gate(Some(session.watch())).await;
    let (mut client, mut upstream) = tunnel(&fake, &gate).await;
    upstream.send(b"\x82\x04ab").await;
    client.until("ab").await;

    session.ends.streams.end(session.id);
    assert!(client.is_silent(MOMENT).await, "the frame is not over");
    upstream.send(b"cd\x82\x02no").await;

    assert_eq!(client.rest().await, [b"cd", CLOSE_1008].concat());
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_cut_after_a_second() {
    let session = Session::new();
    let (fake, gate) = gate(Some(session.watch())).await;
    let (mut client, mut upstream) = tunnel(&fake, &gate).await;
    upstream.send(b"\x82\x04ab").await;
    client.until("ab").await;

    session.ends.streams.end(session.id);

    assert_eq!(client.rest().await, b"");
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn a_session_revoked_meanwhile_has_its_tunnel_closed_at_once() {
    let session = Session::new();
    session.ends.revocations.revoke_session(session.id, Timestamp::from_secs(9_999));
    let (fake, gate) = gate(Some(session.watch())).await;

    let (mut client, mut upstream) = tunnel(&fake, &gate).await;

    assert_eq!(client.rest().await, CLOSE_1008);
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn a_long_answer_ends_with_its_session_but_not_with_its_token() {
    let session = Session::new();
    let (fake, gate) = gate(Some(session.watch())).await;
    let mut client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    client.until("ab\r\n").await;

    session.clock.advance(Duration::from_secs(600));
    while session.ends.streams.open() == 0 {
        assert!(client.is_silent(MOMENT).await, "it goes on");
    }
    upstream.send("2\r\ncd\r\n").await;
    client.until("cd\r\n").await;
    session.ends.streams.end(session.id);

    assert_eq!(client.rest().await, b"", "cut short");
    assert_eq!(upstream.rest().await, b"");
    eventually(|| session.ends.streams.open() == 0).await;
}

#[tokio::test]
async fn a_client_has_the_notice_of_its_route_to_answer_a_close_frame() {
    for (notice, is_cut) in [(Duration::from_millis(50), true), (Duration::from_secs(60), false)] {
        let session = Session::new();
        let watch = StreamLifetime { notice, ..session.watch() };
        let (fake, gate) = gate(Some(watch)).await;
        let (mut client, mut upstream) = tunnel(&fake, &gate).await;

        session.ends.streams.end(session.id);

        assert_eq!(client.rest().await, CLOSE_1008);
        if is_cut {
            assert_eq!(upstream.rest().await, b"");
        } else {
            assert!(upstream.is_silent(MOMENT).await, "it waits for the client to leave");
            drop(client);
            assert_eq!(upstream.rest().await, b"");
        }
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_its_route_even_if_that_ended_before_it_began() {
    let session = Session::new();
    let route = RouteCancellation::new(&session.ends);
    let open = StreamLifetime {
        origin: None,
        tunnel_until: None,
        route: route.clone(),
        ..session.watch()
    };
    let (fake, gate) = gate(Some(open)).await;
    let (mut before, _upstream) = tunnel(&fake, &gate).await;

    route.announce();
    assert_eq!(before.rest().await, CLOSE_1008);
    let (mut after, _upstream) = tunnel(&fake, &gate).await;

    assert_eq!(after.rest().await, CLOSE_1008);
}

#[tokio::test]
async fn one_tunnel_too_many_is_refused_and_the_upstream_hears_nothing_of_it() {
    let session = Session::new();
    let (fake, gate) = gate(Some(StreamLifetime { max_tunnels: 2, ..session.watch() })).await;
    let first = tunnel(&fake, &gate).await;
    // One that the upstream refuses gives its place back.
    let mut refused = gate.ask(ASK).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(OK.replace("Content", "Connection: close\r\nContent")).await;
    refused.until("ok").await;
    eventually(|| session.ends.streams.open() == 1).await;
    let _second = tunnel(&fake, &gate).await;

    let mut third = gate.ask(ASK).await;
    assert!(
        third.head().await.starts_with("http/1.1 400"),
        "the gate's word for the client's fault"
    );
    assert!(fake.is_untouched(MOMENT).await);
    assert!(matches!(gate.errors.lock().unwrap()[0], ForwardError::Tunnels { limit: 2 }));

    drop(first);
    eventually(|| session.ends.streams.open() == 1).await;
    tunnel(&fake, &gate).await;
}
