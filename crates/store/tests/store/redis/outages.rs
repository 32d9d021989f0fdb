use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tollhouse_core::secret::Digest;
use tollhouse_store::shared::{
    DatabaseError, News, RecordKind, SharedDatabase, SharedOpenError, Swap,
};

use super::server::{RedisServer, SOON, database};
use super::{dynamic, until_it_works};
use crate::shared_database::{entry, key, load, record, value, write};

/// The error of a step that must fail, and soon.
async fn refused<T: std::fmt::Debug>(
    step: impl Future<Output = Result<T, DatabaseError>>,
) -> String {
    let began = Instant::now();
    let error = step.await.unwrap_err().to_string();
    assert!(began.elapsed() < SOON, "{error}: {:?}", began.elapsed());
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_cut_off_fails_each_step_in_time_and_heals() {
    let server = RedisServer::start();
    let database = server.database();
    let session = key(RecordKind::Session, "a");
    let version = write(&database, &session, None, "one").await;
    let mut follower = database.follow();
    load(&mut *follower).await;
    server.pause();

    let new = record("two");
    for error in [
        refused(database.read(&session)).await,
        refused(database.swap(&session, Some(version), new.clone())).await,
        refused(database.swap(&key(RecordKind::Session, "b"), None, record("b"))).await,
        refused(database.walk(RecordKind::Session, None, 10)).await,
        refused(database.join(Digest::of(b"group"), b"member", None)).await,
        refused(database.members(Digest::of(b"group"))).await,
        refused(database.publish(&[entry("a", "one")])).await,
        refused(follower.next()).await,
        refused(database.sweep()).await,
    ] {
        assert!(error.contains("did not answer within"), "{error}");
        assert!(error.contains(&format!("127.0.0.1:{}", server.port)) || error.contains("Redis"));
    }
    let many = join_all((0..200).map(|_| database.read(&session))).await;
    assert!(many.iter().all(Result::is_err));

    server.resume();
    // The first step after that may find only connections that were given up.
    until_it_works(async || database.read(&session).await).await;
    let swap = database.swap(&session, Some(version), new.clone()).await.unwrap();
    assert!(matches!(swap, Swap::Written), "its own write, or the late one: {swap:?}");
    assert_eq!(value(&database, &session).await.as_deref(), Some("two"));
    loop {
        // What was published while the server was stopped may have been carried out.
        match until_it_works(async || follower.next().await).await {
            News::Missed => drop(load(&mut *follower).await),
            News::Entries(entries) if entries.is_empty() => break,
            News::Entries(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_waits_for_goes_to_nobody_else() {
    let server = RedisServer::start();
    let database = server.database();
    for number in 0..50 {
        let name = number.to_string();
        write(&database, &key(RecordKind::Code, &name), None, &name).await;
    }
    let read = |number: usize| {
        let database = &database;
        async move {
            let name = (number % 50).to_string();
            (name.clone(), value(database, &key(RecordKind::Code, &name)).await)
        }
    };

    for round in 0..20 {
        let limit = Duration::from_micros(round * 50);
        let given_up = (0..50).map(|number| tokio::time::timeout(limit, read(number)));
        join_all(given_up).await;

        for (name, found) in join_all((0..50).map(|number| read(number + 7))).await {
            assert_eq!(found, Some(name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill_and_no_step_fails_after_the_restart() {
    let mut server = RedisServer::start();
    let database = server.database();
    let account = key(RecordKind::Account, "a");
    let version = write(&database, &account, None, "one").await;
    let mut follower = database.follow();
    load(&mut *follower).await;
    database.publish(&[entry("a", "revoked")]).await.unwrap();
    server.kill();

    let error = refused(database.read(&account)).await;
    assert!(error.contains("cannot be reached"), "{error}");
    let error = refused(follower.next()).await;
    assert!(error.contains("cannot be reached") || error.contains("ended"), "{error}");

    server.restart();
    assert_eq!(value(&database, &account).await.as_deref(), Some("one"));
    write(&database, &account, Some(version), "two").await;
    let news = until_it_works(async || follower.next().await).await;
    assert_eq!(news, News::Entries(vec![b"revoked".to_vec()]), "it goes on where it was");

    // Without a step in between, only the next one can notice that the connection is gone.
    server.kill();
    server.restart();
    assert_eq!(value(&database, &account).await.as_deref(), Some("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_empty_is_empty() {
    let mut server = RedisServer::start();
    let database = server.database();
    let birth = key(RecordKind::Document, "birth");
    write(&database, &birth, None, "first").await;
    database.publish(&[entry("a", "revoked")]).await.unwrap();
    let mut follower = database.follow();
    load(&mut *follower).await;
    server.kill();
    server.empty_disk();
    server.restart();

    assert_eq!(value(&database, &birth).await, None);
    assert_eq!(until_it_works(async || follower.next().await).await, News::Missed);
    assert!(load(&mut *follower).await.is_empty());
    write(&database, &birth, None, "second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_became_a_replica_is_not_read() {
    let (server, master) = (RedisServer::start(), RedisServer::start());
    let database = server.database();
    let session = key(RecordKind::Session, "a");
    write(&database, &session, None, "old").await;
    database.join(Digest::of(b"group"), b"member", None).await.unwrap();
    let mut follower = database.follow();
    load(&mut *follower).await;
    // The replica does not wait for its master before it answers.
    let port = master.port.to_string();
    server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    assert_eq!(server.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK");

    for error in [
        refused(database.read(&session)).await,
        refused(database.swap(&session, None, record("new"))).await,
        refused(database.walk(RecordKind::Session, None, 10)).await,
        refused(database.members(Digest::of(b"group"))).await,
        refused(follower.next()).await,
    ] {
        assert!(error.contains("READONLY"), "{error}");
    }

    assert_eq!(server.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    until_it_works(async || database.read(&session).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_the_server_has_forgotten_are_loaded() {
    let server = RedisServer::start();
    let database = server.database();
    let session = key(RecordKind::Session, "a");
    let mut expected = None;
    for number in 0..3 {
        assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
        expected = Some(write(&database, &session, expected, &number.to_string()).await);
    }
    assert_eq!(value(&database, &session).await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_database_refuses_every_step() {
    let server = RedisServer::start();
    let database = server.database();
    let session = key(RecordKind::Session, "a");
    write(&database, &session, None, "one").await;
    let mut follower = dynamic(&database).follow();

    database.close().await;

    assert!(refused(database.read(&session)).await.contains("closed"));
    assert!(refused(follower.next()).await.contains("closed"));
    let mut news = Vec::new();
    let error = follower.load(&mut |piece| news.extend(piece)).await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_a_temporary_fault() {
    let mut server = RedisServer::start();
    let database = database(&server.url());
    server.kill();

    let error = database.prepare().await.unwrap_err();

    assert!(error.is_temporary(), "{error}");
    server.restart();
    database.prepare().await.unwrap();
    server.cli(&["SET", "tollhouse:format", "2"]);
    let error = database.prepare().await.unwrap_err();
    assert!(matches!(error, SharedOpenError::Newer { found: 2, known: 1, .. }), "{error}");
}
