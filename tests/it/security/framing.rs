//! HTTP/1 messages and their limits.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::client::PATIENCE;
use crate::harness::{Gateway, Upstream, raw_exchange};

/// A plain gateway with keys of its listener, and a route that is open to all.
async fn limited(upstream: &Upstream, keys: &str) -> Gateway {
    let builder = Gateway::builder().process("drain_timeout = \"1s\"").listener(keys);
    builder.login("native").route_to(upstream, "auth = []").start().await
}

/// Reads until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let reading = stream.read_to_end(&mut text);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("it is closed in time");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let upstream = Upstream::start().await;
    let keys =
        "[listener.limits]\nheader_bytes = \"8KiB\"\nheader_count = 20\nuri_bytes = \"1KiB\"";
    let gateway = limited(&upstream, keys).await;
    let many = "X: y\r\n".repeat(30);
    let large = format!("X-Large: {}\r\n", "y".repeat(9000));
    for (target, fields, expected, why) in [
        ("/", many.as_str(), " 431 ", "thirty fields"),
        ("/", large.as_str(), " 431 ", "nine kilobytes"),
        (&format!("/{}", "a".repeat(1100)), "", " 414 ", "a long path"),
        (&format!("/?{}", "a".repeat(1100)), "", " 414 ", "a long query"),
        (&format!("/{}", "a".repeat(70_000)), "", " 4", "a path without end"),
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
        let answer = raw_exchange(&gateway.client(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1") && answer.contains(expected), "{why}: {answer}");
    }
    upstream.assert_untouched();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(raw_exchange(&gateway.client(), request.as_bytes()).await.contains(" 200 "));
}

#[tokio::test]
async fn messages_that_two_readers_could_read_differently_are_refused_and_closed() {
    let upstream = Upstream::start().await;
    let gateway = limited(&upstream, "").await;
    let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head, why) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3, 4", "a list"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6", "a list in one"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3", "hexadecimal"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3", "negative"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999", "overflow"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ", "empty"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3", "a space before the colon"),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "chunks in 1.0"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked", "chunks twice"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked", "no coding"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity", "not last"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked", "a space"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded", "a folded line"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb", "a bare CR"),
        ("GET / HTTP/1.1\r\nHost: a\r\n: empty", "an empty name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX(y): a", "an illegal name"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x01", "a control byte"),
        ("GET / HTTP/1.1\r\n Host: a", "a space before the first field"),
        ("GET /a b HTTP/1.1\r\nHost: a", "a space in the target"),
        ("GET http://b/ HTTP/1.1\r\nHost: a", "two hosts"),
        ("GET / HTTP/1.1\r\nHost:", "an empty Host"),
        ("GET / HTTP/1.1\r\nHost: a, b", "a list of hosts"),
        ("GET / HTTP/1.1\r\nHost: user@a", "a user in the Host"),
        ("GET / HTTP/1.1\r\nHost: a/b", "a path in the Host"),
        ("GET / HTTP/2.0\r\nHost: a", "another version"),
        ("GET  / HTTP/1.1\r\nHost: a", "two spaces"),
    ] {
        let request = format!("{head}\r\n\r\n{next}");
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(reading.is_ok(), "{why}: not closed after {answer}");
        // One answer, then the end: nothing after it was taken for a request.
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 501"),
            "{why}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{why}: {answer}");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_length_beside_chunks_never_goes_on_and_the_connection_ends() {
    let upstream = Upstream::start().await;
    let gateway = limited(&upstream, "").await;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                   1\r\nZ\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

    let answer = raw_exchange(&gateway.client(), request.as_bytes()).await;

    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    for received in upstream.received() {
        assert_eq!(received.target, "/x");
        assert_eq!(received.header("content-length"), None, "not both");
        assert_eq!(&received.body[..], b"Z");
    }
}

#[tokio::test]
async fn a_fragment_chooses_no_route_and_goes_nowhere() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder()
        .login("native")
        .route(&upstream, "/public", "auth = []")
        .route(&upstream, "/", "")
        .start()
        .await;
    // The HTTP library takes it off before we see it: what is left is matched and forwarded.
    for target in ["/private#/public", "/private#/../public", "/#public"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw_exchange(&gateway.client(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{target}: {answer}");
    }
    upstream.assert_untouched();

    let request = b"GET /public#/private HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    raw_exchange(&gateway.client(), request).await;
    assert!(upstream.received().iter().all(|received| received.target == "/public"));
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let upstream = Upstream::start().await;
    let keys = "[listener.limits]\nconnections_per_address = 2";
    let gateway = limited(&upstream, keys).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        held.push(stream);
    }

    let mut third = TcpStream::connect(gateway.address()).await.unwrap();
    // It may be closed before it is written to.
    let _ = third.write_all(request).await;
    assert_eq!(rest(&mut third).await, "", "closed without a word");
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(gateway.address()).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut other).await.contains(" 200 "), "another address has its own");
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn whoever_is_slow_is_cut_off() {
    let upstream = Upstream::start().await;
    let keys =
        "[listener.timeouts]\nheader = \"200ms\"\nbody_idle = \"200ms\"\nkeep_alive = \"200ms\"";
    let gateway = limited(&upstream, keys).await;
    for (sent, expected, why) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], "", "half a head"),
        (b"", "", "nothing at all"),
        (
            b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{",
            " 408 ",
            "half a body",
        ),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", " 200 ", "no second request"),
    ] {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let started = std::time::Instant::now();
        let answer = rest(&mut stream).await;
        assert!(answer.contains(expected), "{why}: {answer}");
        assert!(started.elapsed() < Duration::from_secs(10), "{why}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn every_answer_has_a_date_and_none_a_banner() {
    let upstream = Upstream::start().await;
    let gateway = limited(&upstream, "").await;
    let client = gateway.client();
    for path in ["/healthz", "/auth/login", "/", "/a%2fb", "/.well-known/jwks.json"] {
        let reply = client.get(path).send().await;
        assert!(reply.header("date").is_some(), "{path}");
        for name in ["server", "x-powered-by"] {
            assert_eq!(reply.header(name), None, "{path}: {name}");
        }
        let text = format!("{:?} {}", reply.headers, reply.text());
        for word in [env!("CARGO_PKG_VERSION"), "hyper", "rust"] {
            assert!(!text.to_lowercase().contains(word) || word.contains('.'), "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn cookies_of_the_upstream_stay_lines_of_their_own() {
    let upstream = Upstream::answering(|_| {
        http::Response::builder()
            .header("set-cookie", "a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT")
            .header("set-cookie", "b=2")
            .header("alt-svc", "h3=\":443\"")
            .body(bytes::Bytes::new())
            .unwrap()
    })
    .await;
    let gateway = limited(&upstream, "").await;

    let reply = gateway.client().get("/").send().await;

    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(reply.header("alt-svc"), None, "the upstream knows no way around us");
}
