//! Answers compressed on their way: by whose choice, and which never are.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};

use crate::harness::scripted_upstream::{ScriptedUpstream, UpstreamConnection};
use crate::harness::tls_gateway::{TlsGateway, route_to};
use crate::harness::{Client, Gateway, Reply, Upstream};

const ALL: &str = "auth = []\ncompression = true";

/// What every client of today sends.
const BROWSER: &str = "gzip, deflate, br, zstd";

fn text() -> String {
    "all work and no play makes jack a dull boy\n".repeat(100)
}

/// An upstream that answers with `text` and these fields.
async fn saying(fields: &'static [(&'static str, &'static str)]) -> Upstream {
    Upstream::answering(move |_| {
        let answer = Response::builder().header("content-type", "text/plain");
        let answer =
            fields.iter().fold(answer, |answer, (name, value)| answer.header(*name, *value));
        answer.body(Bytes::from(text())).unwrap()
    })
    .await
}

async fn ask(client: &Client, accepts: &str) -> Reply {
    client.get("/x").header("accept-encoding", accepts).send().await
}

/// What a program makes of compressed bytes.
fn expanded(program: &str, bytes: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_owned());
    let writing = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn an_answer_comes_in_the_coding_that_the_client_and_the_route_agree_on() {
    let upstream = saying(&[("etag", "\"v1\""), ("accept-ranges", "bytes")]).await;
    let all = Gateway::builder().route_to(&upstream, ALL).start().await;
    let some = "auth = []\ncompression = [\"gzip\", \"br\"]";
    let some = Gateway::builder().route_to(&upstream, some).start().await;

    for (gateway, accepts, coding, program) in [
        (&all, BROWSER, "zstd", "zstd"),
        (&all, "gzip;q=1, br;q=0.5", "gzip", "gzip"),
        (&all, "br", "br", "brotli"),
        (&some, BROWSER, "br", "brotli"),
        (&some, "zstd, gzip", "gzip", "gzip"),
    ] {
        let reply = ask(&gateway.client(), accepts).await;

        reply.assert_status(200).assert_header("content-encoding", coding);
        reply.assert_header("vary", "accept-encoding").assert_header("etag", "W/\"v1\"");
        assert_eq!(reply.header("accept-ranges"), None, "{accepts}");
        assert_eq!(expanded(program, &reply.body), text(), "{accepts}");
        assert!(reply.body.len() < text().len() / 10, "{accepts}");
    }
    let log = all.access_log();
    assert!(log[0]["bytes_out"].as_u64().unwrap() < 1000, "the log counts what is sent: {log:?}");
}

#[tokio::test]
async fn who_takes_no_coding_is_answered_plainly_and_caches_are_told() {
    let upstream = saying(&[("etag", "\"v1\"")]).await;
    let gateway = Gateway::builder().route_to(&upstream, ALL).start().await;

    for accepts in ["", "identity", "deflate", "gzip;q=0", "identity;q=0, snappy"] {
        let reply = ask(&gateway.client(), accepts).await;

        reply.assert_status(200).assert_header("vary", "accept-encoding");
        assert_eq!(reply.header("content-encoding"), None, "{accepts}");
        assert_eq!(reply.text(), text(), "{accepts}");
    }
}

#[tokio::test]
async fn a_route_that_does_not_say_so_compresses_nothing() {
    let upstream = saying(&[]).await;
    let gateway = Gateway::builder().route_to(&upstream, "auth = []").start().await;

    let reply = ask(&gateway.client(), BROWSER).await;

    assert_eq!(reply.header("content-encoding"), None);
    assert_eq!(reply.header("vary"), None);
    assert_eq!(upstream.only().header("accept-encoding"), Some(BROWSER), "it may do it itself");
}

#[tokio::test]
async fn what_is_secret_or_coded_already_is_left_as_it_is() {
    for (fields, why) in [
        (&[("set-cookie", "sid=1")][..], "a cookie"),
        (&[("authorization", "Bearer x")], "a token"),
        (&[("x-access-token", "x")], "half a pair"),
        (&[("cache-control", "private, No-Store")], "not to be stored"),
        (&[("cache-control", "no-transform")], "not to be changed"),
        (&[("content-encoding", "compress")], "coded by the upstream"),
        (&[("content-range", "bytes 0-9/100")], "a part"),
        (&[("content-digest", "sha-256=:AAAA:")], "its digest was taken"),
    ] {
        let upstream = saying(fields).await;
        let gateway = Gateway::builder().route_to(&upstream, ALL).start().await;

        let reply = ask(&gateway.client(), BROWSER).await;

        assert_ne!(reply.header("content-encoding").unwrap_or_default(), "zstd", "{why}");
        assert_eq!(reply.text(), text(), "{why}");
    }
}

#[tokio::test]
async fn small_answers_images_events_and_tokens_are_left_as_they_are() {
    let upstream = Upstream::answering(|asked| {
        let (kind, length) = asked.target.trim_start_matches('/').split_once('=').unwrap();
        let length: usize = length.parse().unwrap();
        let answer = Response::builder().header("content-type", kind);
        answer.body(Bytes::from(vec![b'a'; length])).unwrap()
    })
    .await;
    let gateway = Gateway::builder().route_to(&upstream, ALL).start().await;

    for (target, compressed) in [
        ("/text/html=1023", false),
        ("/text/html=1024", true),
        ("/application/json=2000", true),
        ("/image/png=2000", false),
        ("/image/svg+xml=2000", true),
        ("/Text/Event-Stream=2000", false),
        ("/application/grpc+proto=2000", false),
        ("/application/jwt=2000", false),
        ("/video/mp4=2000", false),
    ] {
        let call = gateway.client().get(target).header("accept-encoding", "gzip").send().await;

        assert_eq!(call.header("content-encoding").is_some(), compressed, "{target}");
    }
}

#[tokio::test]
async fn answers_of_our_own_are_never_compressed() {
    let upstream = saying(&[]).await;
    let gateway =
        Gateway::builder().login("native").route_to(&upstream, "compression = true").start().await;
    let login = serde_json::json!({
        "username": "alice", "password": crate::harness::gateway::PASSWORD
    });

    let client = gateway.client();
    let call = client.post("/auth/login").header("accept-encoding", "gzip").json(login);
    let token = call.send().await;
    let refused = ask(&client, "gzip").await;

    token.assert_status(200).member("access_token");
    refused.assert_status(401);
    for reply in [token, refused] {
        assert_eq!(reply.header("content-encoding"), None);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn head_and_answers_without_a_body_say_that_they_vary_and_have_no_coding() {
    let upstream = Upstream::answering(|asked| {
        let status = if asked.method == Method::HEAD { 200 } else { 304 };
        let answer = Response::builder().status(status).header("etag", "\"v1\"");
        answer.body(Bytes::new()).unwrap()
    })
    .await;
    let secure = TlsGateway::new();
    let config = route_to("main", &upstream.url(), "/", ALL);
    let gateway = secure.builder().config(&config).start().await;

    for http2 in [false, true] {
        let client = secure.client(&gateway, http2);
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 304)] {
            let call = client.call(method, "/x").header("accept-encoding", "gzip");
            let reply = call.send().await;

            reply.assert_status(status).assert_header("vary", "accept-encoding");
            assert_eq!(reply.header("content-encoding"), None);
            assert!(reply.body.is_empty());
        }
    }
}

#[tokio::test]
async fn what_an_upstream_has_flushed_comes_at_once() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", ALL);
    let gateway = Gateway::builder().config(&config).start().await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;

    let head = client.head().await;
    // The gzip head and what was flushed come before the upstream says more.
    let mut body = client.until("\r\n").await;
    while !client.is_silent(Duration::from_millis(200)).await {
        body.push_str(&client.until("\r\n").await);
    }

    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(body.len() > 20, "the head of gzip and five letters: {body:?}");
    upstream.send("4\r\nlast\r\n0\r\n\r\n").await;
    assert!(client.until("\r\n0\r\n\r\n").await.len() > 8);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", ALL);
    let gateway = Gateway::builder().config(&config).start().await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: zstd\r\n\r\n").await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    let half = format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{}", text());

    upstream.send(half).await;
    drop(upstream);

    let answer = client.rest().await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(!answer.ends_with(b"0\r\n\r\n"), "the end is not made up");
}
