//! Servers that take only so many connections, and the requests that wait for one.

use std::time::Duration;

use tollhouse::settings::UpstreamQueue;

use crate::harness::Gateway;
use crate::harness::scripted_upstream::{
    GET, OK, PoolSettings, ScriptedUpstream, eventually, settings_to,
};
use crate::harness::tls_gateway::route_to;

const MOMENT: Duration = Duration::from_millis(100);
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// `connections` to each server, and `requests` that may wait.
fn limited(fakes: &[&ScriptedUpstream], connections: usize, requests: usize) -> PoolSettings {
    let mut settings = settings_to(fakes.iter().map(|fake| fake.server()).collect());
    settings.upstream.calls.max_connections = Some(connections);
    settings.upstream.calls.queue = UpstreamQueue { requests, timeout: Duration::from_secs(10) };
    settings
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n")
}

#[tokio::test]
async fn who_waits_gets_the_connection_in_turn() {
    let fake = ScriptedUpstream::start().await;
    let gate = limited(&[&fake], 1, 10).start().await;
    let mut clients = Vec::new();

    for number in 0..4 {
        clients.push(gate.ask(&get(&format!("/{number}"))).await);
        eventually(|| gate.pool.snapshot().servers[0].in_flight == number + 1).await;
    }
    let mut upstream = fake.accept().await;
    for (number, client) in clients.iter_mut().enumerate() {
        let head = upstream.head().await;
        assert!(head.starts_with(&format!("get /{number} ")), "{head}");
        let waiting = gate.pool.snapshot().servers[0].waiting;
        assert_eq!(waiting, 3 - number);
        upstream.send(OK).await;
        client.until("ok").await;
    }

    assert!(fake.is_untouched(MOMENT).await, "one connection was enough");
}

#[tokio::test]
async fn a_closed_connection_makes_room_for_another() {
    let fake = ScriptedUpstream::start().await;
    let gate = limited(&[&fake], 1, 10).start().await;

    let mut first = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    let mut second = gate.ask(GET).await;
    eventually(|| gate.pool.snapshot().servers[0].waiting == 1).await;
    upstream.send(LAST).await;
    first.until("ok").await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(OK).await;

    assert!(second.until("ok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_finds_the_queue_full_or_waits_too_long_is_refused() {
    for (places, patience) in [(0, Duration::from_secs(10)), (1, MOMENT)] {
        let fake = ScriptedUpstream::start().await;
        let mut settings = limited(&[&fake], 1, places);
        settings.upstream.calls.queue.timeout = patience;
        let gate = settings.start().await;
        let _first = gate.ask(GET).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;

        let mut second = gate.ask(GET).await;

        assert!(second.head().await.starts_with("http/1.1 503"));
        assert!(upstream.is_silent(MOMENT).await && fake.is_untouched(MOMENT).await);
        assert!(gate.errors.lock().unwrap()[0].is_busy());
        assert_eq!(gate.pool.snapshot().servers[0].waiting, 0);
    }
}

#[tokio::test]
async fn who_leaves_the_queue_makes_room_in_it() {
    let fake = ScriptedUpstream::start().await;
    let gate = limited(&[&fake], 1, 1).start().await;
    let mut first = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    let waiting = gate.ask(&get("/gone")).await;
    eventually(|| gate.pool.snapshot().servers[0].waiting == 1).await;

    drop(waiting);
    eventually(|| gate.pool.snapshot().servers[0].waiting == 0).await;
    let mut third = gate.ask(&get("/third")).await;
    eventually(|| gate.pool.snapshot().servers[0].waiting == 1).await;
    upstream.send(OK).await;
    first.until("ok").await;

    assert!(upstream.head().await.starts_with("get /third "));
    upstream.send(OK).await;
    assert!(third.until("ok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_server_with_room_is_asked_before_anybody_waits() {
    let (one, other) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gate = limited(&[&one, &other], 2, 0).start().await;

    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(gate.ask(GET).await);
    }
    let (mut a, mut b) = tokio::join!(one.accept(), other.accept());
    let (mut c, mut d) = tokio::join!(one.accept(), other.accept());

    for upstream in [&mut a, &mut b, &mut c, &mut d] {
        upstream.head().await;
        upstream.send(OK).await;
    }
    for client in &mut clients {
        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_tunnel_holds_its_connection_until_it_ends() {
    let fake = ScriptedUpstream::start().await;
    let gate = limited(&[&fake], 1, 0).start().await;
    let upgrade =
        "GET /a HTTP/1.1\r\nHost: gateway\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

    let mut tunnel = gate.ask(upgrade).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(agreed).await;
    tunnel.head().await;
    let mut refused = gate.ask(GET).await;
    assert!(refused.head().await.starts_with("http/1.1 503"));
    drop((tunnel, upstream));
    eventually(|| gate.pool.snapshot().servers[0].in_flight == 0).await;

    let mut client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(OK).await;
    assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn kept_connections_are_all_workers_and_a_busy_server_is_503() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("few", &format!("http://{}", fake.address()), "/", "auth = []")
        .replace("[[route]]", "max_connections = 1\nqueue = { requests = 0 }\n[[route]]");
    let gateway = Gateway::builder().config(&config).start().await;
    let client = gateway.client();

    // Connections of clients, so many that each worker has some.
    let serving = async {
        let mut upstream = fake.accept().await;
        for _ in 0..20 {
            upstream.head().await;
            upstream.send(OK).await;
        }
        upstream
    };
    let asking = async {
        for number in 0..20 {
            let since = std::time::Instant::now();
            // A connection is given back a moment after the client has its answer.
            while client.get("/").send().await.status != 200 {
                assert!(since.elapsed() < MOMENT * 20, "{number}");
            }
        }
    };
    let (mut upstream, ()) = tokio::join!(serving, asking);
    let (_held, refused) = tokio::join!(
        async { tokio::time::timeout(MOMENT * 5, client.get("/held").send()).await },
        async {
            upstream.head().await;
            client.get("/refused").send().await
        }
    );

    refused.assert_status(503).assert_code("unavailable").assert_header("retry-after", "1");
    // The client that was held has left by now.
    assert!(fake.is_untouched(MOMENT).await && upstream.rest().await.is_empty());
}
