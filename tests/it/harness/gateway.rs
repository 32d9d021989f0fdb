//! A gateway in this process, from TOML text.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tollhouse::clock::{Clock, TestClock, Timestamp};
use tollhouse::config;
use tollhouse::passwords;
use tollhouse::server::{self, RunningServer, ServerOptions};
use tollhouse::session::InjectedFaults;

use super::certs::Certificate;
use super::{Client, Upstream};

/// Every user of the tests has it.
pub const PASSWORD: &str = "correct horse battery";

/// When the test clock starts: 2026-11-22T09:30:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_795_339_800);

/// What to start.
pub struct GatewayBuilder {
    /// Keys of `[process]` beside those that every gateway has.
    process: String,
    /// The sections of the listeners.
    listeners: String,
    /// The keys of `[token]`.
    token: String,
    /// The sections of the sources of users.
    sources: String,
    sections: String,
    users: String,
    moving: Option<Timestamp>,
    /// The clock, if it is neither a test's nor right.
    clock: Option<Clock>,
    dir: Option<tempfile::TempDir>,
    new_state: bool,
    faults: Option<Arc<InjectedFaults>>,
    review_for: Option<Duration>,
}

/// A running gateway and its folder.
pub struct Gateway {
    running: Option<RunningServer>,
    pub clock: Option<TestClock>,
    dir: Option<tempfile::TempDir>,
}

impl Gateway {
    /// A gateway on a plain loopback listener with the users `alice` (role `admin`), `bob` (no
    /// role) and `dora` (disabled), all with `PASSWORD`.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder {
            process: "drain_timeout = \"2s\"".to_owned(),
            listeners: PLAIN.to_owned(),
            token: "issuer = \"https://gateway.example\"\naudience = [\"legacy\"]".to_owned(),
            sources: STAFF.to_owned(),
            sections: String::new(),
            users: users(),
            moving: None,
            clock: None,
            dir: None,
            new_state: false,
            faults: None,
            review_for: None,
        }
    }

    /// Every built-in dialect's endpoints would collide: one login, and `/` to `upstream`.
    pub async fn serving(dialect: &str, upstream: &Upstream) -> Self {
        Self::builder().login(dialect).route_to(upstream, "").start().await
    }

    pub fn client(&self) -> Client {
        Client::plain(self.address())
    }

    /// The first listener's address.
    pub fn address(&self) -> SocketAddr {
        self.running().addresses()[0]
    }

    pub fn running(&self) -> &RunningServer {
        self.running.as_ref().expect("the gateway runs")
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("the folder is held").path()
    }

    /// Moves the test clock.
    #[track_caller]
    pub fn advance(&self, by: Duration) {
        self.clock.as_ref().expect("started with `.moving()`").advance(by);
    }

    /// The test clock.
    #[track_caller]
    pub fn clock(&self) -> TestClock {
        self.clock.clone().expect("started with `.moving()`")
    }

    /// A `native` login's access token.
    pub async fn token(&self, name: &str) -> String {
        let login = serde_json::json!({ "username": name, "password": PASSWORD });
        let reply = self.client().post("/auth/login").json(login).send().await;
        reply.assert_status(200).member("access_token")
    }

    /// Every line of the access log so far.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        lines(&self.running().access_lines())
    }

    /// Every line of the audit log so far.
    pub fn audit_log(&self) -> Vec<serde_json::Value> {
        lines(&self.running().audit_lines())
    }

    /// Drains, then answers with the folder, so that a test can start again on it.
    pub async fn stop(mut self) -> tempfile::TempDir {
        let running = self.running.take().expect("the gateway runs");
        running.drain().await;
        self.dir.take().expect("the folder is held")
    }
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

impl GatewayBuilder {
    /// Adds sections to the configuration.
    pub fn config(mut self, sections: &str) -> Self {
        self.sections.push_str(sections);
        self.sections.push('\n');
        self
    }

    /// Replaces the keys of `[process]` beside the number of threads and the delay of a drain.
    pub fn process(mut self, keys: &str) -> Self {
        self.process = keys.to_owned();
        self
    }

    /// Adds keys and tables to the listener.
    pub fn listener(mut self, keys: &str) -> Self {
        self.listeners.push_str(keys);
        self.listeners.push('\n');
        self
    }

    /// Has the listener speak TLS with this certificate, with further keys of `[listener.tls]`.
    pub fn tls(self, certificate: &Certificate, keys: &str) -> Self {
        let Certificate { chain, key, .. } = certificate;
        let certificates = format!("[{{ chain = {chain:?}, key = {key:?} }}]");
        self.listener(&format!("[listener.tls]\ncertificates = {certificates}\n{keys}"))
    }

    /// Replaces the listener by these sections.
    pub fn listeners(mut self, sections: &str) -> Self {
        self.listeners = format!("{sections}\n");
        self
    }

    /// Replaces the keys of `[token]`.
    pub fn token(mut self, keys: &str) -> Self {
        self.token = keys.to_owned();
        self
    }

    /// Replaces the sources of users, which are a file, by these sections.
    pub fn with_users(mut self, sections: &str) -> Self {
        self.sources = sections.to_owned();
        self
    }

    /// The whole text of the configuration.
    pub fn text(&self) -> String {
        let Self { process, listeners, token, sources, sections, .. } = self;
        format!(
            "[process]\nworkers = 2\nbackground_threads = 1\ndrain_delay = \"0s\"\n{process}\n\
             {listeners}[admin]\naddress = \"127.0.0.1:0\"\n[token]\n{token}\n{sources}\n{sections}"
        )
    }

    /// Serves a dialect.
    pub fn login(self, dialect: &str) -> Self {
        self.config(&format!("[[login]]\ndialect = \"{dialect}\""))
    }

    /// An upstream and a route `/` to it, with further keys of the route.
    pub fn route_to(self, upstream: &Upstream, keys: &str) -> Self {
        self.route(upstream, "/", keys)
    }

    /// An upstream and a route to it.
    pub fn route(self, upstream: &Upstream, path: &str, keys: &str) -> Self {
        let number = self.sections.matches("[[upstream]]").count();
        self.config(&format!(
            "[[upstream]]\nname = \"u{number}\"\nservers = [\"{}\"]\n\
             [[route]]\npath = \"{path}\"\nupstream = \"u{number}\"\n{keys}",
            upstream.url()
        ))
    }

    /// Replaces `users.toml`.
    pub fn users(mut self, text: &str) -> Self {
        self.users = text.to_owned();
        self
    }

    /// Starts on a test clock at `START`.
    pub fn moving(self) -> Self {
        self.moving_from(START)
    }

    /// Starts on a test clock at this time.
    pub fn moving_from(mut self, start: Timestamp) -> Self {
        self.moving = Some(start);
        self
    }

    /// Starts on a clock that is ahead of the system's by so many milliseconds.
    pub fn clock_off_by(mut self, millis: i64) -> Self {
        self.clock = Some(Clock::off_by(millis));
        self
    }

    /// Starts on the folder of an earlier gateway, keeping its users and state.
    pub fn on(mut self, dir: tempfile::TempDir) -> Self {
        self.dir = Some(dir);
        self
    }

    pub fn new_state(mut self) -> Self {
        self.new_state = true;
        self
    }

    /// Has the store's disk fail when `faults` says so.
    pub fn faults(mut self, faults: &Arc<InjectedFaults>) -> Self {
        self.faults = Some(faults.clone());
        self
    }

    /// How long the start waits for sources of users.
    pub fn review_for(mut self, span: Duration) -> Self {
        self.review_for = Some(span);
        self
    }

    pub async fn start(self) -> Gateway {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts, or says why not.
    pub async fn try_start(self) -> Result<Gateway, String> {
        let text = self.text();
        let fresh = self.dir.is_none();
        let dir = self.dir.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let path = dir.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        if fresh {
            std::fs::write(dir.path().join("users.toml"), &self.users).unwrap();
        }
        let loaded = config::load(&path, &|_| None).map_err(|issues| issues.to_string())?;
        let clock = self.moving.map(TestClock::new);
        let options = ServerOptions {
            clock: clock.clone().map(Clock::test).or(self.clock).unwrap_or_default(),
            new_state: self.new_state,
            capture_logs: true,
            store_faults: self.faults.clone(),
            review_for: self.review_for,
            ..ServerOptions::default()
        };
        let running = tokio::task::spawn_blocking(move || server::start(loaded.config, options))
            .await
            .unwrap()
            .map_err(|error| format!("{error:#}"))?;
        Ok(Gateway { running: Some(running), clock, dir: Some(dir) })
    }
}

/// A plain listener on a port that the system chooses.
const PLAIN: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";

/// The users of `users.toml`.
pub const STAFF: &str = "[[users]]\nname = \"staff\"\nkind = \"file\"\npath = \"users.toml\"\n";

/// The users that every gateway has.
pub fn users() -> String {
    let hash = hash_of(PASSWORD);
    format!(
        r#"
[[user]]
id = "0192f0c1-0000-7000-8000-00000000000a"
name = "alice"
email = "alice@example.com"
password = "{hash}"
roles = ["admin"]
scopes = ["read", "write"]
claims = {{ tenant = "acme", features = ["paid-plans", "app-bi"] }}

[[user]]
id = "0192f0c1-0000-7000-8000-00000000000b"
name = "bob"
email = "bob@example.com"
password = "{hash}"

[[user]]
id = "0192f0c1-0000-7000-8000-00000000000d"
name = "dora"
email = "dora@example.com"
password = "{hash}"
disabled = true
"#
    )
}

/// The hash of a password, made once a process.
pub fn hash_of(password: &str) -> String {
    static HASHES: OnceLock<Mutex<HashMap<String, String>>> = OnceLock::new();
    let mut hashes = HASHES.get_or_init(Mutex::default).lock().unwrap();
    hashes
        .entry(password.to_owned())
        .or_insert_with(|| passwords::hash(password).unwrap().as_str().to_owned())
        .clone()
}
