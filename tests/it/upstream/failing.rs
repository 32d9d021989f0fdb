//! Servers of a pool that die, hang and come back under load: what clients see of it.
//!
//! Nothing, as long as they ask for what may be asked twice and one server is well. What may be
//! done only once is never sent twice, whatever the client is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Client, Gateway};

const CLIENTS: usize = 16;
const MOST: usize = 2000;
const AT_MOST: Duration = Duration::from_secs(5);

/// What counts that a server failed a request, or that one was sent again.
const TROUBLES: [&str; 2] =
    ["tollhouse_upstream_failures_total{", "tollhouse_upstream_retries_total{"];

/// What a server does once it has read a request.
const ANSWER: u8 = 0;
const STALL: u8 = 1;
/// Says that it will say no more, and waits.
const HALF_CLOSE: u8 = 2;
const RESET: u8 = 3;

/// How often each request arrived anywhere, by its id.
type Arrivals = Arc<Mutex<HashMap<String, usize>>>;

struct Server {
    address: SocketAddr,
    does: Arc<AtomicU8>,
    arrivals: Arrivals,
    running: Option<JoinSet<()>>,
}

impl Server {
    async fn start(arrivals: &Arrivals) -> Self {
        let mut server = Self {
            address: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
            does: Arc::default(),
            arrivals: arrivals.clone(),
            running: None,
        };
        server.revive().await;
        server
    }

    async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (does, arrivals) = (self.does.clone(), self.arrivals.clone());
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, does.clone(), arrivals.clone()));
            }
        });
        self.running = Some(running);
    }

    /// Its socket and all connections end at once, in the middle of whatever they do.
    async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }
}

async fn serve(mut stream: TcpStream, does: Arc<AtomicU8>, arrivals: Arrivals) {
    stream.set_nodelay(true).unwrap();
    while let Some(id) = read(&mut stream).await {
        *arrivals.lock().unwrap().entry(id).or_default() += 1;
        match does.load(Ordering::SeqCst) {
            ANSWER => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
            STALL => std::future::pending().await,
            HALF_CLOSE => {
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            _ => {
                let _ = stream.set_zero_linger();
                return;
            }
        }
    }
}

/// Reads a request and its body; its id.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut held = Vec::new();
    let end = loop {
        if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut held).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
    let field = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let length: usize = field("content-length:").map_or(0, |length| length.parse().unwrap());
    while held.len() < end + length {
        if stream.read_buf(&mut held).await.ok()? == 0 {
            return None;
        }
    }
    field("x-id:")
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    sent: AtomicUsize,
    failed: Mutex<Vec<(Method, String)>>,
    /// The ids of posts, and whether they were answered.
    posts: Mutex<Vec<(String, bool)>>,
    over: AtomicBool,
}

/// Sends requests in turn, on a new connection whenever the last one ended.
async fn client(address: SocketAddr, seen: Arc<Seen>) {
    let mut open: Option<http1::SendRequest<Full<Bytes>>> = None;
    while !seen.over.load(Ordering::SeqCst) {
        let number = seen.sent.fetch_add(1, Ordering::SeqCst);
        let method = [Method::GET, Method::PUT, Method::GET, Method::POST][number % 4].clone();
        let body =
            if number.is_multiple_of(2) { Bytes::new() } else { Bytes::from_static(b"hello") };
        let id = format!("request-{number}");
        let request = Request::builder().method(&method).uri("/x");
        let request = request.header("host", "localhost").header("x-id", &id);
        let request = request.body(Full::new(body)).unwrap();
        let is_open = match &mut open {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_open {
            let stream = TcpStream::connect(address).await.unwrap();
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::task::spawn(connection);
            open = Some(sender);
        }
        let sender = open.as_mut().unwrap();
        let result = match sender.send_request(request).await {
            Ok(answer) if answer.status() == 200 => match answer.into_body().collect().await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Ok(answer) => Err(answer.status().to_string()),
            Err(error) => Err(error.to_string()),
        };
        match (method, result) {
            (Method::POST, result) => seen.posts.lock().unwrap().push((id, result.is_ok())),
            (method, Err(error)) => seen.failed.lock().unwrap().push((method, error)),
            (_, Ok(())) => (),
        }
    }
}

/// A pool of `servers` under load while `happens` to them; then what came of it.
async fn under_load<F>(servers: usize, happens: impl FnOnce(Vec<Server>) -> F)
where
    F: Future<Output = Vec<Server>>,
{
    let arrivals = Arrivals::default();
    let mut pool = Vec::new();
    for _ in 0..servers {
        pool.push(Server::start(&arrivals).await);
    }
    let urls: Vec<String> = pool.iter().map(|one| format!("http://{}", one.address)).collect();
    let config = format!(
        "[[upstream]]\nname = \"pool\"\nservers = {urls:?}\n\
         timeouts = {{ connect = \"500ms\", first_byte = \"300ms\" }}\n\
         [[route]]\npath = \"/\"\nupstream = \"pool\"\nauth = []\n"
    );
    let gateway = Gateway::builder().config(&config).start().await;
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(gateway.address(), seen.clone()));
    }

    let began = Instant::now();
    reach(&seen, MOST / 5).await;
    let pool = happens(pool).await;
    while seen.sent.load(Ordering::SeqCst) < MOST && began.elapsed() < AT_MOST {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen.over.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    drop(pool);

    let admin = Client::plain(gateway.running().admin_address().unwrap());
    let metrics = admin.get("/metrics").send().await.text();
    let mut troubles =
        metrics.lines().filter(|line| TROUBLES.iter().any(|one| line.starts_with(one)));
    assert!(troubles.any(|line| !line.ends_with(" 0")), "nothing happened: {metrics}");
    let sent = seen.sent.load(Ordering::SeqCst);
    assert!(sent > MOST / 5, "{sent} requests are no load");
    let failed = seen.failed.lock().unwrap();
    assert!(failed.is_empty(), "{} of {sent} failed: {failed:?}", failed.len());
    let arrivals = arrivals.lock().unwrap();
    for (id, answered) in &*seen.posts.lock().unwrap() {
        let arrived = arrivals.get(id).copied().unwrap_or_default();
        assert!(arrived <= 1, "{id} arrived {arrived} times");
        assert!(!answered || arrived == 1, "{id} was answered by nobody");
    }
}

/// Waits until the clients have sent `requests`, or have had time enough to.
async fn reach(seen: &Seen, requests: usize) {
    let until = Instant::now() + AT_MOST;
    while seen.sent.load(Ordering::SeqCst) < requests && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One server does `what` for a while, then it is well again.
async fn misbehaves(servers: usize, what: u8) {
    under_load(servers, |pool| async move {
        pool[0].does.store(what, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(700)).await;
        pool[0].does.store(ANSWER, Ordering::SeqCst);
        pool
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_a_server_is_killed() {
    for servers in [2, 3] {
        under_load(servers, |mut pool| async move {
            pool[0].kill().await;
            pool
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_a_server_hangs() {
    misbehaves(2, STALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_a_server_closes_by_half() {
    misbehaves(2, HALF_CLOSE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_a_server_resets_its_connections() {
    misbehaves(3, RESET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_servers_go_and_come() {
    under_load(3, |mut pool| async move {
        for round in 0..6 {
            let server = &mut pool[round % 2];
            server.kill().await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            server.revive().await;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        pool
    })
    .await;
}
