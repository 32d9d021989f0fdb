//! Two gateways with one store in a real PostgreSQL: their signing keys and TLS sessions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tollhouse::config;

use crate::harness::certs::Certificate;
use crate::harness::process::run_in;
use crate::harness::{Client, Gateway, Postgres, Upstream, gateway, postgres};

const TOKEN: &str = "issuer = \"https://gateway.example\"\naudience = [\"legacy\"]";

/// What two gateways have in common.
struct Pair {
    upstream: Upstream,
    certificate: Certificate,
    url: String,
    _dir: tempfile::TempDir,
}

impl Pair {
    async fn new() -> Self {
        let postgres = Postgres::shared().await;
        let database = postgres.database("select 1").await;
        let grant = format!("grant create on database {database} to gateway");
        postgres.execute("postgres", &grant).await;
        let dir = tempfile::tempdir().unwrap();
        Self {
            upstream: Upstream::start().await,
            certificate: Certificate::make(dir.path(), "localhost", &["localhost"]),
            url: postgres::url(postgres.port, &database),
            _dir: dir,
        }
    }

    /// A gateway in this folder.
    async fn start_on(&self, dir: tempfile::TempDir, keys: &str) -> Gateway {
        for (name, text) in [
            ("users.toml", gateway::users()),
            ("store-url", self.url.clone()),
            ("seal", "5e".repeat(32)),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let store = "[store]\nkind = \"postgres\"\nurl = { file = \"store-url\" }\n\
                     seal = { file = \"seal\" }";
        Gateway::builder()
            .tls(&self.certificate, "")
            .token(&format!("{TOKEN}\nkeys = \"{keys}\""))
            .login("native")
            .route_to(&self.upstream, "")
            .config(store)
            .on(dir)
            .start()
            .await
    }

    async fn start(&self) -> Gateway {
        self.start_on(tempfile::tempdir().unwrap(), "store").await
    }

    fn client(&self, gateway: &Gateway) -> Client {
        Client::trusting(gateway.address(), &self.certificate, false)
    }

    async fn log_in(&self, gateway: &Gateway) -> String {
        let login = serde_json::json!({ "username": "alice", "password": gateway::PASSWORD });
        let reply = self.client(gateway).post("/auth/login").json(login).send().await;
        reply.assert_status(200).member("access_token")
    }

    async fn status(&self, gateway: &Gateway, token: &str) -> u16 {
        self.client(gateway).get("/").bearer(token).send().await.status.as_u16()
    }

    async fn key_set(&self, gateway: &Gateway) -> String {
        self.client(gateway).get("/.well-known/jwks.json").send().await.text()
    }
}

/// The lines of a `key` command, given on the gateway in this folder.
fn key(dir: &Path, words: &[&str]) -> Vec<String> {
    let words: Vec<&str> = [&["key"], words].concat();
    run_in(dir, &words, "").ok().lines().map(str::to_owned).collect()
}

fn has_files(gateway: &Gateway) -> bool {
    fs::read_dir(gateway.dir().join("state/keys")).is_ok_and(|mut files| files.next().is_some())
}

#[tokio::test]
async fn commands_about_keys_act_on_every_gateway_of_the_store() {
    let pair = Pair::new().await;
    let (first, second) = (pair.start().await, pair.start().await);
    let token = pair.log_in(&first).await;
    assert_eq!(pair.status(&second, &token).await, 200, "one key for both");
    assert_eq!(pair.key_set(&first).await, pair.key_set(&second).await);
    assert!(!has_files(&first) && !has_files(&second));

    let rotated = key(second.dir(), &["rotate"]);
    assert_eq!(rotated.len(), 2, "{rotated:?}");
    let began = Instant::now();
    while key(first.dir(), &["list"]) != rotated {
        assert!(began.elapsed() < Duration::from_secs(5), "it never came");
    }

    let served = pair.upstream.received().len();
    let signing = rotated[0].split_whitespace().next().unwrap();
    let began = Instant::now();
    assert_eq!(key(second.dir(), &["revoke", signing, "--yes"]).len(), 1);
    // A request that comes before the revocation is let in, and counted.
    let mut early = 0;
    while pair.status(&first, &token).await != 401 {
        early += 1;
        assert!(began.elapsed() < Duration::from_secs(1), "the other gateway takes it still");
    }
    assert_eq!(pair.status(&second, &token).await, 401);
    assert_eq!(pair.upstream.received().len(), served + early);
    for (gateway, other) in [(&first, &second), (&second, &first)] {
        let token = pair.log_in(gateway).await;
        assert_eq!(pair.status(other, &token).await, 200);
    }

    // Nobody waits for the announcement of a key that signs at once.
    let list = key(first.dir(), &["list"]);
    let signing = list[0].split_whitespace().next().unwrap();
    key(first.dir(), &["revoke", signing, "--yes"]);
    let token = pair.log_in(&first).await;
    assert_eq!(pair.status(&second, &token).await, 200, "a token with a new key");
}

#[tokio::test]
async fn a_gateway_that_stood_alone_brings_its_keys_into_the_store() {
    let pair = Pair::new().await;
    let alone = pair.start_on(tempfile::tempdir().unwrap(), "folder").await;
    let token = pair.log_in(&alone).await;
    assert!(has_files(&alone));
    let text = fs::read_to_string(alone.dir().join("gateway.toml")).unwrap();
    let path = alone.dir().join("gateway.toml");
    let with_store = text.replace("keys = \"folder\"", "keys = \"store\"");
    let waiting = tokio::task::spawn_blocking(move || {
        let read = || config::parse(&with_store, &path, &|_| None).map(|loaded| loaded.config);
        let reloaded = alone.running().reload(|| read().map_err(|issues| issues.to_string()));
        (alone, reloaded.unwrap().waiting)
    });
    let (alone, waiting) = waiting.await.unwrap();
    assert_eq!(waiting, ["token.keys"], "a start takes them over");

    let first = pair.start_on(alone.stop().await, "store").await;
    let second = pair.start().await;

    for gateway in [&first, &second] {
        assert_eq!(pair.status(gateway, &token).await, 200);
    }
    assert!(has_files(&first) && !has_files(&second));
}

#[tokio::test]
async fn a_tls_session_is_resumed_by_the_other_gateway() {
    let pair = Pair::new().await;
    let (first, second) = (pair.start().await, pair.start().await);
    let connector = TlsConnector::from(pair.client(&first).tls.unwrap().0);

    for (gateway, expected) in [
        (&first, HandshakeKind::Full),
        (&second, HandshakeKind::Resumed),
        (&first, HandshakeKind::Resumed),
    ] {
        let tcp = TcpStream::connect(gateway.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, tcp).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
    }
}
