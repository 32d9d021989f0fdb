//! Which connection a request goes out on, and when it goes out again.

use std::time::Duration;

use tollhouse::settings::{BalancePolicy, ServerAddress};
use tollhouse::upstream::{ForwardError, ServerCondition};

use crate::harness::scripted_upstream::{
    GET, OK, ScriptedUpstream, accept_unix, closed_port, eventually, listen_unix, server,
    settings_to, tcp,
};

const MOMENT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_was_read() {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![fake.server()]).start().await;
    let mut client = gate.client().await;

    client.send(GET).await;
    let mut upstream = fake.accept().await;
    let first = upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;
    client.send(GET).await;
    let second = upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;

    assert!(first.starts_with("get /a?b=%20c http/1.1\r\n"), "{first}");
    assert!(first.contains("\r\nhost: gateway:8443\r\n"), "{first}");
    assert!(second.starts_with("get /a?b=%20c http/1.1\r\n"), "{second}");
    eventually(|| {
        let server = &gate.pool.snapshot().servers[0];
        (server.in_flight, server.idle) == (0, 1)
    })
    .await;
}

#[tokio::test]
async fn however_answers_end_a_hundred_in_a_row_use_one_connection() {
    for (answer, end) in [
        (OK, "ok"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "0\r\n\r\n"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "\r\n\r\n"),
    ] {
        let fake = ScriptedUpstream::start().await;
        let gate = settings_to(vec![fake.server()]).start().await;
        let mut client = gate.client().await;
        client.send(GET).await;
        let mut upstream = fake.accept().await;

        for _ in 0..100 {
            upstream.head().await;
            // In pieces, so that the end of the body comes after the rest.
            let (most, last) = answer.split_at(answer.len() - 1);
            upstream.send(most).await;
            tokio::task::yield_now().await;
            upstream.send(last).await;
            client.until(end).await;
            client.send(GET).await;
        }
    }
}

#[tokio::test]
async fn a_connection_older_than_keep_alive_is_not_used_again() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.timeouts.keep_alive = Duration::ZERO;
    let gate = settings.start().await;
    let mut client = gate.client().await;

    for _ in 0..2 {
        client.send(GET).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send(OK).await;
        client.until("ok").await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_the_client_nothing() {
    for request in [GET, "POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi"] {
        let fake = ScriptedUpstream::start().await;
        let mut settings = settings_to(vec![fake.server()]);
        settings.upstream.calls.retries = 0;
        let gate = settings.start().await;
        let mut client = gate.client().await;
        client.send(GET).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send(OK).await;
        client.until("ok").await;

        drop(upstream);
        client.send(request).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send(OK).await;

        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_post_is_not_sent_twice_once_a_byte_was_written() {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![fake.server()]).start().await;
    let mut client = gate.client().await;
    client.send(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;

    client.send("POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi").await;
    upstream.head().await;
    drop(upstream);

    assert!(client.head().await.starts_with("http/1.1 502"));
    assert!(fake.is_untouched(MOMENT).await);
}

#[tokio::test]
async fn a_get_is_sent_once_more_on_a_new_connection_and_not_again() {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![fake.server()]).start().await;
    let mut client = gate.client().await;
    client.send(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;

    client.send(GET).await;
    upstream.head().await;
    drop(upstream);
    let mut upstream = fake.accept().await;
    upstream.head().await;
    drop(upstream);

    assert!(client.head().await.starts_with("http/1.1 502"));
    assert!(fake.is_untouched(MOMENT).await, "a new connection that breaks is a failure");
}

#[tokio::test]
async fn a_server_that_refuses_is_passed_over() {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![tcp(closed_port().await), fake.server()]).start().await;
    let request = "POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi";

    for _ in 0..4 {
        let mut client = gate.ask(request).await;
        let mut upstream = fake.accept().await;
        assert!(upstream.until("hi").await.contains("content-length: 2"));
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        client.until("ok").await;
    }

    let refused = &gate.pool.snapshot().servers[0];
    assert!(
        refused.failures == 1 && refused.condition == ServerCondition::Unreachable,
        "asked once, then passed over: {refused:?}"
    );
}

#[tokio::test]
async fn the_less_busy_of_two_servers_is_chosen() {
    let (one, other) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let mut settings = settings_to(vec![one.server(), other.server()]);
    settings.upstream.balance = BalancePolicy::LeastRequests;
    let gate = settings.start().await;
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

    let _waiting = gate.ask(GET).await;
    let (_busy, idle) = tokio::select! {
        busy = one.accept() => (busy, &other),
        busy = other.accept() => (busy, &one),
    };
    for _ in 0..5 {
        let mut client = gate.ask(GET).await;
        let mut upstream = idle.accept().await;
        upstream.head().await;
        upstream.send(answer).await;
        client.until("ok").await;
        eventually(|| gate.pool.snapshot().servers.iter().map(|s| s.in_flight).sum::<usize>() == 1)
            .await;
    }
}

#[tokio::test]
async fn servers_take_turns() {
    let (one, other) = (ScriptedUpstream::start().await, ScriptedUpstream::start().await);
    let gate = settings_to(vec![one.server(), other.server()]).start().await;

    for _ in 0..3 {
        let _first = gate.ask(GET).await;
        let _second = gate.ask(GET).await;
        tokio::join!(one.accept(), other.accept());
    }
}

#[tokio::test]
async fn without_retries_a_refusal_is_the_answer() {
    let mut settings = settings_to(vec![tcp(closed_port().await)]);
    settings.upstream.calls.retries = 0;
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;

    assert!(client.head().await.starts_with("http/1.1 502"));
    let errors = gate.errors.lock().unwrap();
    assert!(matches!(errors[..], [ForwardError::Connect { .. }]) && errors[0].safe_to_retry());
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.timeouts.first_byte = MOMENT;
    let gate = settings.start().await;

    let mut client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;

    assert!(client.head().await.starts_with("http/1.1 504"));
    upstream.head().await;
    assert_eq!(upstream.rest().await, b"", "its connection is given up");
}

#[tokio::test]
async fn a_slow_client_is_not_a_slow_upstream() {
    let fake = ScriptedUpstream::start().await;
    let mut settings = settings_to(vec![fake.server()]);
    settings.upstream.timeouts.first_byte = MOMENT;
    let gate = settings.start().await;

    let mut client =
        gate.ask("POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 4\r\n\r\nhi").await;
    let mut upstream = fake.accept().await;
    upstream.until("hi").await;
    assert!(client.is_silent(MOMENT * 3).await);
    client.send("ho").await;
    upstream.until("ho").await;
    upstream.send(OK).await;

    assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let gate = settings_to(vec![server(ServerAddress::Unix(path.clone()))]).start().await;

    let listener = listen_unix(&path);
    let (mut upstream, mut client) = tokio::join!(accept_unix(&listener), async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        gate.ask(GET).await
    });
    upstream.head().await;
    upstream.send(OK).await;

    assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![fake.server()]).start().await;

    let client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    drop(client);

    assert_eq!(upstream.rest().await, b"");
    eventually(|| gate.pool.snapshot().servers[0].in_flight == 0).await;
}

#[tokio::test]
async fn echo_answers_with_what_it_received() {
    let gate = settings_to(vec![server(ServerAddress::Echo)]).start().await;

    let mut client = gate
        .ask("POST /a?b HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        .await;

    client.head().await;
    let answer: serde_json::Value = serde_json::from_slice(&client.rest().await).unwrap();
    assert_eq!(answer["method"], "POST");
    assert_eq!((&answer["path"], &answer["query"]), (&"/a".into(), &"b".into()));
    assert_eq!(answer["body"], "hi");
    let lines = answer["headers"].as_array().unwrap();
    assert!(lines.contains(&serde_json::json!(["host", "gateway"])), "{lines:?}");
}
