//! Gateways, their store and the load balancer in front of them.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::store_server::StoreServer;
use crate::harness::gateway::{PASSWORD, hash_of, users};
use crate::harness::process::{CommandOutput, Process, free_port, root, run_in};
use crate::harness::{Client, HaProxy, Relay, Reply, Upstream};

/// Users with a cheap hash, `crowd0` and so on, each with `PASSWORD`.
pub(super) const CROWD: usize = 40;
const CHEAP_HASH: &str = "{SSHA}ydGApTHqrh2Tz2TQeMLVW68n5AFub2Rlcy1zYWx0";
/// Users with an address for codes, `code0@example.com` and so on, each with `PASSWORD`.
pub(super) const WITH_CODES: usize = 40;

pub(super) const STALE_LIMIT: Duration = Duration::from_secs(2);
/// How long another node may accept what was ended, while both reach the store.
pub(super) const BOUND: Duration = Duration::from_secs(1);

/// What the nodes have in common.
pub(super) struct Cluster {
    pub(super) store: StoreServer,
    pub(super) nodes: Vec<Node>,
    pub(super) upstream: Upstream,
    balancer: HaProxy,
}

/// A gateway with a folder, addresses and a way to the store of its own.
pub(super) struct Node {
    process: Option<Process>,
    folder: PathBuf,
    dir: Arc<tempfile::TempDir>,
    pub(super) port: u16,
    admin: u16,
    /// The way to the store.
    pub(super) line: Relay,
}

impl Cluster {
    /// Three nodes behind HAProxy, with further sections of the configuration.
    pub(super) async fn start(store: StoreServer, upstream: Upstream, sections: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let sections = format!("{sections}\n{}", routes(&upstream));
        let mut nodes: Vec<Node> = Vec::new();
        for name in ["one", "two", "three"] {
            let line = Relay::to(store.port()).await;
            let mut node = Node {
                process: None,
                folder: dir.path().join(name),
                dir: dir.clone(),
                port: free_port(),
                admin: free_port(),
                line,
            };
            node.configure(&store, &sections);
            if let Some(first) = nodes.first() {
                copy_keys(&first.folder, &node.folder);
            }
            node.start();
            node.until_ready().await;
            nodes.push(node);
        }
        let balancer = HaProxy::start(dir.path(), |address| balancing(address, &nodes));
        Self { store, nodes, upstream, balancer }
    }

    /// A client of the load balancer.
    pub(super) fn client(&self) -> Client {
        Client::plain(self.balancer.address)
    }

    /// Requests that the upstream has received for `path`.
    pub(super) fn arrived(&self, path: &str) -> usize {
        self.upstream.received().iter().filter(|request| request.target == path).count()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("== {}\n{}", node.folder.display(), node.stderr());
            }
        }
    }
}

impl Node {
    fn configure(&self, store: &StoreServer, sections: &str) {
        std::fs::create_dir(&self.folder).unwrap();
        write_files(&self.folder, store, self.line.port);
        let places = PLACES
            .replace("{port}", &self.port.to_string())
            .replace("{admin}", &self.admin.to_string());
        let common = store_and_login(store);
        let text = format!("{places}[token]\n{TOKEN}{SOURCES}{common}{sections}");
        std::fs::write(self.folder.join("gateway.toml"), text).unwrap();
    }

    /// Starts it, in its folder.
    pub(super) fn start(&mut self) {
        let process = Process::start_below(self.dir.clone(), self.folder.clone(), self.port);
        self.process = Some(process);
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the node runs")
    }

    /// What the node calls itself among the others.
    pub(super) fn name(&self) -> String {
        let machine = rustix::system::uname();
        format!("{}/{}", machine.nodename().to_str().unwrap(), self.process().pid())
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.process().signal("KILL");
        self.process.take().unwrap().wait();
    }

    /// Ends it in order, as a rolling restart does, and waits for its end.
    pub(super) async fn stop(&mut self) {
        let mut process = self.process.take().expect("the node runs");
        process.signal("TERM");
        let ended = tokio::task::spawn_blocking(move || process.wait());
        assert_eq!(ended.await.unwrap(), Some(0), "{}", self.stderr());
    }

    pub(super) fn client(&self) -> Client {
        Client::plain(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    /// A command of an operator on this machine.
    pub(super) fn command(&self, words: &[&str]) -> CommandOutput {
        run_in(&self.folder, words, "")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// The status of `/readyz`, and its text; 0 if nobody answers.
    pub(super) async fn readiness(&self) -> (u16, String) {
        let client = Client::plain(SocketAddr::from(([127, 0, 0, 1], self.admin)));
        let reply = client.get("/readyz?verbose").attempt().await;
        reply.map_or((0, String::new()), |reply| (reply.status.as_u16(), reply.text()))
    }

    /// Waits until it reaches its store.
    pub(super) async fn until_ready(&self) {
        eventually("the node reaches its store", async || {
            let (status, text) = self.readiness().await;
            status == 200 && !text.contains("cannot be reached")
        })
        .await;
    }

    /// A value of `/metrics`.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let client = Client::plain(SocketAddr::from(([127, 0, 0, 1], self.admin)));
        let text = client.get("/metrics").send().await.text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The access token and the refresh token of a new session.
    pub(super) async fn log_in(&self, name: &str) -> (String, String) {
        let reply = log_in(&self.client(), name).await.expect("an answer");
        tokens(reply.assert_status(200))
    }

    /// The status of a call with this token.
    pub(super) async fn call(&self, path: &str, token: &str) -> u16 {
        let reply = self.client().get(path).bearer(token).send().await;
        reply.status.as_u16()
    }
}

/// A login of the native dialect.
pub(super) async fn log_in(client: &Client, name: &str) -> Option<Reply> {
    let login = json!({ "username": name, "password": PASSWORD });
    client.post("/auth/login").json(login).attempt().await
}

pub(super) async fn refresh(client: &Client, token: &str) -> Option<Reply> {
    client.post("/auth/refresh").json(json!({ "refresh_token": token })).attempt().await
}

pub(super) async fn log_out(client: &Client, token: &str) -> Option<Reply> {
    client.post("/auth/logout").bearer(token).attempt().await
}

/// The access token and the refresh token of an answer.
pub(super) fn tokens(reply: &Reply) -> (String, String) {
    (reply.member("access_token"), reply.member("refresh_token"))
}

/// The `jti` of a token.
pub(super) fn token_id(token: &str) -> String {
    let claims: Value = crate::security::claims(token);
    claims["jti"].as_str().unwrap().to_owned()
}

/// Waits until `look` says yes.
pub(crate) async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let since = std::time::Instant::now();
    while !look().await {
        assert!(since.elapsed() < crate::harness::client::PATIENCE, "{what}: did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `[process]`, the listener and the address for probes.
const PLACES: &str = r#"
[process]
workers = 1
background_threads = 2
# Longer than HAProxy takes to notice.
drain_delay = "600ms"
drain_timeout = "10s"
[[listener]]
address = "127.0.0.1:{port}"
trusted_proxies = ["127.0.0.1"]
shared_addresses = ["127.0.0.1"]
[admin]
address = "127.0.0.1:{admin}"
[log]
access = "off"
audit = "off"
"#;

/// The keys of `[token]`.
pub(super) const TOKEN: &str = r#"
issuer = "https://gateway.example"
audience = ["legacy"]
refresh_grace = "60s"
"#;

/// The sources of users.
pub(super) const SOURCES: &str = r#"
[[users]]
name = "crowd"
kind = "htpasswd"
path = "crowd.htpasswd"
allow_weak = ["ssha"]
[[users]]
name = "staff"
kind = "file"
path = "users.toml"
"#;

/// The store, and a login.
pub(super) fn store_and_login(store: &StoreServer) -> String {
    format!(
        "[store]\nkind = \"{}\"\nurl = {{ file = \"store-url\" }}\n\
         seal = {{ file = \"seal.key\" }}\nstale_limit = \"{}s\"\n\
         [login_limits]\nnew_sessions_per_user = {{ attempts = 100000, per = \"1m\" }}\n\
         [[login]]\ndialect = \"native\"\n",
        store.kind(),
        STALE_LIMIT.as_secs()
    )
}

/// Writes the files that the configuration names; `port` leads to the store.
pub(super) fn write_files(folder: &Path, store: &StoreServer, port: u16) {
    let crowd: String = (0..CROWD).map(|n| format!("crowd{n}:{CHEAP_HASH}\n")).collect();
    for (name, text) in [
        ("users.toml", format!("{}{}", users(), users_with_codes())),
        ("crowd.htpasswd", crowd),
        ("seal.key", "5e".repeat(32)),
        ("store-url", store.url(port)),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

/// A route with a credential, and one without, to this upstream.
pub(super) fn routes(upstream: &Upstream) -> String {
    format!(
        "[[upstream]]\nname = \"u\"\nservers = [\"{}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"u\"\n\
         [[route]]\npath = \"/open/\"\nupstream = \"u\"\nauth = []\n",
        upstream.url()
    )
}

fn users_with_codes() -> String {
    let hash = hash_of(PASSWORD);
    let user = |number| {
        format!(
            "[[user]]\nid = \"0192f0c1-0000-7000-8000-{number:012}\"\nname = \"code{number}\"\n\
             email = \"code{number}@example.com\"\npassword = \"{hash}\"\n"
        )
    };
    (0..WITH_CODES).map(user).collect()
}

/// All nodes sign with the same keys.
pub(super) fn copy_keys(from: &Path, to: &Path) {
    let state = to.join("state");
    let copied = Command::new("sh")
        .args(["-c", "mkdir -m 700 \"$2\" && cp -a \"$1/state/keys\" \"$2\"", "sh"])
        .args([from, &state])
        .status();
    assert!(copied.unwrap().success());
}

/// The configuration of the page, for these nodes on this machine: without TLS, and quicker to
/// notice.
fn balancing(address: SocketAddr, nodes: &[Node]) -> String {
    let page = std::fs::read_to_string(root().join("docs/many-nodes.md")).unwrap();
    let block = page.split("```haproxy\n").nth(1).expect("the page has a configuration of HAProxy");
    let block = block.split("\n```").next().unwrap();
    let mut text = String::new();
    let mut nodes = nodes.iter();
    for line in block.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = match words.as_slice() {
            ["bind", ..] => format!("    bind {address}"),
            ["server", name, ..] => {
                let node = nodes.next().expect("the page has three servers");
                format!("    server {name} 127.0.0.1:{} check port {}", node.port, node.admin)
            }
            ["default-server", ..] => "    default-server inter 100ms fall 2 rise 1".to_owned(),
            _ => line.to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    assert!(nodes.next().is_none(), "the page has three servers");
    text
}
