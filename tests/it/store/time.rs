//! What a store forgets, and by which clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};
use serde_json::json;
use tollhouse::clock::{Clock, TestClock};
use tollhouse::session::{
    EmbeddedOptions, EmbeddedStore, RevocationTarget, RotationOutcome, Session, SessionStore, Store,
};

use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Gateway, Upstream};
use crate::security::claims;
use crate::store::samples::options;
use crate::store::samples::{MANY, START, after, rotation, session};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn open(dir: &Path) -> (Arc<EmbeddedStore>, TestClock) {
    let moved = TestClock::new(START);
    let clock = Clock::test(moved.clone());
    (EmbeddedStore::open(EmbeddedOptions { clock, ..options(dir) }).unwrap(), moved)
}

/// Sweeps until nothing is due.
async fn swept(store: &EmbeddedStore, clock: &TestClock) {
    while store.sweep(clock.now()).await.unwrap() > 0 {}
}

#[tokio::test]
async fn ended_sessions_do_not_stay_in_memory_for_31_days() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path());
    let begun = (0..8000).map(|_| {
        let mut begun = session("ann", START);
        begun.expires = START.plus(30 * DAY);
        begun.access_until = after(600);
        store.put(begun, MANY, START)
    });
    for batch in begun.collect::<Vec<_>>().chunks_mut(1000) {
        for ended in join_all(batch).await {
            ended.unwrap();
        }
    }
    assert_eq!(store.revocations().len(), 7900, "all but the latest hundred have ended");

    // As long as an access token lives, and what clocks and caches elsewhere need: 15.5 minutes.
    clock.advance(Duration::from_secs(600 + 30 + 299));
    swept(&store, &clock).await;
    assert_eq!(store.revocations().len(), 7900);
    clock.advance(Duration::from_secs(1));
    swept(&store, &clock).await;

    assert_eq!(store.revocations().len(), 0);
    assert_eq!(store.list(None, 1000, clock.now()).await.unwrap().len(), 100);
}

#[tokio::test]
async fn refreshes_leave_no_rows_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let held = session("ann", START);
    store.put(held.clone(), MANY, START).await.unwrap();

    for nth in 0..1000_u64 {
        let from = if nth == 0 { "a".to_owned() } else { nth.to_string() };
        let rotation = rotation(&from, &(nth + 1).to_string(), after(nth));
        let outcome = store.rotate(held.id, rotation, after(nth)).await.unwrap();
        assert!(matches!(outcome, RotationOutcome::Rotated(_)), "{outcome:?}");
    }

    store.close().await;
    let db = redb::Database::open(dir.path().join("store.redb")).unwrap();
    let retired = TableDefinition::<(&[u8; 16], &[u8; 16]), ()>::new("retired");
    assert_eq!(db.begin_read().unwrap().open_table(retired).unwrap().len().unwrap(), 0);
}

#[tokio::test]
async fn refreshing_all_the_time_makes_one_token_a_second() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().moving().login("native").route_to(&upstream, "").start().await;
    let login = json!({ "username": "alice", "password": PASSWORD });
    let reply = gateway.client().post("/auth/login").json(login).send().await;
    let mut token = reply.assert_status(200).member("refresh_token");

    let mut made = Vec::new();
    for _ in 0..20 {
        let body = json!({ "refresh_token": token });
        let reply = gateway.client().post("/auth/refresh").json(body).send().await;
        token = reply.assert_status(200).member("refresh_token");
        gateway
            .client()
            .get("/")
            .bearer(&reply.member("access_token"))
            .send()
            .await
            .assert_status(200);
        made.push(claims(&token)["gen"].as_u64().unwrap());
        gateway.advance(Duration::from_millis(100));
    }

    assert_eq!(made, [[1; 10], [2; 10]].concat());
}

#[tokio::test]
async fn a_passing_clock_error_revives_no_token_that_was_logged_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path());
    let [ended, alive] = [session("ann", START), session("bob", START)];
    for session in [&ended, &alive] {
        store.put(session.clone(), MANY, START).await.unwrap();
    }
    store.revoke(RevocationTarget::Session(ended.id), START).await.unwrap();

    clock.set(START.plus(40 * DAY));
    swept(&store, &clock).await;

    assert!(
        store.notes().iter().any(|note| note.contains("the clock is at")),
        "{:?}",
        store.notes()
    );
    clock.set(after(60));
    assert!(store.revocations().session_revoked(&ended.id), "the sweep forgot it");
    assert!(store.find(alive.id, after(60)).await.unwrap().is_some(), "the sweep took it away");
    assert_eq!(store.notes(), Vec::<String>::new());

    // Where the clock stays there, it was right, and life goes on.
    clock.set(START.plus(40 * DAY));
    swept(&store, &clock).await;
    clock.advance(Duration::from_secs(600));
    swept(&store, &clock).await;
    assert!(!store.revocations().session_revoked(&ended.id));
    assert_eq!(store.notes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_clock_that_is_wrong_at_a_start_is_known_by_what_the_store_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let ended = session("ann", START);
    store.put(ended.clone(), MANY, START).await.unwrap();
    store.revoke(RevocationTarget::Session(ended.id), START).await.unwrap();
    store.close().await;
    let clock = TestClock::new(START.plus(40 * DAY));
    let wrong = EmbeddedOptions { clock: Clock::test(clock.clone()), ..options(dir.path()) };

    let store = EmbeddedStore::open(wrong).unwrap();
    swept(&store, &clock).await;

    assert!(!store.notes().is_empty());
    assert!(store.revocations().session_revoked(&ended.id));
}

#[tokio::test]
async fn a_store_made_by_a_clock_that_was_ahead_takes_its_own_tokens() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder().moving().login("native").route_to(&upstream, "").start().await;
    let before = gateway.token("alice").await;
    let clock = gateway.clock.clone().unwrap();

    clock.set(clock.now().minus(DAY));

    let token = gateway.token("bob").await;
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);
    let seen = upstream.received().len();
    gateway.client().get("/").bearer(&before).send().await.assert_status(401);
    assert_eq!(upstream.received().len(), seen, "that one is of tomorrow");
    let admin = Client::plain(gateway.running().admin_address().unwrap());
    let ready = admin.get("/readyz?verbose").send().await;
    assert!(ready.assert_status(200).text().contains("the store was made at"), "{}", ready.text());
}

/// A store with a session that was logged out of after a backup was made, and that backup in its
/// place.
async fn restored(dir: &Path) -> (EmbeddedOptions, Session) {
    let (store, clock) = open(dir);
    let ended = session("ann", START);
    store.put(ended.clone(), MANY, START).await.unwrap();
    let backup = dir.join("backup.redb");
    store.backup(&backup).await.unwrap();
    clock.advance(Duration::from_secs(120));
    store.revoke(RevocationTarget::Session(ended.id), clock.now()).await.unwrap();
    store.close().await;
    std::fs::rename(backup, dir.join("store.redb")).unwrap();
    (EmbeddedOptions { clock: Clock::test(clock), ..options(dir) }, ended)
}

#[tokio::test]
async fn a_restored_backup_is_noticed_until_all_sessions_have_been_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (options, ended) = restored(dir.path()).await;

    for _ in 0..2 {
        let store = EmbeddedStore::open(options.clone()).unwrap();
        assert!(store.find(ended.id, after(120)).await.unwrap().is_some(), "alive again");
        let notes = store.notes();
        assert!(notes.iter().any(|note| note.contains("session revoke --all")), "{notes:?}");
        store.close().await;
    }
    let store = EmbeddedStore::open(options.clone()).unwrap();
    store.revoke(RevocationTarget::All, after(121)).await.unwrap();

    assert_eq!(store.notes(), Vec::<String>::new());
    store.close().await;
    assert_eq!(EmbeddedStore::open(options).unwrap().notes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_was_only_opened_again_is_no_restored_one() {
    let dir = tempfile::tempdir().unwrap();
    for minutes in 0..3 {
        let clock = TestClock::new(after(minutes * 60));
        let clock = Clock::test(clock);
        let store = EmbeddedStore::open(EmbeddedOptions { clock, ..options(dir.path()) }).unwrap();
        store.put(session("ann", after(minutes * 60)), MANY, START).await.unwrap();
        assert_eq!(store.notes(), Vec::<String>::new(), "after {minutes} minutes");
        store.close().await;
    }
}

#[tokio::test]
async fn a_file_that_is_mostly_free_is_compacted_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let (store, clock) = open(dir.path());
    let puts = (0..12_000).map(|nth| {
        let mut brief = session(&format!("user {nth}"), START);
        // One in a hundred stays, so that no page at the end is free for itself.
        if nth % 100 > 0 {
            (brief.expires, brief.access_until) = (after(100), after(100));
        }
        store.put(brief, MANY, START)
    });
    for batch in puts.collect::<Vec<_>>().chunks_mut(1000) {
        for put in join_all(batch).await {
            put.unwrap();
        }
    }
    clock.advance(Duration::from_secs(200));
    swept(&store, &clock).await;
    store.close().await;
    let before = std::fs::metadata(&path).unwrap().len();
    assert!(before > 4 << 20, "{before} bytes are no large file");

    let kept = session("ann", after(200));
    let (store, _) = open(dir.path());
    store.put(kept.clone(), MANY, after(200)).await.unwrap();

    let now = std::fs::metadata(&path).unwrap().len();
    assert!(now < before / 4, "{before} bytes are {now} now");
    assert_eq!(store.find(kept.id, after(200)).await.unwrap(), Some(kept));
}
