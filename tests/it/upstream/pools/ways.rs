//! Checks go the way that requests go: a unix socket, HTTP/2. (TLS is `upstream::tls`.)

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tollhouse::settings::ServerAddress;
use tollhouse::upstream::ServerCondition;

use crate::harness::scripted_upstream::{
    OK, ScriptedUpstream, accept_unix, health, listen_unix, server, settings_to,
};

#[tokio::test]
async fn a_check_goes_to_a_unix_socket() {
    for (answer, expected) in
        [(OK, ServerCondition::Up), ("HTTP/1.1 500 Oops\r\n\r\n", ServerCondition::FailsChecks)]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let listener = listen_unix(&path);
        let mut settings = settings_to(vec![server(ServerAddress::Unix(path))]);
        settings.upstream.care.health = Some(health("/ping?full=1"));
        let gate = settings.start().await;

        let mut upstream = accept_unix(&listener).await;
        let head = upstream.head().await;
        upstream.send(answer).await;
        drop(upstream);
        gate.pool.checked_once().await;

        assert!(head.starts_with("get /ping?full=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: localhost\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert_eq!(gate.pool.snapshot().servers[0].condition, expected);
    }
}

#[tokio::test]
async fn a_check_speaks_http2_where_requests_do() {
    for (expected, status) in [(ServerCondition::Up, 200), (ServerCondition::FailsChecks, 503)] {
        let fake = ScriptedUpstream::start().await;
        let mut settings = settings_to(vec![fake.server()]);
        settings.upstream.http2 = true;
        settings.upstream.care.health = Some(health("/ping"));
        let gate = settings.start().await;

        let stream = fake.accept_raw().await;
        let address = fake.address().to_string();
        let service = service_fn(move |request: http::Request<Incoming>| {
            assert_eq!(request.uri().path(), "/ping");
            assert_eq!(request.uri().authority().unwrap().as_str(), address);
            let answer = http::Response::builder().status(status);
            async move { Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).unwrap()) }
        });
        let serving = tokio::task::spawn(async move {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
        gate.pool.checked_once().await;

        assert_eq!(gate.pool.snapshot().servers[0].condition, expected);
        // The connection ends with the check.
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), serving).await;
        ended.expect("it ends").unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed() {
    for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "", "SSH-2.0-OpenSSH_9\r\n"]
    {
        let fake = ScriptedUpstream::start().await;
        let mut settings = settings_to(vec![fake.server()]);
        settings.upstream.care.health = Some(health("/ping"));
        let gate = settings.start().await;

        let mut upstream = fake.accept().await;
        upstream.head().await;
        upstream.send(answer).await;
        drop(upstream);
        gate.pool.checked_once().await;

        let found = gate.pool.snapshot().servers[0].condition;
        assert_eq!(found, ServerCondition::FailsChecks, "{answer:?}");
    }
}
