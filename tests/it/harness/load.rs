//! Clients that ask without a pause, and count what fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, PATIENCE};
use super::gateway::PASSWORD;

/// What the clients of a load have seen.
#[derive(Default)]
pub struct Tally {
    pub stop: AtomicBool,
    done: AtomicUsize,
    pub connections: AtomicUsize,
    /// The longest time of an answer, in milliseconds.
    pub longest: AtomicUsize,
}

impl Tally {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn count(&self, since: Instant) {
        let millis = usize::try_from(since.elapsed().as_millis()).unwrap();
        self.longest.fetch_max(millis, Ordering::SeqCst);
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    pub fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until so many more requests were answered.
    pub async fn more(&self, count: usize) {
        let (since, before) = (Instant::now(), self.done());
        while self.done() < before + count {
            assert!(since.elapsed() < PATIENCE, "the load goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A client that uses a connection for as long as the gateway lets it. It repeats nothing: a request
/// without a whole answer is a failure.
pub struct KeptClient {
    /// A unix socket, or none for TCP.
    pub unix: Option<PathBuf>,
    pub port: u16,
    pub token: String,
}

pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

impl KeptClient {
    pub async fn connect(&self) -> std::io::Result<Box<dyn Transport>> {
        Ok(match &self.unix {
            Some(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
            None => Box::new(TcpStream::connect(("127.0.0.1", self.port)).await?),
        })
    }

    pub async fn load(self, tally: Arc<Tally>) -> Vec<String> {
        let mut failures = Vec::new();
        let mut open: Option<Box<dyn Transport>> = None;
        while tally.goes_on() {
            let since = Instant::now();
            let outcome = async {
                let mut stream = match open.take() {
                    Some(stream) => stream,
                    None => {
                        tally.connections.fetch_add(1, Ordering::SeqCst);
                        self.connect().await.map_err(|error| format!("connect: {error}"))?
                    }
                };
                let head = self.ask(&mut stream).await?;
                if !head.to_lowercase().contains("connection: close") {
                    open = Some(stream);
                }
                head.starts_with("HTTP/1.1 200 ").then_some(()).ok_or(head)
            };
            match tokio::time::timeout(PATIENCE, outcome).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => failures.push(failure),
                Err(_) => failures.push("no answer".to_owned()),
            }
            tally.count(since);
        }
        failures
    }

    /// Sends a request and reads its whole answer; returns the head.
    pub async fn ask(&self, stream: &mut Box<dyn Transport>) -> Result<String, String> {
        let request = format!(
            "GET /kept HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
            self.token
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.ok_or(head)?.parse().unwrap();
                if body.len() >= length {
                    return Ok(head.to_owned());
                }
            }
            match stream.read_buf(&mut read).await {
                Ok(0) => return Err(format!("ended after {text:?}")),
                Ok(_) => {}
                Err(error) => return Err(format!("read: {error}, after {text:?}")),
            }
        }
    }
}

/// Asks on a new connection each time: with a token, or logs in where there is none. Whoever logs in is
/// not the user of the tokens, since the oldest of many sessions end.
pub async fn new_connections(
    client: Client,
    token: Option<String>,
    tally: Arc<Tally>,
) -> Vec<String> {
    let mut failures = Vec::new();
    while tally.goes_on() {
        let since = Instant::now();
        let reply = match &token {
            Some(token) => client.get("/new").bearer(token).send().await,
            None => {
                let login = json!({ "username": "bob", "password": PASSWORD });
                client.post("/auth/login").json(login).send().await
            }
        };
        if reply.status.as_u16() != 200 {
            failures.push(format!("{}: {}", reply.status, reply.text()));
        }
        tally.count(since);
    }
    failures
}
