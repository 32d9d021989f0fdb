//! A store moves: from one node to many, from PostgreSQL to Redis, and back to one node. Nobody is
//! logged out, and nothing that was ended comes back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tollhouse::authn::new_key;
use tollhouse::clock::Clock;

use super::cluster::{SOURCES, TOKEN, eventually, log_in, log_out, refresh, tokens, write_files};
use super::store_server::StoreServer;
use crate::harness::process::{CommandOutput, Process, free_port, root, run_in};
use crate::harness::{Client, Reply, Upstream};
use crate::security::signed;

const SECRET: &[u8] = b"a shared secret of 32 bytes, ok!";

/// The databases, the upstream and what every configuration has.
struct Site {
    dir: Arc<tempfile::TempDir>,
    upstream: Upstream,
    postgres: StoreServer,
    redis: StoreServer,
    /// The API key that is revoked, and the one that stays.
    keys: [String; 2],
    sections: String,
}

/// Where a gateway has its store.
#[derive(Clone, Copy)]
enum Kind {
    Embedded,
    Postgres,
    Redis,
}

/// A machine with a folder and an address. A gateway runs there or not.
struct Machine {
    dir: Arc<tempfile::TempDir>,
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Site {
    async fn new() -> Self {
        let upstream = Upstream::start().await;
        let keys = ["robot", "auditor"].map(new_key);
        let sections = format!(
            "[[login]]\ndialect = \"native\"\n\
             [[issuer]]\nname = \"legacy\"\nissuer = \"https://legacy.example/\"\n\
             algorithms = [\"HS256\"]\nsecret = {{ file = \"secret\" }}\naudience = [\"legacy\"]\n\
             [[api_key]]\nid = \"robot\"\nhash = \"{}\"\n\
             [[api_key]]\nid = \"auditor\"\nhash = \"{}\"\n\
             [[upstream]]\nname = \"u\"\nservers = [\"{}\"]\n\
             [[route]]\npath = \"/\"\nupstream = \"u\"\nauth = [\"bearer\", \"api_key\"]\n",
            keys[0].1.hex(),
            keys[1].1.hex(),
            upstream.url()
        );
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            upstream,
            postgres: StoreServer::postgres().await,
            redis: StoreServer::redis(),
            keys: keys.map(|(key, _)| key.expose().clone()),
            sections,
        }
    }

    /// A machine without a configuration.
    fn machine(&self, name: &str) -> Machine {
        let folder = self.dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        // The users, and other files that are none of a store's.
        write_files(&folder, &self.postgres, self.postgres.port());
        std::fs::remove_file(folder.join("seal.key")).unwrap();
        let machine = Machine { dir: self.dir.clone(), folder, port: free_port(), process: None };
        machine.write("secret", std::str::from_utf8(SECRET).unwrap());
        for (kind, server) in [("postgres", &self.postgres), ("redis", &self.redis)] {
            machine.write(&format!("{kind}-url"), &server.url(server.port()));
        }
        machine
    }

    /// Writes `gateway.toml` for a store of this kind. The last one is `old.toml` then.
    fn configure(&self, machine: &Machine, kind: Kind) {
        let shared = |kind: &str| {
            let store = format!(
                "[store]\nkind = \"{kind}\"\nurl = {{ file = \"{kind}-url\" }}\n\
                 seal = {{ file = \"seal.key\" }}\n"
            );
            ("keys = \"store\"\n", store)
        };
        let (keys, store) = match kind {
            Kind::Embedded => ("", String::new()),
            Kind::Postgres => shared("postgres"),
            Kind::Redis => shared("redis"),
        };
        let path = machine.path("gateway.toml");
        if path.exists() {
            std::fs::rename(&path, machine.path("old.toml")).unwrap();
        }
        let text = format!(
            "[process]\nworkers = 1\nbackground_threads = 2\ndrain_delay = \"0s\"\n\
             [[listener]]\naddress = \"127.0.0.1:{}\"\n\
             [token]\n{TOKEN}{keys}{SOURCES}{store}{}",
            machine.port, self.sections
        );
        std::fs::write(path, text).unwrap();
    }

    /// Requests that the upstream has received for `path`.
    fn arrived(&self, path: &str) -> usize {
        self.upstream.received().iter().filter(|request| request.target == path).count()
    }
}

impl Machine {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    async fn start(&mut self) {
        let process = Process::start_below(self.dir.clone(), self.folder.clone(), self.port);
        self.process = Some(process);
        eventually("commands", async || self.command(&["key", "list"]).status == Some(0)).await;
    }

    fn stop(&mut self) {
        let mut process = self.process.take().expect("the gateway runs");
        process.signal("TERM");
        assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    }

    fn command(&self, words: &[&str]) -> CommandOutput {
        run_in(&self.folder, words, "")
    }

    /// What was moved, by the line of an export or an import.
    fn moved(&self, words: &[&str]) -> String {
        let told = self.command(words).ok();
        told.trim_end().split_once("): ").expect(&told).1.to_owned()
    }

    /// Takes over the file from the other machine.
    fn copy(&self, name: &str, from: &Self) {
        self.write(name, &std::fs::read_to_string(from.path(name)).unwrap());
    }

    fn client(&self) -> Client {
        Client::plain(([127, 0, 0, 1], self.port).into())
    }

    async fn call(&self, path: &str, token: &str) -> u16 {
        self.client().get(path).bearer(token).send().await.status.as_u16()
    }

    /// A call with an API key.
    async fn call_with_key(&self, path: &str, key: &str) -> u16 {
        let call = self.client().get(path).header("x-api-key", key).send().await;
        call.status.as_u16()
    }

    async fn log_in(&self, name: &str) -> (String, String) {
        tokens(log_in(&self.client(), name).await.unwrap().assert_status(200))
    }

    /// The id of the key that signs.
    fn signing_key(&self) -> String {
        let list = self.command(&["key", "list"]).ok();
        list.split_whitespace().next().expect(&list).to_owned()
    }

    /// The second step of alice, with this code.
    async fn second_step(&self, code: &str) -> Reply {
        let reply = log_in(&self.client(), "alice").await.unwrap();
        let ticket = reply.assert_status(202).member("ticket");
        let guess = json!({ "username": "alice", "ticket": ticket, "code": code });
        self.client().post("/auth/verify").json(guess).send().await
    }
}

/// What users, services and operators did before the first move.
struct Past {
    /// The access tokens of a session, and its refresh token.
    access: Vec<String>,
    refreshing: String,
    /// The same of a session that was logged out.
    ended: (String, String),
    foreign: String,
    foreign_ended: String,
    phone: totp_rs::Totp,
    used_code: String,
}

impl Past {
    async fn make(site: &Site, machine: &Machine) -> Self {
        let (access, refreshing) = machine.log_in("crowd0").await;
        let ended = machine.log_in("crowd1").await;
        let [foreign, foreign_ended] = ["7", "8"].map(foreign);
        let [robot, auditor] = &site.keys;
        for token in [&ended.0, &foreign, &foreign_ended] {
            assert_eq!(machine.call("/accepted", token).await, 200);
        }
        for key in [robot, auditor] {
            assert_eq!(machine.call_with_key("/accepted", key).await, 200);
        }
        for token in [&ended.0, &foreign_ended] {
            log_out(&machine.client(), token).await.unwrap().assert_status(204);
        }
        machine.command(&["api-key", "revoke", "robot", "--yes"]).ok();
        let told = machine.command(&["user", "totp", "alice"]).ok();
        let phone = totp_rs::Totp::from_url(told.lines().next().unwrap()).unwrap();
        let used_code = shown(&phone, 0);
        machine.second_step(&used_code).await.assert_status(200);
        let access = vec![access];
        Self { access, refreshing, ended, foreign, foreign_ended, phone, used_code }
    }

    /// Whoever was in is in, on each machine, and whoever was out is out.
    async fn assert_kept(&mut self, site: &Site, machines: &[&Machine]) {
        let [robot, auditor] = &site.keys;
        for machine in machines {
            for token in self.access.iter().chain([&self.foreign]) {
                assert_eq!(machine.call("/accepted", token).await, 200);
            }
            assert_eq!(machine.call_with_key("/accepted", auditor).await, 200);
            for token in [&self.ended.0, &self.foreign_ended] {
                assert_eq!(machine.call("/refused", token).await, 401);
            }
            assert_eq!(machine.call_with_key("/refused", robot).await, 401);
            let client = machine.client();
            refresh(&client, &self.ended.1).await.unwrap().assert_status(401);
            machine.second_step(&self.used_code).await.assert_status(401);
        }
        // The refresh token that one machine issues is taken by the next one.
        for machine in machines.iter().chain(machines) {
            let reply = refresh(&machine.client(), &self.refreshing).await.unwrap();
            let (access, refreshing) = tokens(reply.assert_status(200));
            self.refreshing = refreshing;
            for other in machines {
                assert_eq!(other.call("/accepted", &access).await, 200);
            }
            self.access.push(access);
        }
        let (new, _) = machines[0].log_in("crowd3").await;
        for machine in machines {
            assert_eq!(machine.call("/accepted", &new).await, 200);
        }
        assert_eq!(site.arrived("/refused"), 0, "the upstream saw nothing");
    }
}

/// A token of the other issuer.
fn foreign(subject: &str) -> String {
    let now = Clock::system().now().secs();
    let claims = json!({
        "iss": "https://legacy.example/", "aud": "legacy", "sub": subject,
        "preferred_username": subject, "iat": now - 5, "exp": now + 3600,
    });
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET)
}

/// The code that an authenticator shows, so many steps from now.
fn shown(phone: &totp_rs::Totp, steps: u64) -> String {
    phone.generate(Clock::system().now().secs() + 30 * steps).to_string()
}

/// The commands of the page, in order.
fn commands_of_the_page() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/many-nodes.md")).unwrap();
    let section = page.split("## From one node to many").nth(1).expect("the page has the section");
    let block = section.split("```sh\n").nth(1).expect("the section has commands");
    let block = block.split("\n```").next().unwrap();
    block.lines().map(|line| line.replace("/etc/tollhouse/", "")).collect()
}

/// Carries out the commands of the page, which also stop the gateway on this machine and start it.
async fn move_by_the_page(machine: &mut Machine) {
    for line in commands_of_the_page() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["tollhouse", words @ ..] => drop(machine.command(words).ok()),
            ["systemctl", "stop", "tollhouse"] => machine.stop(),
            ["systemctl", "start", "tollhouse"] => machine.start().await,
            _ => panic!("{line}: what is this?"),
        }
    }
}

/// Moves the store from the configuration of before to the one of now. No gateway runs.
fn move_store(machine: &Machine, seal: &[&str]) -> String {
    let export = machine.path("store.export");
    if export.exists() {
        std::fs::remove_file(export).unwrap();
    }
    let exported = [&["-c", "old.toml", "store", "export", "store.export"], seal].concat();
    let exported = machine.moved(&exported);
    let imported = [&["-c", "gateway.toml", "store", "import", "store.export"], seal].concat();
    assert_eq!(machine.moved(&imported), exported);
    exported
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_node_to_many_to_another_database_and_back_nobody_is_logged_out() {
    let site = Site::new().await;
    let (mut one, mut two) = (site.machine("one"), site.machine("two"));
    site.configure(&one, Kind::Embedded);
    one.start().await;
    let mut past = Past::make(&site, &one).await;
    past.assert_kept(&site, &[&one]).await;

    // To PostgreSQL, as the page says.
    site.configure(&one, Kind::Postgres);
    move_by_the_page(&mut one).await;
    two.copy("seal.key", &one);
    site.configure(&two, Kind::Postgres);
    two.start().await;
    past.assert_kept(&site, &[&one, &two]).await;

    // To Redis, by the other machine. No folder has the keys any more.
    std::fs::remove_dir_all(one.path("state/keys")).unwrap();
    one.stop();
    two.stop();
    site.configure(&one, Kind::Redis);
    site.configure(&two, Kind::Redis);
    let moved = move_store(&two, &[]);
    for part in ["ended session", "refused token", "1 second step", "1 set of signing keys"] {
        assert!(moved.contains(part), "{part}: {moved}");
    }
    two.start().await;
    one.start().await;
    past.assert_kept(&site, &[&one, &two]).await;

    // Back to one node. The file of the embedded store of before is not overwritten.
    one.stop();
    two.stop();
    site.configure(&one, Kind::Embedded);
    one.command(&["-c", "old.toml", "store", "export", "before"]).ok();
    let import = ["store", "import", "before", "--seal", "seal.key"];
    one.command(&import).failed(1, &["store.redb` is not empty"]);
    std::fs::remove_file(one.path("state/store.redb")).unwrap();
    move_store(&one, &["--seal", "seal.key"]);
    one.start().await;
    past.assert_kept(&site, &[&one]).await;
    one.second_step(&shown(&past.phone, 1)).await.assert_status(200);
}

/// A key that was revoked while the keys were in the store may still have its file in the folder of a
/// machine, from the time before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_revoked_does_not_come_back_by_a_move() {
    let site = Site::new().await;
    let mut one = site.machine("one");
    site.configure(&one, Kind::Embedded);
    one.start().await;
    let (stolen, _) = one.log_in("crowd0").await;
    let key = one.signing_key();
    let file = one.path(&format!("state/keys/{key}.pem"));
    site.configure(&one, Kind::Postgres);
    move_by_the_page(&mut one).await;
    assert_eq!(one.call("/accepted", &stolen).await, 200);
    assert!(file.exists(), "{}", file.display());
    one.command(&["key", "revoke", &key, "--yes"]).ok();
    let successor = one.signing_key();
    let (access, _) = one.log_in("crowd1").await;

    for kind in [Kind::Redis, Kind::Embedded] {
        one.stop();
        site.configure(&one, kind);
        if matches!(kind, Kind::Embedded) {
            std::fs::remove_file(one.path("state/store.redb")).unwrap();
        }
        move_store(&one, &["--seal", "seal.key"]);
        one.start().await;

        assert_eq!(one.call("/refused", &stolen).await, 401);
        assert_eq!(one.call("/accepted", &access).await, 200);
        assert_eq!(one.signing_key(), successor);
    }
    assert!(!file.exists(), "the file of the revoked key is removed");
    assert_eq!(site.arrived("/refused"), 0, "the upstream saw nothing");
}
