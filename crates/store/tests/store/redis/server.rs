//! Real Redis servers, each on a free port and in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tollhouse_core::secret::SecretString;
use tollhouse_store::shared::{RedisDatabase, RedisOptions, SharedOpenError};

/// The limit of a step in these tests: above what a busy machine needs.
pub(crate) const STEP_LIMIT: Duration = Duration::from_millis(500);
/// When a step must have failed at the latest: its limit and a follower's wait are over by then, and
/// the rest is for a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_millis(1500);
/// Longer than anything takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A `redis-server`, or a `redis-sentinel`, that ends with this value.
pub(crate) struct RedisServer {
    process: Child,
    dir: TempDir,
    pub(crate) port: u16,
    program: &'static str,
    arguments: Vec<String>,
}

impl RedisServer {
    /// A server that keeps everything that it has answered.
    pub(crate) fn start() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server that keeps nothing, for tests of other things.
    pub(crate) fn forgetful() -> Self {
        Self::with(&["--save", ""])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::launch("redis-server", tempfile::tempdir().unwrap(), |_, _| {
            arguments.iter().map(|&argument| argument.to_owned()).collect()
        })
    }

    /// A server that takes connections with TLS only. The certificate's files may go when it runs.
    pub(crate) fn with_tls(certificate: &str, key: &str) -> Self {
        Self::launch("redis-server", tempfile::tempdir().unwrap(), |_, port| {
            let port = port.to_string();
            let words = ["--port", "0", "--tls-port", &port, "--tls-cert-file", certificate];
            let words =
                words.into_iter().chain(["--tls-key-file", key, "--tls-auth-clients", "no"]);
            words.map(str::to_owned).collect()
        })
    }

    /// A server in a Cluster that is yet to be made.
    pub(crate) fn node() -> Self {
        Self::launch("redis-server", tempfile::tempdir().unwrap(), |_, _| {
            let bus = free_port().to_string();
            let words = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
            let words = words.into_iter().chain(["--cluster-port", &bus, "--save", ""]);
            words.map(str::to_owned).collect()
        })
    }

    /// A Sentinel alone, which decides by itself, and soon.
    pub(crate) fn sentinel(master: u16, password: &str) -> Self {
        Self::launch("redis-sentinel", tempfile::tempdir().unwrap(), |dir, port| {
            let file = dir.join("sentinel.conf");
            let text = format!(
                "port {port}\nsentinel monitor main 127.0.0.1 {master} 1\n\
                 sentinel auth-pass main {password}\n\
                 sentinel down-after-milliseconds main 300\n\
                 sentinel failover-timeout main 3000\n"
            );
            std::fs::write(&file, text).unwrap();
            vec![file.to_str().unwrap().to_owned()]
        })
    }

    /// Starts the program on a free port; another process may take the port first, then on another.
    fn launch(
        program: &'static str,
        dir: TempDir,
        arguments: impl Fn(&Path, u16) -> Vec<String>,
    ) -> Self {
        for _ in 0..10 {
            let port = free_port();
            let arguments = arguments(dir.path(), port);
            if let Some(process) = spawn(program, dir.path(), port, &arguments) {
                return Self { process, dir, port, program, arguments };
            }
        }
        panic!("{program} could not be started");
    }

    /// Starts the server again, after `kill`, on the same port and folder.
    pub(crate) fn restart(&mut self) {
        let since = Instant::now();
        self.process = loop {
            match spawn(self.program, self.dir.path(), self.port, &self.arguments) {
                Some(process) => break process,
                None => assert!(since.elapsed() < PATIENCE, "the port is taken"),
            }
        };
    }

    /// Ends the process at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }

    /// Removes what the server has on its disk.
    pub(crate) fn empty_disk(&self) {
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// Stops the process as a machine that is cut off: connections stay, and nothing is answered.
    pub(crate) fn pause(&self) {
        kill_process(Pid::from_child(&self.process), Signal::STOP).unwrap();
    }

    pub(crate) fn resume(&self) {
        kill_process(Pid::from_child(&self.process), Signal::CONT).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints for a command.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port, "--no-auth-warning"])
            .args(words)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Waits until a command prints what is looked for.
    pub(crate) fn await_cli(&self, words: &[&str], is_wanted: impl Fn(&str) -> bool) {
        let since = Instant::now();
        loop {
            let printed = self.cli(words);
            if is_wanted(&printed) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{words:?}: {printed}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn database(&self) -> RedisDatabase {
        database(&self.url())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server, and waits until it says that it is ready. `None` if it ends instead.
fn spawn(program: &str, dir: &Path, port: u16, arguments: &[String]) -> Option<Child> {
    let mut command = Command::new(program);
    // A configuration file comes first.
    command.args(arguments);
    if program == "redis-server" {
        command.args(["--bind", "127.0.0.1", "--dir", dir.to_str().unwrap()]);
        if !arguments.iter().any(|argument| argument == "--port") {
            command.args(["--port", &port.to_string()]);
        }
    }
    let mut process = command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let is_ready = lines.by_ref().map_while(Result::ok).any(|line| {
        line.contains("Ready to accept connections") || line.contains("Sentinel ID is")
    });
    if !is_ready {
        process.wait().unwrap();
        return None;
    }
    // The server would stop at a full pipe.
    std::thread::spawn(move || for _ in lines.map_while(Result::ok) {});
    Some(process)
}

/// Trusts the authorities of `ca`, and nobody else.
pub(crate) fn trusting(ca: &[&rustls_pki_types::CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add((*certificate).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

pub(crate) fn options(url: &str) -> RedisOptions {
    RedisOptions {
        url: SecretString::from(url),
        tls: trusting(&[]),
        demands_tls: true,
        key_prefix: "tollhouse".to_owned(),
        step_limit: STEP_LIMIT,
    }
}

pub(crate) fn database(url: &str) -> RedisDatabase {
    RedisDatabase::new(&options(url), Handle::current()).unwrap()
}

/// Tries until the database is there.
pub(crate) async fn await_prepared(database: &RedisDatabase) {
    let since = Instant::now();
    while let Err(error) = database.prepare().await {
        let is_temporary = matches!(error, SharedOpenError::Unreachable { .. });
        assert!(is_temporary && since.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Three nodes that have a third of the slots each.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

const RANGES: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

impl RedisCluster {
    pub(crate) fn start() -> Self {
        let nodes: Vec<RedisServer> = (0..3).map(|_| RedisServer::node()).collect();
        for (epoch, (node, (first, last))) in nodes.iter().zip(RANGES).enumerate() {
            // Each node begins with the same epoch, and without an own one they would have to agree
            // first.
            let epoch = (epoch + 1).to_string();
            assert_eq!(node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]), "OK");
            assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
        }
        let cluster = Self { nodes };
        for node in cluster.nodes.iter().skip(1) {
            cluster.nodes[0].meet(node);
        }
        cluster.await_ok();
        cluster
    }

    /// Adds a replica of one of the nodes.
    pub(crate) fn add_replica(&mut self, of: usize) {
        let replica = RedisServer::node();
        self.nodes[0].meet(&replica);
        let id = self.nodes[of].cli(&["CLUSTER", "MYID"]);
        replica.await_cli(&["CLUSTER", "NODES"], |nodes| nodes.contains(&id));
        assert_eq!(replica.cli(&["CLUSTER", "REPLICATE", &id]), "OK");
        replica.await_cli(&["INFO", "replication"], |info| info.contains("master_link_status:up"));
        for node in &self.nodes {
            node.await_cli(&["CLUSTER", "NODES"], |nodes| nodes.contains(&format!("slave {id}")));
        }
        self.nodes.push(replica);
        self.await_ok();
    }

    fn await_ok(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            node.await_cli(&["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok") && info.contains(&known)
            });
            node.await_cli(&["CLUSTER", "SLOTS"], |slots| slots.contains("16383"));
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub(crate) fn database(&self) -> RedisDatabase {
        database(&self.url())
    }
}

impl RedisServer {
    fn meet(&self, other: &Self) {
        let bus = other.arguments.iter().skip_while(|word| *word != "--cluster-port").nth(1);
        let port = other.port.to_string();
        let met = self.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, bus.unwrap()]);
        assert_eq!(met, "OK");
    }
}
