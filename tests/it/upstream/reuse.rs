//! Which connections are not used again, and that a name's addresses are all tried.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tollhouse::settings::ServerAddress;

use crate::harness::scripted_upstream::{GET, OK, ScriptedUpstream, server, settings_to};

const POST: &str = "POST /a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nhi";

#[tokio::test]
async fn an_upstream_is_believed_how_long_it_waits() {
    for (field, reused) in [("timeout=1", false), ("timeout=5, max=100", true), ("max=1", true)] {
        let fake = ScriptedUpstream::start().await;
        let gate = settings_to(vec![fake.server()]).start().await;
        let mut client = gate.ask(GET).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream
            .send(format!("HTTP/1.1 200 OK\r\nKeep-Alive: {field}\r\nContent-Length: 2\r\n\r\nok"))
            .await;
        client.until("ok").await;

        client.send(POST).await;
        if !reused {
            assert_eq!(upstream.rest().await, b"", "{field}");
            upstream = fake.accept().await;
        }
        upstream.until("hi").await;
        upstream.send(OK).await;

        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"), "{field}");
    }
}

#[tokio::test]
async fn a_connection_that_says_it_ends_or_says_too_much_is_not_used_again() {
    for (answer, why) in [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "it ends"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "it is of HTTP/1.0"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", "it says more"),
    ] {
        let fake = ScriptedUpstream::start().await;
        let gate = settings_to(vec![fake.server()]).start().await;
        let mut client = gate.ask(GET).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send(answer).await;
        client.until("ok").await;

        client.send(POST).await;
        let mut next = fake.accept().await;
        next.until("hi").await;
        next.send(OK).await;

        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"), "{why}");
        assert_eq!(upstream.rest().await, b"", "{why}");
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_by_half_is_not_used_again() {
    let fake = ScriptedUpstream::start().await;
    let gate = settings_to(vec![fake.server()]).start().await;
    let mut client = gate.ask(GET).await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(OK).await;
    client.until("ok").await;

    upstream.shutdown().await.unwrap();
    client.send(POST).await;
    let mut next = fake.accept().await;
    next.until("hi").await;
    next.send(OK).await;

    assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
    assert_eq!(upstream.rest().await, b"");
}

#[tokio::test]
async fn an_address_of_a_name_where_nobody_listens_is_passed_over() {
    let fake = ScriptedUpstream::start().await;
    let port = fake.address().port();
    // Also `::1`, on most machines.
    let named = ServerAddress::Tcp { host: "localhost".to_owned(), port, tls: false };
    let mut settings = settings_to(vec![server(named)]);
    settings.upstream.calls.retries = 0;
    settings.upstream.calls.resolve = Duration::ZERO;
    let gate = settings.start().await;

    for _ in 0..4 {
        let mut client = gate.ask(GET).await;
        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        assert!(client.until("ok").await.starts_with("HTTP/1.1 200"));
    }
}
