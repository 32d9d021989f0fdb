//! Bodies and trailers through a whole gateway: whole, in both directions, and never hoarded.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::harness::client::PATIENCE;
use crate::harness::scripted_upstream::{ScriptedUpstream, UpstreamConnection};
use crate::harness::tls_gateway::{TlsGateway, route_to};
use crate::harness::{Gateway, Upstream};

const PIECE: usize = 64 * 1024;
const LARGE: usize = 64 * 1024 * 1024;
/// More than the kernel's buffers on both sides of the gateway hold.
const HELD_AT_MOST: usize = 40 * 1024 * 1024;

/// A connection that takes nothing for so long is blocked, not slow.
const BLOCKED: Duration = Duration::from_secs(1);

fn bytes(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

async fn large(fake: &ScriptedUpstream) -> Gateway {
    let keys = "auth = []\nbody_limit = \"100MiB\"";
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", keys);
    Gateway::builder().config(&config).start().await
}

/// Writes up to `LARGE` bytes until nobody takes more; answers how many were taken.
async fn write_until_blocked(peer: &mut UpstreamConnection) -> usize {
    let piece = vec![b'x'; PIECE];
    let mut written = 0;
    while written < LARGE {
        let length = PIECE.min(LARGE - written);
        match timeout(BLOCKED, peer.write(&piece[..length])).await {
            Ok(count) => written += count.unwrap(),
            Err(_) => break,
        }
    }
    written
}

/// Writes what is left of `LARGE` while the other side reads.
async fn write_rest(peer: &mut UpstreamConnection, written: usize) {
    let rest = vec![b'x'; LARGE - written];
    peer.write_all(&rest).await.unwrap();
}

async fn read_large(peer: &mut UpstreamConnection) {
    let mut piece = vec![0; PIECE];
    let mut left = LARGE;
    while left > 0 {
        let length = PIECE.min(left);
        let read = timeout(PATIENCE, peer.read(&mut piece[..length])).await.unwrap().unwrap();
        assert!(read > 0, "{left} bytes are missing");
        left -= read;
    }
}

#[tokio::test]
async fn an_upload_waits_for_a_slow_upstream_and_is_not_hoarded() {
    let fake = ScriptedUpstream::start().await;
    let gateway = large(&fake).await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let mut upstream = fake.accept().await;

    let written = write_until_blocked(&mut client).await;

    assert!(written < HELD_AT_MOST, "{written} bytes were taken from the client");
    let reading = async {
        // Exactly the head, so that the rest can be counted.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(upstream.read_u8().await.unwrap());
        }
        read_large(&mut upstream).await;
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    };
    tokio::join!(write_rest(&mut client, written), reading);
    assert!(client.head().await.starts_with("http/1.1 200 "));
}

#[tokio::test]
async fn a_download_waits_for_a_slow_client_and_is_not_hoarded() {
    let fake = ScriptedUpstream::start().await;
    let gateway = large(&fake).await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = fake.accept().await;
    upstream.head().await;
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;

    let written = write_until_blocked(&mut upstream).await;

    assert!(written < HELD_AT_MOST, "{written} bytes were taken from the upstream");
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        read_large(&mut client).await;
    };
    tokio::join!(write_rest(&mut upstream, written), reading);
}

#[tokio::test]
async fn a_mebibyte_passes_both_ways_unchanged_over_http1_and_http2() {
    let upstream = Upstream::answering(|received| {
        Response::new(received.body.iter().rev().copied().collect())
    })
    .await;
    let secure = TlsGateway::new();
    let gateway = secure.builder().route_to(&upstream, "auth = []").start().await;
    let sent = bytes(1024 * 1024);
    let reversed: Bytes = sent.iter().rev().copied().collect();

    for http2 in [false, true] {
        let reply = secure.client(&gateway, http2).post("/").body(sent.clone()).send().await;

        assert!(reply.body == reversed, "HTTP/2: {http2}");
        assert!(upstream.last().body == sent, "HTTP/2: {http2}");
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_the_next_one_is_read_right() {
    let fake = ScriptedUpstream::start().await;
    let gateway = large(&fake).await;
    let mut client = UpstreamConnection::new(gateway.client().connect().await);
    let mut upstream = None;

    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let upstream = match &mut upstream {
            Some(upstream) => upstream,
            none => none.insert(fake.accept().await),
        };
        upstream.head().await;
        upstream.send(answer).await;
        let head = client.head().await;

        let status = answer.split(' ').nth(1).unwrap();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{method} {answer}: {head}");
        assert!(!head.contains("content-length: 5") || method == "HEAD" || status == "304");
    }
    assert!(client.is_silent(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn trailers_pass_both_ways_for_an_http2_client() {
    let fake = ScriptedUpstream::start().await;
    let secure = TlsGateway::new();
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", "auth = []");
    let gateway = secure.builder().config(&config).start().await;
    let io = TokioIo::new(secure.client(&gateway, true).connect().await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::task::spawn(connection);
    let trailers = HeaderMap::from_iter([
        ("x-sum".parse().unwrap(), "7".parse().unwrap()),
        ("x-auth-subject".parse().unwrap(), "root".parse().unwrap()),
    ]);
    let frames = [Frame::data(Bytes::from_static(b"hi")), Frame::trailers(trailers)];
    let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
    let request = Request::post("https://localhost/")
        .header("te", "trailers")
        .header("trailer", "x-sum, x-auth-subject")
        .body(StreamBody::new(frames))
        .unwrap();

    let answering = async {
        let mut upstream = fake.accept().await;
        let head = upstream.head().await;
        let body = upstream.until("\r\n\r\n").await.to_ascii_lowercase();
        upstream
            .send(
                "HTTP/1.1 200 OK\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\nX-Check: 9\r\n\r\n",
            )
            .await;
        (head, body)
    };
    let (response, (head, body)) = tokio::join!(sender.send_request(request), answering);
    let answer = response.unwrap().into_body().collect().await.unwrap();

    assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
    assert!(body.contains("x-sum: 7") && !body.contains("x-auth"), "{body}");
    assert_eq!(answer.trailers().unwrap()["x-check"], "9");
    assert_eq!(answer.to_bytes(), "ok");
}
