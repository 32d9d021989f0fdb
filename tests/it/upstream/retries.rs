//! Which requests are sent again when a server breaks off or is silent, and how many.

use std::time::Duration;

use tollhouse::settings::BalancePolicy;

use crate::harness::scripted_upstream::{
    OK, PoolGateway, ScriptedUpstream, UpstreamConnection, closed_port, settings_to, tcp,
};

const MOMENT: Duration = Duration::from_millis(100);

const IDEMPOTENT: [&str; 5] = [
    "GET /a HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "HEAD /a HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "OPTIONS /a HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "DELETE /a HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi",
];

const ONCE: [&str; 2] = [
    "POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi",
    "PATCH /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi",
];

/// Two servers and a gate to them, with little patience for the first byte.
async fn pair() -> (ScriptedUpstream, ScriptedUpstream, PoolGateway) {
    let (one, other) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let mut settings = settings_to(vec![one.server(), other.server()]);
    settings.upstream.timeouts.first_byte = MOMENT * 3;
    (one, other, settings.start().await)
}

/// The server that is asked first, and the other.
async fn first<'a>(
    one: &'a ScriptedUpstream,
    other: &'a ScriptedUpstream,
) -> (UpstreamConnection, &'a ScriptedUpstream) {
    tokio::select! {
        asked = one.accept() => (asked, other),
        asked = other.accept() => (asked, one),
    }
}

/// Reads a request as `request` looks on the way to the upstream.
async fn read(upstream: &mut UpstreamConnection, request: &str) {
    upstream.head().await;
    if let Some(body) = request.split("\r\n\r\n").nth(1).filter(|body| !body.is_empty()) {
        upstream.until(body).await;
    }
}

#[tokio::test]
async fn an_idempotent_request_whose_server_breaks_off_goes_to_another() {
    for request in IDEMPOTENT {
        let (one, other, gate) = pair().await;

        let mut client = gate.ask(request).await;
        let (mut broken, second) = first(&one, &other).await;
        read(&mut broken, request).await;
        drop(broken);
        let mut upstream = second.accept().await;
        read(&mut upstream, request).await;
        upstream.send(OK).await;

        assert!(client.head().await.starts_with("http/1.1 200"), "{request}");
        assert_eq!(gate.pool.snapshot().retries, 1);
    }
}

#[tokio::test]
async fn an_idempotent_request_whose_server_is_silent_goes_to_another() {
    for request in IDEMPOTENT {
        let (one, other, gate) = pair().await;

        let mut client = gate.ask(request).await;
        let (mut silent, second) = first(&one, &other).await;
        read(&mut silent, request).await;
        let mut upstream = second.accept().await;
        read(&mut upstream, request).await;
        upstream.send(OK).await;

        assert!(client.head().await.starts_with("http/1.1 200"), "{request}");
    }
}

#[tokio::test]
async fn a_request_that_may_have_acted_is_not_sent_again() {
    for request in ONCE {
        for breaks in [true, false] {
            let (one, other, gate) = pair().await;

            let mut client = gate.ask(request).await;
            let (mut asked, second) = first(&one, &other).await;
            read(&mut asked, request).await;
            if breaks {
                drop(asked);
            }

            let status = if breaks { "502" } else { "504" };
            assert!(client.head().await.starts_with(&format!("http/1.1 {status}")), "{request}");
            assert!(second.is_untouched(MOMENT).await, "{request}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_in_memory_is_not_sent_again() {
    let long = "x".repeat(65 << 10);
    for (head, body) in [
        (format!("Content-Length: {}", long.len()), long),
        ("Transfer-Encoding: chunked".to_owned(), "2\r\nhi\r\n0\r\n\r\n".to_owned()),
    ] {
        let (one, other) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
        let mut settings = settings_to(vec![one.server(), other.server()]);
        settings.body_limit = 1 << 20;
        let gate = settings.start().await;

        let mut client = gate.client().await;
        client.send(format!("PUT /a HTTP/1.1\r\nHost: gateway\r\n{head}\r\n\r\n{body}")).await;
        let (mut broken, second) = first(&one, &other).await;
        broken.until(&body).await;
        drop(broken);

        assert!(client.head().await.starts_with("http/1.1 502"), "{head}");
        assert!(second.is_untouched(MOMENT).await, "{head}");
    }
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_tried_again_at_the_same_server() {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![fake.server()]).start().await;

    let mut client = gate.ask(IDEMPOTENT[0]).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    drop(upstream);

    assert!(client.head().await.starts_with("http/1.1 502"));
    assert!(fake.is_untouched(MOMENT).await);
}

#[tokio::test]
async fn a_connection_kept_for_long_may_break_once_even_at_the_only_server() {
    for (request, again) in [(IDEMPOTENT[0], true), (ONCE[0], false)] {
        let fake = ScriptedUpstream::start().await;
        let gate = settings_to(vec![fake.server()]).start().await;
        let mut client = gate.ask(IDEMPOTENT[0]).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send(OK).await;
        client.until("ok").await;

        tokio::time::sleep(Duration::from_millis(1100)).await;
        client.send(request).await;
        read(&mut upstream, request).await;
        drop(upstream);
        if again {
            let mut upstream = fake.accept().await;
            upstream.head().await;
            upstream.send(OK).await;
        }

        let status = if again { "200" } else { "502" };
        assert!(client.head().await.starts_with(&format!("http/1.1 {status}")), "{request}");
        assert!(fake.is_untouched(MOMENT).await);
    }
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let mut settings = settings_to(vec![tcp(closed_port().await), tcp(closed_port().await)]);
    settings.upstream.balance = BalancePolicy::LeastRequests;
    settings.upstream.calls.retry_budget = 20;
    let gate = settings.start().await;

    for _ in 0..20 {
        let mut client = gate.ask(IDEMPOTENT[0]).await;
        assert!(client.head().await.starts_with("http/1.1 502"));
    }

    let pool = gate.pool.snapshot();
    // The reserve of ten and a fifth of the requests.
    assert_eq!((pool.retries, pool.retries_refused), (14, 6));
    assert_eq!(pool.servers.iter().map(|server| server.failures).sum::<u64>(), 34);
}

#[tokio::test]
async fn retries_go_on_until_they_are_used_up() {
    let fake = ScriptedUpstream::start().await;
    let mut settings =
        settings_to(vec![tcp(closed_port().await), tcp(closed_port().await), fake.server()]);
    settings.upstream.calls.retries = 2;
    let gate = settings.start().await;

    for _ in 0..3 {
        let mut client = gate.ask(ONCE[0]).await;
        let mut upstream = fake.accept().await;
        read(&mut upstream, ONCE[0]).await;
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
    }
}
