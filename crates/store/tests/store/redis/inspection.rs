use std::time::Duration;

use tollhouse_core::clock::{Clock, TestClock, Timestamp};
use tollhouse_core::secret::Digest;
use tollhouse_store::shared::{Finding, RecordKind, RedisDatabase, SharedDatabase as _, Verdict};

use super::server::{RedisServer, database};
use crate::shared_database::{entry, key, load, write};

async fn findings(database: &RedisDatabase) -> Vec<Finding> {
    database.inspect(&Clock::system()).await
}

/// The finding about a subject.
fn about<'a>(findings: &'a [Finding], what: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("{findings:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_nothing_is_good() {
    let server = RedisServer::start();
    let database = server.database();

    let findings = findings(&database).await;

    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Good), "{findings:?}");
    let subjects: Vec<_> = findings.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(
        subjects,
        ["server", "TLS", "clock", "persistence", "maxmemory-policy", "replicas", "rights"]
    );
    let server = &about(&findings, "server").text;
    assert!(server.starts_with("Redis ") || server.starts_with("Valkey "), "{server}");
    assert!(server.ends_with(", a single server"), "{server}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_lost_is_said() {
    for (settings, what, verdict, said) in [
        (&["--save", ""][..], "persistence", Verdict::Warning, "empties the store"),
        (&["--save", "60 1"], "persistence", Verdict::Warning, "snapshots only"),
        (&["--appendonly", "yes"], "persistence", Verdict::Warning, "the last second"),
        (
            &["--appendonly", "yes", "--appendfsync", "no"],
            "persistence",
            Verdict::Warning,
            "has not written yet",
        ),
        (
            &["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"],
            "maxmemory-policy",
            Verdict::Bad,
            "revoked would be accepted again",
        ),
        (&["--maxmemory", "1000000"], "memory", Verdict::Warning, "% of maxmemory"),
        (&["--min-replicas-to-write", "1"], "rights", Verdict::Good, "all that the gateway needs"),
    ] {
        let server = RedisServer::with(settings);
        let findings = findings(&server.database()).await;

        let finding = about(&findings, what);

        assert_eq!(finding.verdict, verdict, "{settings:?}: {finding:?}");
        assert!(finding.text.contains(said), "{settings:?}: {finding:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_nobody_waits_for_is_a_warning() {
    let server = RedisServer::start();
    let port = server.port.to_string();
    let _replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    server.await_cli(&["INFO", "replication"], |info| info.contains("connected_slaves:1"));
    let database = server.database();

    let before = findings(&database).await;
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let after = findings(&database).await;

    assert_eq!(about(&before, "replicas").verdict, Verdict::Warning);
    assert!(about(&before, "replicas").text.contains("min-replicas-to-write 1"), "{before:?}");
    assert_eq!(about(&after, "replicas").verdict, Verdict::Good, "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_named() {
    let server = RedisServer::start();
    // The line of the documentation.
    let page = include_str!("../../../../../docs/store-redis.md");
    let rule = page.lines().find(|line| line.starts_with("ACL SETUSER gate")).unwrap();
    let words: Vec<&str> = rule.split(' ').collect();
    assert_eq!(server.cli(&words), "OK");
    let gate = database(&format!("redis://gate:PASSWORD@127.0.0.1:{}", server.port));
    let found = findings(&gate).await;
    assert_eq!(about(&found, "rights").verdict, Verdict::Good, "{found:?}");
    assert_eq!(about(&found, "persistence").verdict, Verdict::Warning, "CONFIG is not needed");
    gate.prepare().await.unwrap();
    write(&gate, &key(RecordKind::Session, "a"), None, "one").await;
    gate.join(Digest::of(b"group"), b"member", None).await.unwrap();
    gate.members(Digest::of(b"group")).await.unwrap();
    gate.publish(&[entry("a", "one")]).await.unwrap();
    assert_eq!(load(&mut *gate.follow()).await.len(), 1);
    assert_eq!(gate.walk(RecordKind::Session, None, 10).await.unwrap().len(), 1);
    gate.sweep().await.unwrap();

    for (take, named) in [
        ("-getex", "GETEX"),
        ("-xread", "XREAD"),
        ("-script|load", "SCRIPT|LOAD"),
        ("-time", "TIME"),
    ] {
        server.cli(&["ACL", "SETUSER", "gate", take]);
        let found = findings(&gate).await;
        let rights = about(&found, "rights");
        assert_eq!(rights.verdict, Verdict::Bad, "{take}: {found:?}");
        assert!(rights.text.contains(named), "{take}: {found:?}");
        let give = take.replace('-', "+");
        server.cli(&["ACL", "SETUSER", "gate", &give]);
    }
    server.cli(&["ACL", "SETUSER", "gate", "resetkeys", "~other:*"]);
    let found = findings(&gate).await;
    assert_eq!(about(&found, "rights").verdict, Verdict::Bad, "{found:?}");
    assert!(about(&found, "rights").text.contains("~tollhouse:*"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_and_servers_that_are_gone_are_found() {
    let mut server = RedisServer::start();
    let database = server.database();
    let now = Clock::system().now();
    for (here, verdict, said) in [
        (now.plus(Duration::from_secs(20)), Verdict::Warning, "behind"),
        (now.minus(Duration::from_secs(20)), Verdict::Warning, "ahead of"),
        (now.plus(Duration::from_secs(100)), Verdict::Bad, "behind"),
        (Timestamp::from_secs(0), Verdict::Bad, "ahead of"),
    ] {
        let findings = database.inspect(&Clock::test(TestClock::new(here))).await;
        let clock = about(&findings, "clock");
        assert!(clock.verdict == verdict && clock.text.contains(said), "{clock:?}");
    }

    server.kill();

    let findings = findings(&database).await;
    assert_eq!(findings.len(), 1);
    assert_eq!(about(&findings, "connection").verdict, Verdict::Bad);
}
