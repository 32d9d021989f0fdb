//! Servers that close their connections without saying so: whatever was lost on a kept connection
//! before anything was answered is sent once more, unless acting twice would be more than once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::scripted_upstream::{OK, PoolGateway, settings_to, tcp};

/// A server that takes requests without a body or with the body `hi`, and closes a connection after
/// an answer whenever `closes` says so of that answer's number, without a word about it.
struct Curt {
    address: std::net::SocketAddr,
    posts: Arc<AtomicUsize>,
}

impl Curt {
    async fn start(closes: fn(usize) -> bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let posts = Arc::new(AtomicUsize::new(0));
        let (counted, answers) = (posts.clone(), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, closes, counted.clone(), answers.clone()));
            }
        });
        Self { address, posts }
    }
}

async fn serve(
    mut stream: TcpStream,
    closes: fn(usize) -> bool,
    posts: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
) {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut piece).await else { return };
        read.extend_from_slice(&piece[..length]);
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let is_post = read.starts_with(b"POST");
        if is_post && !read[end..].ends_with(b"hi") {
            continue;
        }
        posts.fetch_add(usize::from(is_post), Ordering::Relaxed);
        read.clear();
        if stream.write_all(OK.as_bytes()).await.is_err() {
            return;
        }
        if closes(answers.fetch_add(1, Ordering::Relaxed)) {
            return;
        }
    }
}

/// A client's connection to the gateway, kept for all of its requests.
async fn client(gate: &PoolGateway) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(gate.address()).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn status(sender: &mut http1::SendRequest<Full<Bytes>>, method: &str) -> u16 {
    let body = if method == "POST" { "hi" } else { "" };
    let request = http::Request::builder()
        .method(method)
        .uri("/a")
        .header("host", "gateway")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

/// How many of `count` requests on each of `clients` connections were not answered 200.
async fn failures(gate: &PoolGateway, clients: usize, count: usize) -> usize {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let mut sender = client(gate).await;
        running.spawn(async move {
            let mut failed = 0;
            for _ in 0..count {
                failed += usize::from(status(&mut sender, "GET").await != 200);
            }
            failed
        });
    }
    running.join_all().await.into_iter().sum()
}

#[tokio::test]
async fn ten_thousand_gets_through_a_server_that_closes_after_each_answer_all_succeed() {
    let curt = Curt::start(|_| true).await;
    let mut settings = settings_to(vec![tcp(curt.address)]);
    // What is repeated on a new connection is no retry.
    settings.upstream.calls.retries = 0;
    let gate = settings.start().await;

    assert_eq!(failures(&gate, 1, 5_000).await, 0);
    assert_eq!(failures(&gate, 8, 625).await, 0);
}

#[tokio::test]
async fn ten_thousand_gets_through_a_server_that_closes_at_random_all_succeed() {
    // Spread without a pattern that the requests could fall in with.
    let curt = Curt::start(|number| number.wrapping_mul(2_654_435_761) >> 7 & 15 == 0).await;
    let gate = settings_to(vec![tcp(curt.address)]).start().await;

    assert_eq!(failures(&gate, 1, 5_000).await, 0);
    assert_eq!(failures(&gate, 8, 625).await, 0);
}

#[tokio::test]
async fn a_post_that_was_written_on_a_connection_that_closes_is_never_repeated() {
    let curt = Curt::start(|number| number % 3 == 0).await;
    let gate = settings_to(vec![tcp(curt.address)]).start().await;
    let mut sender = client(&gate).await;

    let mut answered = 0;
    for _ in 0..1_000 {
        answered += usize::from(status(&mut sender, "POST").await == 200);
    }

    // The server counts what it has read whole: one that it answered, and none twice.
    assert_eq!(curt.posts.load(Ordering::Relaxed), answered);
}
