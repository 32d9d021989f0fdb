//! HTTP/2, frame by frame, as no well-behaved client sends it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::client::{PATIENCE, Stream};
use crate::harness::http2_frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame,
};
use crate::harness::tls_gateway::TlsGateway;
use crate::harness::{Client, Gateway, Upstream};

/// A gateway that speaks HTTP/2 to whoever trusts its certificate.
async fn gateway(upstream: &Upstream) -> (Gateway, Client) {
    let secure = TlsGateway::new();
    let limits = "[listener.limits]\nstreams = 7\nheader_bytes = \"16KiB\"\nheader_count = 40";
    let builder = secure.builder_with(limits).process("drain_timeout = \"1s\"").login("native");
    let gateway = builder.route_to(upstream, "auth = []").start().await;
    let client = secure.client(&gateway, true);
    (gateway, client)
}

/// Fields as HPACK literals that nobody keeps (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}

const GOOD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];

async fn open(client: &Client) -> Box<dyn Stream> {
    let mut stream = client.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// The next frame: kind and payload, or `None` at the end.
async fn read(stream: &mut Box<dyn Stream>) -> Option<(u8, Vec<u8>)> {
    read_numbered(stream).await.map(|(kind, _, payload)| (kind, payload))
}

/// The next frame: kind, number of its stream and payload, or `None` at the end.
async fn read_numbered(stream: &mut Box<dyn Stream>) -> Option<(u8, u32, Vec<u8>)> {
    let reading = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], number, payload))
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("a frame in time")
}

/// Sends one request; what the stream or connection came to.
async fn outcome(client: &Client, fields: &[(&str, &str)]) -> &'static str {
    let mut stream = open(client).await;
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
    stream.write_all(&request).await.unwrap();
    outcome_of(&mut stream, 1).await
}

/// What stream `number` or its connection came to.
async fn outcome_of(stream: &mut Box<dyn Stream>, number: u32) -> &'static str {
    loop {
        match read_numbered(stream).await {
            Some((RST_STREAM, on, _)) if on == number => return "reset",
            Some((GOAWAY, ..)) | None => return "closed",
            // 0x8d and its neighbours are indexed statuses; 200 is 8 in the static table.
            Some((HEADERS, on, payload)) if on == number => {
                return if payload.first() == Some(&0x88) { "200" } else { "refused" };
            }
            Some(_) => {}
        }
    }
}

/// A request's fields for `method` and `path`.
fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let [_, scheme, authority, _] = GOOD;
    block(&[&[(":method", method), scheme, authority, (":path", path)], more].concat())
}

#[tokio::test]
async fn malformed_requests_are_no_requests() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = gateway(&upstream).await;
    for (field, why) in [
        (("connection", "close"), "a field of HTTP/1 connections"),
        (("keep-alive", "timeout=5"), "keep-alive"),
        (("proxy-connection", "close"), "proxy-connection"),
        (("transfer-encoding", "chunked"), "chunks"),
        (("upgrade", "websocket"), "an upgrade"),
        (("te", "gzip"), "TE other than trailers"),
        (("X-Upper", "a"), "upper case"),
        (("x-a", "b\r\nx-auth-subject: c"), "a line break in a value"),
        (("x-a", "b\nc"), "LF"),
        (("x-a", "b\0c"), "NUL"),
        (("x a", "b"), "a space in a name"),
        (("x:a", "b"), "a colon in a name"),
        (("", "b"), "no name"),
        ((":path", "/two"), "two paths"),
        ((":status", "200"), "an answer's field"),
        ((":extra", "x"), "an unknown pseudo field"),
        (("content-length", "5"), "a length without a body"),
        (("content-length", "x"), "a length that is no number"),
        (("host", "other"), "another host"),
    ] {
        let outcome = outcome(&client, &[&GOOD[..], &[field]].concat()).await;
        assert_ne!(outcome, "200", "{why}");
        upstream.assert_untouched();
    }
    for (missing, why) in [(0, "no method"), (1, "no scheme"), (2, "no host"), (3, "no path")] {
        let mut fields = GOOD.to_vec();
        fields.remove(missing);
        assert_ne!(outcome(&client, &fields).await, "200", "{why}");
    }
    for (path, why) in [
        ("", "an empty path"),
        ("x", "no slash"),
        ("//x", "two slashes"),
        ("/a b", "a space"),
        ("/a\\b", "a backslash"),
        ("/%2e%2e/x", "dots"),
        ("https://other/", "a whole address"),
    ] {
        let mut fields = GOOD;
        fields[3].1 = path;
        assert_ne!(outcome(&client, &fields).await, "200", "{why}");
    }
    upstream.assert_untouched();
    assert_eq!(outcome(&client, &GOOD).await, "200", "and a good one is one");
}

#[tokio::test]
async fn limits_are_announced_and_held() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = gateway(&upstream).await;
    let mut stream = open(&client).await;
    let settings = loop {
        match read(&mut stream).await {
            Some((SETTINGS, payload)) if !payload.is_empty() => break payload,
            Some(_) => {}
            None => panic!("no settings"),
        }
    };
    let value = |wanted: u16| {
        settings
            .chunks(6)
            .find(|one| u16::from_be_bytes([one[0], one[1]]) == wanted)
            .map(|one| u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
    };
    assert_eq!(value(3), Some(7), "streams at once");
    assert_eq!(value(6), Some(16 << 10), "bytes of a head");

    let many: Vec<(String, String)> = (0..41).map(|n| (format!("x-{n}"), "y".into())).collect();
    let many = many.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let fields: Vec<(&str, &str)> = GOOD.into_iter().chain(many).collect();
    assert_eq!(outcome(&client, &fields).await, "refused", "more fields than the limit");
    upstream.assert_untouched();
}

/// Writes until the other side is done with us; true if it was before all was written.
async fn flood(client: &Client, opening: &[u8], piece: &[u8], times: usize) -> bool {
    let (mut reading, mut writing) = tokio::io::split(open(client).await);
    let ended = tokio::task::spawn(async move {
        let mut all = Vec::new();
        let _ = reading.read_to_end(&mut all).await;
    });
    let flooding = async {
        writing.write_all(opening).await?;
        for _ in 0..times {
            writing.write_all(piece).await?;
        }
        writing.flush().await
    };
    let wrote = flooding.await;
    if wrote.is_err() {
        return true;
    }
    tokio::time::timeout(PATIENCE, ended).await.is_ok()
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = gateway(&upstream).await;
    let opening = frame(HEADERS, END_STREAM, 1, &block(&GOOD));
    let piece = frame(CONTINUATION, 0, 1, &block(&[("x-flood", "y")]));

    assert!(flood(&client, &opening, &piece, 100_000).await);

    upstream.assert_untouched();
}

#[tokio::test]
async fn whoever_opens_and_resets_without_end_is_sent_away() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = gateway(&upstream).await;
    // Malformed, so that each costs us an answer: 20,000 streams in one go.
    let bad = block(&[&GOOD[..], &[("connection", "close")]].concat());
    let mut all = Vec::new();
    for number in 0..20_000 {
        all.extend(frame(HEADERS, END_STREAM | END_HEADERS, number * 2 + 1, &bad));
    }

    assert!(flood(&client, &all, &[], 0).await);

    upstream.assert_untouched();
    assert_eq!(outcome(&client, &GOOD).await, "200", "others are served");
}

#[tokio::test]
async fn data_on_a_stream_of_length_0_was_refused_after_it_was_forwarded() {
    for method in ["POST", "GET"] {
        let upstream = Upstream::start().await;
        let (_gateway, client) = gateway(&upstream).await;
        let mut stream = open(&client).await;
        let head = request(method, "/first", &[("content-length", "0")]);
        stream.write_all(&frame(HEADERS, END_HEADERS, 1, &head)).await.unwrap();
        // Once two later ones are answered, the first has been where it was going.
        for (number, path) in [(3, "/second"), (5, "/third")] {
            let head = request("GET", path, &[]);
            let later = frame(HEADERS, END_STREAM | END_HEADERS, number, &head);
            stream.write_all(&later).await.unwrap();
            assert_eq!(outcome_of(&mut stream, number).await, "200");
        }

        stream.write_all(&frame(DATA, END_STREAM, 1, b"smuggled")).await.unwrap();

        assert_ne!(outcome_of(&mut stream, 1).await, "200", "{method}");
        let seen: Vec<String> = upstream.received().into_iter().map(|one| one.target).collect();
        assert_eq!(seen, ["/second", "/third"], "{method}");
    }
}

#[tokio::test]
async fn a_stream_of_length_0_may_end_late() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = gateway(&upstream).await;
    let trailers = block(&[("x-late", "y")]);
    for end in [
        frame(DATA, END_STREAM, 1, &[]),
        [frame(DATA, 0, 1, &[]), frame(DATA, END_STREAM, 1, &[])].concat(),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers),
    ] {
        let mut stream = open(&client).await;
        let head = request("POST", "/", &[("content-length", "0")]);
        stream.write_all(&frame(HEADERS, END_HEADERS, 1, &head)).await.unwrap();
        stream.write_all(&end).await.unwrap();

        assert_eq!(outcome_of(&mut stream, 1).await, "200");
        let received = upstream.last();
        assert_eq!(received.header("content-length"), Some("0"));
        assert_eq!(received.header("transfer-encoding"), None);
    }
}

/// The library below us leaves them out before anybody is told, so there is nothing to refuse: what
/// counts is that the upstream is told nothing by them either.
#[tokio::test]
async fn pseudo_headers_in_trailers_go_nowhere() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = gateway(&upstream).await;
    let pseudo = [(":method", "DELETE"), (":path", "/other"), (":authority", "other")];
    for (field, body) in [(None, "x"), (Some(("content-length", "0")), "")] {
        let mut stream = open(&client).await;
        let head = request("POST", "/first", field.as_slice());
        let all = [
            frame(HEADERS, END_HEADERS, 1, &head),
            frame(DATA, 0, 1, body.as_bytes()),
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&pseudo)),
        ];
        stream.write_all(&all.concat()).await.unwrap();

        assert_eq!(outcome_of(&mut stream, 1).await, "200");
        let received = upstream.last();
        assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/first"));
        assert_eq!(received.body, body.as_bytes());
        assert_eq!(received.header("host"), Some("localhost"));
    }
}

#[tokio::test]
async fn an_extended_connect_that_is_not_offered_reaches_no_upstream() {
    let upstream = Upstream::start().await;
    let (_gateway, client) = gateway(&upstream).await;
    for (method, protocol, why) in [
        ("CONNECT", "connect-udp", "another protocol"),
        ("CONNECT", "webtransport", "another protocol"),
        ("CONNECT", "", "no protocol"),
        ("GET", "websocket", "no CONNECT"),
        ("POST", "websocket", "no CONNECT"),
    ] {
        let mut fields = [&GOOD[..], &[(":protocol", protocol)]].concat();
        fields[0].1 = method;
        assert_ne!(outcome(&client, &fields).await, "200", "{method} {protocol:?}: {why}");
        upstream.assert_untouched();
    }
    let plain = [(":method", "CONNECT"), (":authority", "localhost")];
    assert_ne!(outcome(&client, &plain).await, "200", "a tunnel");
    upstream.assert_untouched();
}
