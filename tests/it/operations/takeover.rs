//! One gateway takes over from another (`run --takeover`): sockets, store, and nobody notices.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::client::PATIENCE;
use crate::harness::gateway::PASSWORD;
use crate::harness::load::{KeptClient, Tally, new_connections};
use crate::harness::process::{ECHO_ROUTES, Process, free_port, tollhouse, until, write_config};
use crate::harness::{Client, Postgres};

const TAKEOVERS: usize = 5;

/// A gateway on TCP and on a unix socket, with probes, behind which an echo is.
fn start() -> (Process, u16) {
    start_with("", |_| ())
}

/// The same with further sections of the configuration, and with the files that they name.
fn start_with(more: &str, prepare: impl FnOnce(&Path)) -> (Process, u16) {
    let probes = free_port();
    let sections = format!(
        "[admin]\naddress = \"127.0.0.1:{probes}\"\n[process]\ndrain_delay = \"5s\"\nworkers = 2\n{}{more}",
        ECHO_ROUTES.replace("[process]\ndrain_delay = \"0s\"\n", "")
    );
    let (dir, port) = crate::harness::process::folder(&sections);
    let file = dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let one = format!("listener = [{{ address = \"127.0.0.1:{port}\" }}]");
    let both = format!(
        "listener = [{{ address = \"127.0.0.1:{port}\" }}, {{ address = \"unix:clients.sock\" }}]"
    );
    assert!(text.contains(&one), "{text}");
    std::fs::write(&file, text.replace(&one, &both)).unwrap();
    prepare(dir.path());
    let process = Process::start(dir, port);
    process.wait_for_commands();
    (process, probes)
}

/// A successor, once it serves and the old one has ended.
fn take_over(old: &mut Process, number: usize) -> Process {
    let next = old.another(&["run", "--takeover"], &format!(".{number}"));
    until("the successor", || {
        assert!(
            !next.stderr().contains("ERROR") || next.stderr().contains("serves"),
            "{}",
            next.stderr()
        );
        next.stderr().contains("for operators").then_some(())
    });
    assert_eq!(old.wait(), Some(0), "{}", old.stderr());
    assert!(old.stderr().contains("taken over by a successor"), "{}", old.stderr());
    next
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_takeovers_under_load_lose_no_request() {
    let (running, probes) = start();

    let (mut running, tally) = take_over_under_load(running, TAKEOVERS, 2_000).await;

    let health = Client::plain(([127, 0, 0, 1], probes).into());
    health.get("/readyz").send().await.assert_status(200);
    let sessions = running.command(&["session", "list"]).ok();
    assert!(sessions.contains("alice"), "the store has gone along: {sessions}");
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    assert!(!running.path("clients.sock").exists(), "the last one removes the socket's file");
    assert!(!running.path("state/admin.sock").exists());
    let (connections, longest) = (&tally.connections, &tally.longest);
    let (connections, longest) =
        (connections.load(Ordering::SeqCst), longest.load(Ordering::SeqCst));
    assert!(connections >= 4 * (TAKEOVERS + 1), "{connections}: each takeover ends the kept ones");
    assert!(longest < 5_000, "an answer took {longest} ms");
}

/// Takes over so often while clients call and log in, up to so many requests. None of them fails.
async fn take_over_under_load(
    mut running: Process,
    takeovers: usize,
    requests: usize,
) -> (Process, Arc<Tally>) {
    let token = running.token("alice").await;
    let tally = Arc::new(Tally::default());
    let mut clients: Vec<JoinHandle<Vec<String>>> = Vec::new();
    for unix in [None, None, None, Some(running.path("clients.sock"))] {
        let client = KeptClient { unix, port: running.port, token: token.clone() };
        clients.push(tokio::spawn(client.load(tally.clone())));
    }
    for token in [Some(token.clone()), Some(token.clone()), Some(token.clone()), None] {
        clients.push(tokio::spawn(new_connections(running.client(), token, tally.clone())));
    }
    tally.more(100).await;

    for number in 0..takeovers {
        running = take_over(&mut running, number);
        tally.more(100).await;
    }

    while tally.done() < requests {
        tally.more(100).await;
    }
    tally.stop.store(true, Ordering::SeqCst);
    let mut failures = Vec::new();
    for client in clients {
        failures.extend(client.await.unwrap());
    }
    let done = tally.done();
    let some = &failures[..failures.len().min(5)];
    assert!(failures.is_empty(), "{} of {done}, as {some:#?}", failures.len());
    (running, tally)
}

/// Both gateways of a takeover have the store open at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_on_a_shared_store_lose_no_request_and_no_session() {
    let postgres = Postgres::shared().await;
    let database = postgres.database("select 1").await;
    let grant = format!("grant create on database {database} to gateway");
    postgres.execute("postgres", &grant).await;
    let store = "[store]\nkind = \"postgres\"\nurl = { file = \"store-url\" }\n\
                 seal = { file = \"seal.key\" }\n";
    let (running, _) = start_with(store, |folder| {
        for (name, text) in [("store-url", postgres.url(&database)), ("seal.key", "5e".repeat(32))]
        {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    });
    let client = running.client();
    let log_in = async || {
        let login = json!({ "username": "alice", "password": PASSWORD });
        let reply = client.post("/auth/login").json(login).send().await;
        reply.assert_status(200);
        (reply.member("access_token"), reply.member("refresh_token"))
    };
    let refresh = async |token: &str| {
        client.post("/auth/refresh").json(json!({ "refresh_token": token })).send().await
    };
    let (kept, ended) = (log_in().await, log_in().await);
    client.post("/auth/logout").bearer(&ended.0).send().await.assert_status(204);

    let (running, tally) = take_over_under_load(running, 3, 1_000).await;

    let longest = tally.longest.load(Ordering::SeqCst);
    assert!(longest < 5_000, "an answer took {longest} ms");
    client.get("/kept").bearer(&kept.0).send().await.assert_status(200);
    let refreshed = refresh(&kept.1).await.assert_status(200).member("access_token");
    client.get("/kept").bearer(&refreshed).send().await.assert_status(200);
    client.get("/ended").bearer(&ended.0).send().await.assert_status(401);
    refresh(&ended.1).await.assert_status(401);
    // The last gateway is a node of the store, and goes on to follow it.
    client.post("/auth/logout").bearer(&refreshed).send().await.assert_status(204);
    client.get("/kept").bearer(&kept.0).send().await.assert_status(401);
    let status = running.command(&["status"]).ok();
    assert!(status.contains("store          revocations as of"), "{status}");
    assert!(!status.contains("degraded"), "{status}");
}

#[tokio::test]
async fn a_successor_that_cannot_start_leaves_the_gateway_as_it_was() {
    let (mut running, _) = start();
    let token = running.token("alice").await;
    let kept = KeptClient { unix: None, port: running.port, token };
    let mut stream = kept.connect().await.unwrap();
    kept.ask(&mut stream).await.unwrap();
    let good = std::fs::read_to_string(running.path("gateway.toml")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    for (number, (from, to, status, part)) in [
        ("workers = 2", "workers = \"none\"", 78, "process.workers"),
        ("path = \"users.toml\"", "path = \"nowhere.toml\"", 78, "nowhere.toml"),
        ("unix:clients.sock", &busy.to_string(), 1, "is in use"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(good.contains(from), "{from}");
        std::fs::write(running.path("gateway.toml"), good.replace(from, to)).unwrap();

        let mut next = running.another(&["run", "--takeover"], &format!(".{number}"));

        assert_eq!(next.wait(), Some(status), "{}", next.stderr());
        assert!(next.stderr().contains(part), "{part}: {}", next.stderr());
        assert!(running.is_running());
        // The same connection goes on, and so does the store.
        let head = kept.ask(&mut stream).await.unwrap();
        assert!(!head.to_lowercase().contains("connection: close"), "{head}");
        running.token("bob").await;
    }
    std::fs::write(running.path("gateway.toml"), good).unwrap();
    running = take_over(&mut running, 9);
    running.token("bob").await;
}

/// A successor that this test plays itself.
struct PlayedSuccessor(BufReader<UnixStream>);

impl PlayedSuccessor {
    /// Asks for the takeover; the head of the answer.
    fn ask(process: &Process, fields: &str) -> (Self, String) {
        let mut stream = UnixStream::connect(process.path("state/admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("POST /takeover HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        // Byte by byte: nothing of what follows may be read here.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        (Self(BufReader::with_capacity(1, stream)), String::from_utf8(head).unwrap())
    }

    fn begin(process: &Process) -> Self {
        let (played, head) = Self::ask(process, UPGRADE);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        played
    }

    fn say(&mut self, message: &Value) {
        self.0.get_mut().write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect(&line)
    }

    /// Says hello, and reads the offer with one byte for the descriptors, which are thrown away.
    fn hello(&mut self) -> Value {
        self.say(&json!({ "hello": { "version": "test" } }));
        let offer = self.hear();
        self.0.read_exact(&mut [0]).unwrap();
        offer
    }
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: tollhouse-takeover\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_ends_with_the_store_in_its_hands_gives_it_back() {
    let (running, _) = start();
    let token = running.token("alice").await;
    let mut successor = PlayedSuccessor::begin(&running);
    let offer = successor.hello();
    let addresses = &offer["offer"]["addresses"];
    let port = running.port;
    assert_eq!(addresses[0], json!({ "at": { "tcp": format!("127.0.0.1:{port}") }, "sockets": 2 }));
    let unix = std::path::absolute(running.path("clients.sock")).unwrap();
    assert_eq!(addresses[1], json!({ "at": { "unix": unix }, "sockets": 2 }));

    successor.say(&json!({ "prepared": { "taken": [0, 1] } }));
    assert_eq!(successor.hear(), json!("store_released"));
    // Nobody accepts; the kernel has the connection.
    let waiting = tokio::spawn({
        let (client, token) = (running.client(), token.clone());
        async move { client.get("/waits").bearer(&token).send().await }
    });
    running.command(&["reload"]).failed(1, &["a successor is taking this gateway over"]);
    assert!(!waiting.is_finished(), "nobody accepts");
    drop(successor);

    waiting.await.unwrap().assert_status(200);
    running.token("bob").await;
    running.command(&["reload"]).ok();
    let kept = KeptClient { unix: Some(unix), port, token };
    let mut stream = kept.connect().await.unwrap();
    for _ in 0..2 {
        let head = kept.ask(&mut stream).await.unwrap();
        assert!(!head.to_lowercase().contains("connection: close"), "kept alive again: {head}");
    }
    let told = running.stderr();
    assert!(told.contains("not taken over, this gateway serves on"), "{told}");
    let mut running = running;
    let next = take_over(&mut running, 1);
    next.token("bob").await;
}

#[tokio::test]
async fn a_takeover_is_for_one_successor_at_a_time_and_by_the_admin_socket_alone() {
    let (running, probes) = start();
    let first = PlayedSuccessor::begin(&running);
    for (fields, status, why) in [
        (UPGRADE, "409", "another successor is there"),
        ("content-length: 0\r\n", "426", "no successor"),
    ] {
        let (_, head) = PlayedSuccessor::ask(&running, fields);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{why}: {head}");
    }
    let by_tcp = Client::plain(([127, 0, 0, 1], probes).into());
    by_tcp.post("/takeover").send().await.assert_status(404);
    let mut next = running.another(&["run", "--takeover"], ".next");
    assert_eq!(next.wait(), Some(1));
    assert!(next.stderr().contains("another takeover is under way"), "{}", next.stderr());

    drop(first);

    until("a place for another", || {
        let (_, head) = PlayedSuccessor::ask(&running, UPGRADE);
        head.starts_with("HTTP/1.1 101 ").then_some(())
    });
    let mut running = running;
    assert!(running.is_running());
}

#[tokio::test]
async fn listeners_come_and_go_with_a_takeover() {
    let (mut running, _) = start();
    let (port, new) = (running.port, free_port());
    let sections = format!("{ECHO_ROUTES}[admin]\naddress = \"127.0.0.1:{}\"\n", free_port());
    write_config(running.dir.path(), port, &sections);
    let file = running.path("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let one = format!("{{ address = \"127.0.0.1:{port}\" }}");
    let other = format!("{one}, {{ address = \"127.0.0.1:{new}\" }}");
    // More workers than sockets: some of them share one.
    let text = text.replace(&one, &other).replace("[process]", "[process]\nworkers = 3");
    std::fs::write(&file, text).unwrap();

    let next = take_over(&mut running, 0);

    for port in [port, new] {
        let client = Client::plain(([127, 0, 0, 1], port).into());
        for _ in 0..8 {
            client.get("/open/").send().await.assert_status(200);
        }
    }
    assert!(!next.path("clients.sock").exists(), "nobody listens there any more");
}

/// The successor was not started by systemd, and gets the socket from the one that was.
#[tokio::test]
async fn a_socket_from_systemd_goes_on_to_the_successor_and_its_reloads() {
    let (dir, port) = crate::harness::process::folder(ECHO_ROUTES);
    let file = dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (by_address, by_name) =
        (format!("\"127.0.0.1:{port}\""), "\"fd:https\", allow_plain_http = true");
    let by_name = text.replace(&by_address, by_name);
    std::fs::write(&file, &by_name).unwrap();
    let program = tollhouse();
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen=127.0.0.1:{port}")).arg("--fdname=https");
    command.arg("--setenv=TOLLHOUSE_LOG=info").arg(program.get_program());
    let mut running = Process::start_command(command, dir, port);
    running.wait_for_commands();

    for number in 0..2 {
        let next = running.another(&["run", "--takeover"], &format!(".{number}"));
        next.wait_for_stderr("for operators");
        assert_eq!(running.wait(), Some(0), "{}", running.stderr());
        running = next;
        running.client().get("/open/").send().await.assert_status(200);
    }

    // A reload that leaves the listener out, and one that has it again.
    let other = free_port();
    std::fs::write(&file, by_name.replace("fd:https", &format!("127.0.0.1:{other}"))).unwrap();
    running.command(&["reload"]).ok();
    std::fs::write(&file, &by_name).unwrap();
    running.command(&["reload"]).ok();
    running.client().get("/open/").send().await.assert_status(200);
}

#[test]
fn without_a_gateway_that_runs_it_is_an_ordinary_start() {
    let (mut first, _) = start();
    first.signal("TERM");
    assert_eq!(first.wait(), Some(0));

    let mut next = first.another(&["run", "--takeover"], ".next");

    next.wait_for_stderr("no gateway runs in");
    next.wait_for_stderr("for operators");
    next.signal("TERM");
    assert_eq!(next.wait(), Some(0), "{}", next.stderr());
}
