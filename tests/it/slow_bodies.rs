//! Bodies that come slowly, and bodies that are held in memory for a second try.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::client::PATIENCE;
use crate::harness::{Gateway, Upstream};

/// An open route to an upstream that takes four connections.
fn limited(upstream: &Upstream) -> String {
    format!(
        "[[upstream]]\nname = \"few\"\nservers = [\"{}\"]\nmax_connections = 4\n\
         queue = {{ requests = 0 }}\n\
         [[route]]\npath = \"/\"\nupstream = \"few\"\nauth = []",
        upstream.url()
    )
}

/// The head of a POST of `length` bytes, and all of its body but the last byte.
async fn unfinished(gateway: &Gateway, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    let head = format!("POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; length - 1]).await.unwrap();
    stream
}

#[tokio::test]
async fn slow_bodies_do_not_hold_an_upstreams_connections() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().config(&limited(&upstream)).start().await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(unfinished(&gateway, 1000).await);
    }

    for number in 0..20 {
        let since = Instant::now();
        // A connection is given back a moment after its answer.
        while gateway.client().get("/fast").send().await.status != 200 {
            assert!(since.elapsed() < Duration::from_secs(5), "{number}");
        }
    }
    let heads = upstream.received().iter().filter(|seen| seen.target == "/slow").count();
    assert_eq!(heads, 0, "a small body is there before a connection is taken");

    for mut stream in slow.drain(..1) {
        stream.write_all(b"x").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_off_by_its_rate() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().config(&limited(&upstream)).start().await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let head = "POST /slow HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    writing.write_all(head.as_bytes()).await.unwrap();
    // Never idle for long, and never done.
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let since = Instant::now();

    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, reading.read_exact(&mut answer)).await.unwrap().unwrap();

    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(since.elapsed() >= Duration::from_secs(9), "after ten seconds of waiting");
    trickle.abort();
}

#[tokio::test]
async fn bodies_kept_for_a_second_try_are_within_the_stated_memory() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().head(HEAD).route_to(&upstream, "auth = []").start().await;
    let held = async || {
        let admin = gateway.running().admin_address().unwrap();
        let text = crate::harness::Client::plain(admin).get("/metrics").send().await.text();
        let line = text.lines().find(|line| line.starts_with("tollhouse_body_memory_bytes "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let head = "PUT /kept HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 59_999]).await.unwrap();
        slow.push(stream);
    }

    // An eighth of 8 MiB holds eight buffers of twice 60,000 bytes; all others stream through.
    let since = Instant::now();
    while held().await == 0 {
        assert!(since.elapsed() < PATIENCE, "none is held");
    }
    assert!(held().await <= (8 << 20) / 8, "{}", held().await);
    for stream in &mut slow {
        stream.write_all(b"x").await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200", "with or without a place in memory");
    }
}

const HEAD: &str = "[process]\nworkers = 2\nback_room = 1\ndrain_delay = \"0s\"\n\
    drain_timeout = \"1s\"\nbody_memory = \"8MiB\"\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
    [token]\nissuer = \"https://gateway.example\"\naudience = [\"legacy\"]\n\
    [[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n";
