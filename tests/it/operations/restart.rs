//! One gateway after the other: the successor starts while the last requests of the old one go on.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::Client;
use crate::harness::client::PATIENCE;
use crate::harness::gateway::PASSWORD;
use crate::harness::process::{Process, free_port, until};

/// How long the slow request takes.
const SLOW: Duration = Duration::from_secs(10);
/// Clients that ask without a pause.
const CLIENTS: usize = 8;

/// An upstream that answers at once, but for `/slow`.
struct Server {
    url: String,
    slow_arrived: Arc<Notify>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let slow_arrived = Arc::new(Notify::new());
        let arrived = slow_arrived.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, arrived.clone()));
            }
        });
        Self { url, slow_arrived }
    }
}

async fn answer(mut stream: TcpStream, arrived: Arc<Notify>) {
    let mut read = Vec::new();
    loop {
        while !read.windows(4).any(|four| four == b"\r\n\r\n") {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        if read.starts_with(b"GET /slow") {
            arrived.notify_one();
            tokio::time::sleep(SLOW).await;
        }
        read.clear();
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// HAProxy in front of one gateway; ended when dropped.
struct HaProxy {
    child: Child,
    address: std::net::SocketAddr,
}

impl HaProxy {
    fn start(folder: &std::path::Path, gateway: u16) -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = folder.join("haproxy.cfg");
        let text = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
             retries 10\n retry-on conn-failure empty-response\n\
             frontend clients\n bind {address}\n default_backend gateways\n\
             backend gateways\n server only 127.0.0.1:{gateway}\n"
        );
        std::fs::write(&file, text).unwrap();
        let found = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"];
        let program = found.iter().find(|path| std::path::Path::new(path).exists());
        let child = Command::new(program.expect("haproxy is installed (tests/run does that)"))
            .args(["-db", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("haproxy", || std::net::TcpStream::connect(address).ok());
        Self { child, address }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sections(url: &str) -> String {
    format!(
        "[admin]\naddress = \"127.0.0.1:{}\"\n\
         [process]\ndrain_delay = \"0s\"\ndrain_timeout = \"60s\"\n\
         [[upstream]]\nname = \"u\"\nservers = [\"{url}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"u\"\n",
        free_port()
    )
}

/// Asks without a pause until told to stop; answers how often, and what was no success.
async fn load(
    client: Client,
    token: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let reply = client.get("/fast").bearer(&token).send().await;
        if reply.status != 200 {
            failures.push(format!("{}: {}", reply.status, reply.text()));
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
    failures
}

/// The port refused from SIGTERM until the slow request's end, and the successor could not start
/// because the store was held as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_a_slow_request_open_lost_requests_for_as_long_as_it_took() {
    let server = Server::start().await;
    let mut old = Process::plain(&sections(&server.url));
    let proxy = HaProxy::start(old.dir.path(), old.port);
    let token = old.token("alice").await;
    let client = || Client::plain(proxy.address);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(load(client(), token.clone(), stop.clone(), done.clone())))
        .collect();
    let slow = tokio::spawn({
        let (client, token) = (client(), token.clone());
        async move { client.get("/slow").bearer(&token).send().await }
    });
    tokio::time::timeout(PATIENCE, server.slow_arrived.notified()).await.unwrap();

    old.signal("TERM");
    let next = old.successor();

    next.wait_for_stderr("serves http://127.0.0.1:");
    let before = done.load(Ordering::SeqCst);
    assert!(!slow.is_finished() && old.is_running(), "the old one has its slow request still");
    let login = json!({ "username": "alice", "password": PASSWORD });
    client().post("/auth/login").json(login).send().await.assert_status(200);
    let since = Instant::now();
    while done.load(Ordering::SeqCst) < before + 100 {
        assert!(since.elapsed() < PATIENCE, "{}", next.stderr());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(slow.await.unwrap().assert_status(200).text(), "ok");
    assert_eq!(old.wait(), Some(0), "{}", old.stderr());
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let failures = client.await.unwrap();
        assert!(failures.is_empty(), "{failures:?}\n{}\n{}", old.stderr(), next.stderr());
    }
    assert!(!old.stderr().contains("are cut"), "{}", old.stderr());
    assert!(next.path("state/admin.sock").exists(), "the successor's socket stays");
    next.command(&["session", "list"]).ok();
}

/// Sends the rest of a request and reads the answer.
async fn finish(mut stream: TcpStream, rest: &str) -> String {
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_gave_up_its_store_verifies_on_and_sends_logins_away() {
    let server = Server::start().await;
    let mut old = Process::plain(&sections(&server.url));
    let (good, ended) = (old.token("alice").await, old.token("bob").await);
    old.command(&["session", "revoke", "--user", "bob"]).ok();
    let slow = tokio::spawn({
        let (client, token) = (old.client(), good.clone());
        async move { client.get("/slow").bearer(&token).send().await }
    });
    tokio::time::timeout(PATIENCE, server.slow_arrived.notified()).await.unwrap();
    let open = || async { TcpStream::connect(("127.0.0.1", old.port)).await.unwrap() };
    let (mut login, with_good, with_ended) = (open().await, open().await, open().await);
    let body = json!({ "username": "alice", "password": PASSWORD }).to_string();
    let head = format!(
        "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    login.write_all(head.as_bytes()).await.unwrap();

    old.signal("TERM");
    let next = old.successor();
    next.wait_for_stderr("serves http://127.0.0.1:");

    let told = finish(login, &body).await;
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(told.contains("\r\nretry-after: 1\r\n"), "{told}");
    let get = |token: &str| {
        format!("GET /fast HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let told = finish(with_good, &get(&good)).await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    let told = finish(with_ended, &get(&ended)).await;
    assert!(told.starts_with("HTTP/1.1 401 ") && told.contains("token_revoked"), "{told}");
    assert!(old.is_running());
    slow.await.unwrap().assert_status(200);
    assert_eq!(old.wait(), Some(0), "{}", old.stderr());
    next.client().get("/fast").bearer(&ended).send().await.assert_status(401);
}

/// Without a drain there is nothing to wait for: it is a mistake, and told soon.
#[test]
fn a_second_gateway_beside_one_that_does_not_end_is_refused_within_seconds() {
    let first = Process::plain("");
    first.wait_for_stderr("for operators");
    let since = Instant::now();

    first.command(&["run"]).failed(1, &["store.redb", "one gateway for each state folder"]);

    assert!(since.elapsed() < Duration::from_secs(20), "took {:?}", since.elapsed());
}
