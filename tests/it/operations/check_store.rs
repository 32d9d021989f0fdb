//! `check --online` about a store that several gateways share: every point of it has a verdict, and the
//! exit status says whether a gateway may rely on it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::process::{CommandOutput, run_in};
use crate::harness::{Postgres, Redis};

/// A folder with the configuration of a gateway on a shared store.
struct Place(tempfile::TempDir);

/// The exit status of a check if somebody cannot be relied on.
const UNAVAILABLE: i32 = 69;

impl Place {
    fn new(kind: &str, url: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("seal.key", &"5e".repeat(32));
        place.write("store-url", url);
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [token]\nissuer = \"https://gateway.example\"\naudience = [\"legacy\"]\n\
             [[upstream]]\nname = \"u\"\nservers = [\"builtin:echo\"]\n\
             [[route]]\npath = \"/\"\nupstream = \"u\"\nauth = []\n\
             [store]\nkind = \"{kind}\"\nurl = {{ file = \"store-url\" }}\n\
             seal = {{ file = \"seal.key\" }}\n"
        );
        place.write("gateway.toml", &config);
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }

    async fn run(&self, words: &[&str]) -> CommandOutput {
        let folder = self.0.path().to_owned();
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let run = move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            run_in(&folder, &words, "")
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// The findings about the store, where the check ends with this status.
    async fn check(&self, status: i32) -> Findings {
        let told = self.run(&["check", "--online", "--format", "json"]).await;
        assert_eq!((told.status, told.stderr.as_str()), (Some(status), ""), "{told:?}");
        assert!(!told.stdout.contains("s3cret"), "{}", told.stdout);
        let said: Value = serde_json::from_str(&told.stdout).unwrap();
        let verdicts = said["verdicts"].as_array().unwrap();
        assert_eq!(verdicts.len(), 1, "one party: {verdicts:?}");
        let verdict = &verdicts[0];
        assert_eq!((&verdict["what"], &verdict["key"]), (&"store".into(), &"store.url".into()));
        let is_bad = status != 0;
        assert_eq!(verdict["verdict"], if is_bad { "failed" } else { "ok" }, "{verdict}");
        assert_eq!(verdict["remedy"].is_string(), is_bad, "{verdict}");
        let message = verdict["message"].as_str().unwrap().to_owned();

        // What a person reads has the same findings, on one line.
        let told = self.run(&["check", "--online"]).await;
        assert_eq!(told.status, Some(status), "{told:?}");
        let word = if is_bad { "failed" } else { "ok" };
        let mut lines = told.stdout.lines();
        let line = lines.next().unwrap();
        assert!(line.starts_with(word) && line.contains("the shared store"), "{line}");
        for what in Findings(message.clone()).names() {
            assert!(line.contains(&what), "{what}: {line}");
        }
        let sum = if is_bad { "but 1 of 1 failed" } else { "and 1 of 1 answered" };
        assert_eq!(lines.next(), Some(format!("gateway.toml: ok, {sum}").as_str()));
        Findings(message)
    }
}

/// The findings in one text, as they are shown.
struct Findings(String);

const MARKS: [&str; 3] = [": good, ", ": WARNING, ", ": BAD, "];

impl Findings {
    /// Each finding by itself. A text may have semicolons, too.
    fn each(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for part in self.0.split("; ") {
            match found.last_mut() {
                Some(last) if !MARKS.iter().any(|mark| part.contains(mark)) => {
                    last.push_str("; ");
                    last.push_str(part);
                }
                _ => found.push(part.to_owned()),
            }
        }
        found
    }

    fn names(&self) -> Vec<String> {
        let name = |finding: &String| finding.split_once(": ").unwrap().0.to_owned();
        self.each().iter().map(name).collect()
    }

    #[track_caller]
    fn assert(&self, what: &str, mark: &str, parts: &[&str]) {
        let begin = format!("{what}: {mark}, ");
        let found = self.each().into_iter().find(|finding| finding.starts_with(&begin));
        let found = found.unwrap_or_else(|| panic!("{begin}: {}", self.0));
        for part in parts {
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    /// Everything is good but for these.
    #[track_caller]
    fn assert_good_but(&self, others: &[&str]) {
        for finding in self.each() {
            let name = finding.split_once(": ").unwrap().0;
            let is_good = finding.contains(": good, ");
            assert_eq!(is_good, !others.contains(&name), "{finding}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_of_a_store_in_postgres_has_a_verdict() {
    let mut server = Postgres::start_with("fsync=on").await;
    let database = server.database("select 1").await;
    let place = Place::new("postgres", &server.url(&database));

    // A user who may not make the tables, of which there are none.
    let found = place.check(UNAVAILABLE).await;
    let remedy = r#"CREATE SCHEMA "tollhouse" AUTHORIZATION "gateway""#;
    found.assert("tables", "BAD", &["`gateway` may not make them", remedy]);
    found.assert_good_but(&["tables"]);
    server.execute(&database, remedy).await;
    place.check(0).await.assert("tables", "good", &["gets its tables at the next start"]);

    // Whoever opens the store makes them.
    place.run(&["store", "export", "nothing"]).await.ok();
    let found = place.check(0).await;
    let port = format!("PostgreSQL at 127.0.0.1:{} is PostgreSQL ", server.port);
    for (what, parts) in [
        ("server", &[port.as_str()][..]),
        ("TLS", &["the server is this machine"]),
        ("writing", &["takes writes"]),
        ("tables", &["schema `tollhouse` has version"]),
        ("rights", &["`gateway` may use all tables"]),
        ("clock", &["differs from this machine's by"]),
        ("synchronous_commit", &["on, without synchronous standbys: a crash loses nothing"]),
        ("notifications", &["logouts reach other nodes at once"]),
    ] {
        found.assert(what, "good", parts);
    }
    assert_eq!(found.each().len(), 8, "{}", found.0);

    server.execute(&database, "alter role gateway set synchronous_commit = off").await;
    let found = place.check(0).await;
    let lost = ["off: after a crash", "may count as never used", "set it to on for this user"];
    found.assert("synchronous_commit", "WARNING", &lost);
    found.assert_good_but(&["synchronous_commit"]);

    // The remedy of the page.
    server.execute(&database, "alter role gateway set synchronous_commit = on").await;
    place.check(0).await.assert_good_but(&[]);

    server.kill();
    let found = place.check(UNAVAILABLE).await;
    found.assert("connection", "BAD", &["refused"]);
    assert!(!found.0.contains("good, it"), "nothing else was found out: {}", found.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_is_told_what_an_administrator_has_to_enter() {
    let server = Postgres::shared().await;
    let database = server.database("create schema tollhouse authorization gateway").await;
    let url = server.url(&database);
    let owner = Place::new("postgres", &url);
    owner.run(&["store", "export", "nothing"]).await.ok();
    let stranger = format!("s{}", uuid::Uuid::new_v4().simple());
    server.execute(&database, &format!("create role {stranger} login password 's3cret/@'")).await;
    let place = Place::new("postgres", &url.replace("//gateway:", &format!("//{stranger}:")));

    place.check(UNAVAILABLE).await.assert("tables", "BAD", &["GRANT USAGE ON SCHEMA"]);
    // Some rights, and not all of them.
    let some = format!(
        "grant usage on schema tollhouse to {stranger}; \
         grant select on all tables in schema tollhouse to {stranger}"
    );
    server.execute(&database, &some).await;
    let found = place.check(UNAVAILABLE).await;
    let grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA";
    found.assert("rights", "BAD", &[&stranger, "has not all rights to", "sessions", grant]);

    // The rest, as the page has it.
    let page = include_str!("../../../docs/reference/store-tables.md");
    let lines = page.lines().filter(|line| line.starts_with("GRANT "));
    let script: Vec<String> =
        lines.map(|line| line.replace(" gateway;", &format!(" {stranger};"))).collect();
    assert_eq!(script.len(), 3, "{script:?}");
    server.execute(&database, &script.concat()).await;
    let found = place.check(0).await;
    found.assert("rights", "good", &["may use all tables"]);
    // The tests' other servers are quick, and keep no promise.
    found.assert("synchronous_commit", "WARNING", &["`fsync` is off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_of_a_store_in_redis_has_a_verdict() {
    let mut server = Redis::start();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let place = Place::new("redis", &url);

    let found = place.check(0).await;
    for (what, parts) in [
        ("server", &[", a single server"][..]),
        ("TLS", &["the server is on this machine"]),
        ("clock", &["agrees with this machine's"]),
        ("persistence", &["appendfsync always", "loses nothing"]),
        ("maxmemory-policy", &["noeviction"]),
        ("replicas", &["none"]),
        ("rights", &["may do all"]),
    ] {
        found.assert(what, "good", parts);
    }
    assert_eq!(found.each().len(), 7, "{}", found.0);

    // A store that forgets what was revoked is refused; one that may lose something is a warning.
    for (setting, value, what, mark, part) in [
        ("appendfsync", "everysec", "persistence", "WARNING", "loses the last second"),
        ("appendonly", "no", "persistence", "WARNING", "none: a restart of the server empties"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy", "BAD", "set noeviction"),
    ] {
        let before = server.cli(&["CONFIG", "GET", setting]);
        assert_eq!(server.cli(&["CONFIG", "SET", setting, value]), "OK");
        let found = place.check(if mark == "BAD" { UNAVAILABLE } else { 0 }).await;
        found.assert(what, mark, &[part]);
        found.assert_good_but(&[what]);
        let before = before.lines().nth(1).unwrap();
        assert_eq!(server.cli(&["CONFIG", "SET", setting, before]), "OK");
    }

    // A user without the right to one of the commands.
    let gate = ["ACL", "SETUSER", "gate", "on", ">s3cret", "~tollhouse:*", "+@all", "-xread"];
    assert_eq!(server.cli(&gate), "OK");
    let gate = url.replace("//", "//gate:s3cret@");
    let found = Place::new("redis", &gate).check(UNAVAILABLE).await;
    found.assert("rights", "BAD", &["XREAD", "ACL SETUSER gate ~tollhouse:* +xread"]);
    found.assert_good_but(&["rights"]);

    server.kill();
    place.check(UNAVAILABLE).await.assert("connection", "BAD", &["refused"]);
}
