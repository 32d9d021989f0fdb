//! A reload takes everything but what a running process cannot change: listeners, certificates,
//! logs, the admin address, user sources, keys; all of it or nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::certs::{Certificate, CertificateAuthority, showing, trusting};
use crate::harness::client::{Client, PATIENCE};
use crate::harness::gateway::PASSWORD;
use crate::harness::process::{Process, free_port, until};

fn text(process: &Process) -> String {
    fs::read_to_string(process.path("gateway.toml")).unwrap()
}

/// Changes the file; nothing is read yet.
fn write(process: &Process, changes: &[(&str, &str)]) {
    let mut text = text(process);
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replacen(from, to, 1);
    }
    fs::write(process.path("gateway.toml"), text).unwrap();
}

/// Changes the file and has it read.
#[track_caller]
fn reload(process: &Process, changes: &[(&str, &str)]) -> String {
    write(process, changes);
    process.command(&["reload"]).ok()
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The list of listeners in the file of `folder`.
fn listeners(entries: &[String]) -> String {
    format!("listener = [{}]", entries.join(", "))
}

fn plain(port: u16) -> String {
    format!("{{ address = \"127.0.0.1:{port}\" }}")
}

/// An HTTP/1.1 connection whose client decides when a request goes on.
struct Connection(TcpStream);

impl Connection {
    async fn open(port: u16) -> Self {
        Self(TcpStream::connect(at(port)).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until `end` has arrived.
    async fn read_to(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(end) {
            let count = timeout(PATIENCE, self.0.read_buf(&mut read)).await.unwrap().unwrap();
            assert_ne!(count, 0, "ended after {}", String::from_utf8_lossy(&read));
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads to the end of the connection.
    async fn read_to_end(mut self) -> String {
        let mut read = String::new();
        timeout(PATIENCE, self.0.read_to_string(&mut read)).await.unwrap().unwrap();
        read
    }
}

#[tokio::test]
async fn a_listener_comes_and_another_goes_while_its_request_is_answered() {
    let process = Process::with_echo("");
    let (first, second) = (process.port, free_port());
    let mut idle = Connection::open(first).await;
    idle.send("GET /open/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_to("HTTP/1.1 200").await;

    let both = listeners(&[plain(first), plain(second)]);
    let told = reload(&process, &[(&listeners(&[plain(first)]), &both)]);
    assert_eq!(told, "reloaded\n");
    Client::plain(at(second)).get("/open/").send().await.assert_status(200);
    // A listener that did not change keeps its connections.
    idle.send("GET /open/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_to("HTTP/1.1 200").await;

    let mut busy = Connection::open(first).await;
    busy.send("POST /open/ HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    until("the request", || process.stderr().contains("listens on").then_some(()));
    reload(&process, &[(&both, &listeners(&[plain(second)]))]);

    until("the socket", || std::net::TcpStream::connect(at(first)).is_err().then_some(()));
    // An idle connection ends, with nothing but the rest of the last answer.
    assert!(!idle.read_to_end().await.contains("HTTP/1.1"));
    busy.send("world").await;
    let answer = busy.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("helloworld"), "{answer}");
    Client::plain(at(second)).get("/open/").send().await.assert_status(200);
}

#[tokio::test]
async fn a_listener_that_changes_keeps_its_socket_and_drains_its_connections() {
    let process = Process::with_echo("");
    let port = process.port;
    let mut idle = Connection::open(port).await;
    idle.send("GET /open/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_to("HTTP/1.1 200").await;

    let short = format!(
        "{{ address = \"127.0.0.1:{port}\", trusted_proxies = [\"127.0.0.1\"], \
         limits = {{ uri_bytes = \"256B\" }} }}"
    );
    reload(&process, &[(&plain(port), &short)]);

    // The connection of the old settings ends, with nothing but the rest of the last answer.
    assert!(!idle.read_to_end().await.contains("HTTP/1.1"));
    let long = format!("/open/{}", "a".repeat(300));
    process.client().get(&long).send().await.assert_status(414);
    let client = process.client();
    let forwarded = client.get("/open/").header("x-forwarded-for", "192.0.2.7");
    let echoed = forwarded.send().await.assert_status(200).text();
    assert!(echoed.contains("192.0.2.7"), "the proxy is trusted now: {echoed}");
}

#[tokio::test]
async fn connections_stay_counted_when_the_limit_of_a_listener_changes() {
    let process = Process::with_echo("");
    let port = process.port;
    let mut busy = Connection::open(port).await;
    busy.send("POST /open/ HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n").await;
    let one = format!("{{ address = \"127.0.0.1:{port}\", limits = {{ connections = 1 }} }}");

    // The command itself comes by the admin socket, which has no such limit.
    reload(&process, &[(&plain(port), &one)]);

    let refused = Connection::open(port).await;
    assert_eq!(refused.read_to_end().await, "", "the old connection is the one that is allowed");
    busy.send("x").await;
    assert!(busy.read_to_end().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn tls_is_switched_on_and_its_certificate_changed_in_place() {
    let process = Process::with_echo("");
    let port = process.port;
    let make = |stem| Certificate::make(process.dir.path(), stem, &["localhost"]);
    let one = make("one");
    let two = make("two");
    let tls = |chain: &str, key: &str| {
        format!(
            "{{ address = \"127.0.0.1:{port}\", tls = {{ certificates = [{{ chain = \
             \"{chain}.pem\", key = \"{key}.key\" }}] }} }}"
        )
    };
    let client = |certificate: &Certificate| {
        let tls = trusting(std::slice::from_ref(&certificate.der), &[b"http/1.1"]);
        Client { address: at(port), tls: Some((tls, "localhost".to_owned())), http2: false }
    };

    reload(&process, &[(&plain(port), &tls("one", "one"))]);
    client(&one).get("/open/").send().await.assert_status(200);

    reload(&process, &[(&tls("one", "one"), &tls("two", "two"))]);
    client(&two).get("/open/").send().await.assert_status(200);

    // A pair that does not fit leaves everything as it is.
    write(&process, &[(&tls("two", "two"), &tls("two", "one"))]);
    process.command(&["reload"]).failed(1, &["one.key"]);
    client(&two).get("/open/").send().await.assert_status(200);
}

#[tokio::test]
async fn a_reload_reads_the_client_ca_again_and_ends_the_connections_of_the_last_one() {
    let process = Process::with_echo("");
    let port = process.port;
    let server = Certificate::make(process.dir.path(), "one", &["localhost"]);
    let (old, new) = (CertificateAuthority::new(), CertificateAuthority::new());
    fs::write(process.path("clients.pem"), old.pem()).unwrap();
    let mutual = format!(
        "{{ address = \"127.0.0.1:{port}\", tls = {{ certificates = [{{ chain = \"one.pem\", key = \
         \"one.key\" }}], client_ca = \"clients.pem\", client_auth = \"required\" }} }}"
    );
    reload(&process, &[(&plain(port), &mutual)]);
    let client = |authority: &CertificateAuthority| {
        let tls = showing(&server.der, b"http/1.1", &authority.client(|_| ()));
        Client { address: at(port), tls: Some((tls, "localhost".to_owned())), http2: false }
    };
    let mut idle = client(&old).connect().await;
    idle.write_all(b"GET /open/ HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, idle.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    fs::write(process.path("clients.pem"), new.pem()).unwrap();
    reload(&process, &[]);

    client(&new).get("/open/").send().await.assert_status(200);
    // A second request on the old connection is not answered any more.
    let _ = idle.write_all(b"GET /open/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut rest = String::new();
    let _ = timeout(PATIENCE, idle.read_to_string(&mut rest)).await.unwrap();
    assert!(!rest.contains("HTTP/1.1"), "{rest}");
}

#[tokio::test]
async fn an_address_may_be_widened_under_a_listener_of_this_gateway() {
    // Another test may have a socket at this port of another loopback address. Then 0.0.0.0 is in
    // use as well, and another port is tried.
    let widened = (0..5).find_map(|_| {
        let process = Process::with_echo("");
        let port = process.port;
        let wide = format!("{{ address = \"0.0.0.0:{port}\", allow_plain_http = true }}");
        write(&process, &[(&plain(port), &wide)]);
        let reloaded = process.command(&["reload"]);
        let in_use = reloaded.stderr.contains("is in use");
        assert!(in_use || reloaded.status == Some(0), "{reloaded:?}");
        (!in_use).then_some(process)
    });
    let process = widened.expect("a port that is free everywhere");

    until("the old socket", || {
        process.stderr().contains("does not listen on 127.0.0.1").then_some(())
    });
    for _ in 0..8 {
        process.client().get("/open/").send().await.assert_status(200);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_leaves_everything_as_it_was() {
    let process = Process::with_echo("");
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (port, other) = (process.port, taken.local_addr().unwrap().port());
    let next = listeners(&[plain(free_port()), plain(other)]);
    let route = "[[route]]\npath = \"/new\"\nupstream = \"u\"\nauth = []\n";
    write(&process, &[(&listeners(&[plain(port)]), &next)]);
    let file = text(&process);
    fs::write(process.path("gateway.toml"), format!("{file}{route}")).unwrap();

    let address = format!("127.0.0.1:{other}");
    process.command(&["reload"]).failed(1, &[&address, "in use"]);

    process.client().get("/open/").send().await.assert_status(200);
    process.client().get("/new").send().await.assert_status(401);
}

#[tokio::test]
async fn lines_go_to_another_file_and_the_admin_address_moves() {
    let (first, second) = (free_port(), free_port());
    let logs = |access: &str, admin: u16| {
        format!("[log]\naccess = \"{access}\"\n[admin]\naddress = \"127.0.0.1:{admin}\"\n")
    };
    let process = Process::with_echo(&logs("one.log", first));
    process.client().get("/open/a").send().await.assert_status(200);
    Client::plain(at(first)).get("/livez").send().await.assert_status(200);

    reload(&process, &[(&logs("one.log", first), &logs("two.log", second))]);
    process.client().get("/open/b").send().await.assert_status(200);
    Client::plain(at(second)).get("/livez").send().await.assert_status(200);
    until("the old address", || std::net::TcpStream::connect(at(first)).is_err().then_some(()));

    let read = |name: &str| fs::read_to_string(process.path(name)).unwrap_or_default();
    until("the lines", || read("two.log").contains("/open/b").then_some(()));
    until("the earlier lines", || read("one.log").contains("/open/a").then_some(()));
    assert!(!read("one.log").contains("/open/b"));

    reload(&process, &[("\"two.log\"", "\"off\"")]);
    process.client().get("/open/c").send().await.assert_status(200);
    reload(&process, &[("\"off\"", "\"two.log\"")]);
    process.client().get("/open/d").send().await.assert_status(200);
    until("the lines", || read("two.log").contains("/open/d").then_some(()));
    assert!(!read("two.log").contains("/open/c"), "a log that is off keeps nothing for later");
}

#[tokio::test]
async fn diagnostics_change_their_form() {
    let process = Process::with_echo("");
    assert!(!process.stderr().contains("{\"timestamp\"") || process.stderr().starts_with('{'));

    reload(&process, &[("[process]", "[log]\nformat = \"pretty\"\n[process]")]);
    process.signal("HUP");

    until("a line for people", || {
        let last = process.stderr().lines().last().unwrap_or_default().to_owned();
        (last.contains("reloaded") && !last.starts_with('{')).then_some(())
    });
}

fn write_users(path: &Path, from: &str, name: &str) {
    let users = fs::read_to_string(path.join("users.toml")).unwrap();
    let other = path.join(name);
    fs::write(&other, users.replace(from, "zoe")).unwrap();
    fs::set_permissions(&other, fs::metadata(path.join("users.toml")).unwrap().permissions())
        .unwrap();
}

#[tokio::test]
async fn a_source_of_users_comes_is_watched_and_goes_with_its_sessions() {
    let process = Process::with_echo("");
    write_users(process.dir.path(), "alice", "guests.toml");
    let client = process.client();
    let log_in = |name: &str| {
        let login = json!({ "username": name, "password": PASSWORD });
        client.post("/auth/login").json(login).send()
    };
    log_in("zoe").await.assert_status(401);

    let staff = "users = [{ name = \"staff\", kind = \"file\", path = \"users.toml\" }]";
    let both = "users = [{ name = \"staff\", kind = \"file\", path = \"users.toml\" }, \
                { name = \"guests\", kind = \"file\", path = \"guests.toml\" }]";
    let logins = (
        "login = [{ dialect = \"native\" }]",
        "login = [{ dialect = \"native\", users = \
                  [\"staff\", \"guests\"] }]",
    );
    reload(&process, &[(staff, both), logins]);
    log_in("zoe").await.assert_status(200);
    let token = process.token("zoe").await;
    let staff_token = process.token("alice").await;
    process.client().get("/").bearer(&token).send().await.assert_status(200);

    // The new source is watched like one of the start.
    let guests = fs::read_to_string(process.path("guests.toml")).unwrap();
    fs::write(process.path("guests.toml"), guests.replace("zoe", "zora")).unwrap();
    for _ in 0..600 {
        let tried = log_in("zora").await;
        if tried.status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    log_in("zora").await.assert_status(200);

    reload(&process, &[(both, staff), (logins.1, logins.0)]);
    for _ in 0..600 {
        if process.client().get("/").bearer(&token).send().await.status == 401 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    process.client().get("/").bearer(&token).send().await.assert_status(401);
    process.client().get("/").bearer(&staff_token).send().await.assert_status(200);
}

#[tokio::test]
async fn a_source_that_cannot_be_opened_changes_nothing() {
    let process = Process::with_echo("");
    let staff = "users = [{ name = \"staff\", kind = \"file\", path = \"users.toml\" }]";
    write(&process, &[(staff, &staff.replace("users.toml", "nowhere.toml"))]);

    process.command(&["reload"]).failed(1, &["nowhere.toml", "tollhouse user add"]);

    process.token("alice").await;
}

#[tokio::test]
async fn tokens_are_signed_by_another_algorithm_and_the_last_ones_hold() {
    let process = Process::with_echo("");
    let header = |token: &str| {
        let head = token.split('.').next().unwrap();
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, head);
        serde_json::from_slice::<serde_json::Value>(&bytes.unwrap()).unwrap()["alg"].clone()
    };
    let before = process.token("alice").await;
    assert_ne!(header(&before), "ES384");

    reload(&process, &[("[token]", "[token]\nalgorithm = \"ES384\"")]);

    let after = process.token("alice").await;
    assert_eq!(header(&after), "ES384");
    for token in [before, after] {
        process.client().get("/").bearer(&token).send().await.assert_status(200);
    }
}

#[tokio::test]
async fn a_reload_names_everything_that_waits_for_a_restart_and_takes_the_rest() {
    let process = Process::with_echo("");
    let new = "[[route]]\npath = \"/new\"\nupstream = \"u\"\nauth = []\n[state]\ndir = \"other\"\n";
    write(&process, &[("[process]", &format!("{new}[process]\nworkers = 3"))]);

    // The command looks for the gateway where it is, not where it will be after a restart.
    let told = process.command(&["reload", "--state", "state"]).ok();
    assert_eq!(told, "reloaded\nchanged, which needs a restart: process.workers, state\n");
    process.signal("HUP");
    process.wait_for_stderr("changed, which needs a restart: process.workers, state");

    process.client().get("/new").send().await.assert_status(200);
    let status = process.command(&["status", "--state", "state"]).ok();
    assert!(status.contains("waits for a restart: process.workers"), "{status}");
}
