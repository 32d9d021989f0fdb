//! Clients that take their time with a body, and what it costs the others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::client::PATIENCE;
use crate::harness::scripted_upstream::{ScriptedUpstream, eventually};
use crate::harness::tls_gateway::route_to;
use crate::harness::{Gateway, Upstream};
use crate::security::admission::metric;

const OPEN: &str = "auth = []";

/// A gateway whose listener has these timeouts.
async fn gateway(timeouts: &str, config: &str) -> Gateway {
    let builder = Gateway::builder().process("body_memory = \"8MiB\"\ndrain_timeout = \"0s\"");
    let builder = builder.listener(&format!("[listener.timeouts]\n{timeouts}"));
    builder.config(config).start().await
}

/// Sends `piece` every 50 ms until there is an answer, which is read to its end.
async fn trickle(stream: TcpStream, piece: &str) -> String {
    let (mut reading, mut writing) = stream.into_split();
    let sending = async {
        while writing.write_all(piece.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let answering = async {
        let mut buffer = [0; 4096];
        // A connection that is cut has answered what was read.
        while let Ok(read @ 1..) = reading.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::select! {
        () = sending => {}
        end = tokio::time::timeout(PATIENCE, answering) => end.expect("an end in time"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn begin(gateway: &Gateway, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn slow_bodies_do_not_hold_an_upstreams_connections() {
    let upstream = Upstream::start().await;
    let config = route_to("few", &upstream.url(), "/", OPEN)
        .replace("[[route]]", "max_connections = 4\n[[route]]");
    let gateway = gateway("body_grace = \"3s\"", &config).await;

    let head = "POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n";
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..4 {
        slow.spawn(trickle(begin(&gateway, head).await, "x"));
    }
    // The least piece of memory is 256 bytes.
    let begun = async {
        while metric(&gateway, "tollhouse_body_memory_bytes").await < 4 * 256 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("all four are read into counted memory");
    for _ in 0..8 {
        gateway.client().get("/quick").send().await.assert_status(200);
        gateway.client().post("/quick").body("whole").send().await.assert_status(200);
    }

    assert_eq!(slow.len(), 4);
    assert!(slow.try_join_next().is_none(), "they were under way all the time");
    for answer in slow.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    }
    assert_eq!(upstream.received().len(), 16, "nothing of the slow ones");
    assert!(upstream.received().iter().all(|request| request.target == "/quick"));
    let line = gateway.access_log().into_iter().find(|line| line["url.path"] == "/slow").unwrap();
    assert!(line["cause"].as_str().unwrap().contains("less than 512 bytes"), "{line}");
}

#[tokio::test]
async fn a_streamed_body_that_trickles_is_cut_by_the_rate() {
    let fake = ScriptedUpstream::start().await;
    let config = route_to("fake", &format!("http://{}", fake.address()), "/", OPEN);
    let gateway = gateway("body_grace = \"500ms\"", &config).await;

    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = begin(&gateway, head).await;
    let (answer, mut upstream) = tokio::join!(trickle(stream, "1\r\nx\r\n"), fake.accept());

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let received = String::from_utf8(upstream.rest().await).unwrap();
    assert!(received.ends_with("1\r\nx\r\n"), "without the last chunk: {received}");
}

#[tokio::test]
async fn bodies_kept_for_a_retry_are_within_the_stated_memory() {
    const SIZE: usize = 60_000;
    let upstream = Upstream::start().await;
    let config = route_to("kept", &upstream.url(), "/", OPEN);
    let gateway = gateway("body_rate = \"0B\"", &config).await;

    // 2.4 MB of one client, whose eighth is one MiB: room for more than eight bodies, even if their
    // memory doubled as they grew.
    const FITTING: usize = 8;
    let head = format!(
        "PUT /kept HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut stream = begin(&gateway, &head).await;
        stream.write_all(&vec![b'x'; SIZE - 1]).await.unwrap();
        streams.push(stream);
        // One after another while they fit. Many that grow at once can take each other's room, so
        // that none of them is kept.
        let counted = (SIZE - 1) * streams.len().min(FITTING);
        let filled = async {
            while metric(&gateway, "tollhouse_body_memory_bytes").await < counted as u64 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, filled).await.expect("bodies are counted");
    }
    let bytes = metric(&gateway, "tollhouse_body_memory_bytes").await;
    assert!(bytes <= 1 << 20, "{bytes} bytes are held");

    for mut stream in streams {
        stream.write_all(b"y").await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time").unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "nobody is refused");
    }
    let received = upstream.received();
    assert_eq!(received.len(), 40);
    for request in received {
        assert_eq!(request.body.len(), SIZE);
        assert!(request.body.ends_with(b"xy") && request.body.starts_with(b"xx"));
    }
    eventually(|| gateway.access_log().len() == 40).await;
    assert_eq!(metric(&gateway, "tollhouse_body_memory_bytes").await, 0);
}

#[tokio::test]
async fn bodies_that_are_only_announced_keep_nobody_from_a_login() {
    let upstream = Upstream::start().await;
    let config = format!(
        "[[login]]\ndialect = \"native\"\n{}",
        route_to("kept", &upstream.url(), "/", OPEN)
    );
    let gateway = gateway("", &config).await;
    // Eight addresses announce all of their eighths, and send nothing.
    let mut held = Vec::new();
    for host in 2..10_u8 {
        for _ in 0..17 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, host], 0).into()).unwrap();
            let mut stream = socket.connect(gateway.address()).await.unwrap();
            let head = "PUT /kept HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            held.push(stream);
        }
    }
    // One more request on the same workers: the heads before it were read.
    for _ in 0..4 {
        gateway.client().get("/quick").send().await.assert_status(200);
    }

    let body = serde_json::json!({ "username": "alice", "password": "wrong" });
    let login = gateway.client().post("/auth/login").json(body).send().await;

    login.assert_status(401);
    assert_eq!(metric(&gateway, "tollhouse_body_memory_bytes").await, 0);
}
