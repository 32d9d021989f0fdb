//! Servers that stop, hang or wait: every step ends in time, and the next one finds its way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection};
use tollhouse_store::shared::{
    PostgresDatabase, PostgresOptions, RecordKind, SharedDatabase, Swap,
};

use super::relay::Relay;
use super::server::{Postgres, execute};
use crate::shared_database::{entry, key, load, record, value, write};

const LIMIT: Duration = Duration::from_millis(500);

/// A step that takes longer has not kept to its limit; the rest is for a busy machine.
const MUCH_LONGER: Duration = Duration::from_secs(3);

/// By the relay, with the limit of time that operators have.
fn options_by(relay: &Relay, server: &Postgres) -> PostgresOptions {
    let mut options = server.options();
    let url = server.url().replace(&server.port.to_string(), &relay.port.to_string());
    options.url = url.as_str().into();
    options.step_limit = LIMIT;
    options
}

/// Has `count` steps run at the same time, so that there are as many connections.
async fn use_connections(database: &PostgresDatabase, count: usize) {
    let key = key(RecordKind::Session, "nothing");
    let reads = join_all((0..count).map(|_| database.read(&key))).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
}

/// Waits until reads succeed again.
async fn until_it_answers(database: &PostgresDatabase) {
    let since = Instant::now();
    let key = key(RecordKind::Session, "nothing");
    while let Err(error) = database.read(&key).await {
        assert!(since.elapsed() < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_heard_no_more_costs_one_limit_and_no_connection() {
    let server = Postgres::shared().await;
    let relay = Relay::to(server.port).await;
    let database = super::open(options_by(&relay, server)).await;
    let key = key(RecordKind::Session, "a");
    let version = write(&*database, &key, None, "one").await;
    let mut follower = database.follow();
    load(&mut *follower).await;
    use_connections(&database, 8).await;

    relay.freeze();
    let since = Instant::now();
    let swap = database.swap(&key, Some(version), record("two")).await;
    let error = swap.unwrap_err();
    assert!(error.to_string().contains("did not answer within 500ms"), "{error}");
    assert!(since.elapsed() < MUCH_LONGER, "{:?}", since.elapsed());
    // More steps than connections: those that wait for one fail in time too.
    let since = Instant::now();
    let reads = join_all((0..50).map(|_| database.read(&key))).await;
    assert!(reads.iter().all(Result::is_err));
    assert!(since.elapsed() < MUCH_LONGER, "{:?}", since.elapsed());
    let since = Instant::now();
    while follower.next().await.is_ok() {
        assert!(since.elapsed() < MUCH_LONGER);
    }
    assert!(database.publish(&[entry("a", "one")]).await.is_err());
    assert!(database.sweep().await.is_err());

    // The frozen connections stay frozen: all that follows runs on new ones.
    relay.thaw();
    let mut step = record("three");
    step.version = crate::shared_database::version();
    let swap = database.swap(&key, Some(version), step).await.unwrap();
    assert!(matches!(swap, Swap::Written), "{swap:?}");
    use_connections(&database, 8).await;
    assert_eq!(value(&*database, &key).await.as_deref(), Some("three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_process_that_hangs_is_left_behind() {
    let server = Postgres::shared().await;
    let mut options = server.options();
    options.step_limit = LIMIT;
    let url = server.make_user("").await;
    super::open(options.clone()).await;
    server.execute(&format!("GRANT ALL ON SCHEMA {} TO PUBLIC", options.schema)).await;
    server
        .execute(&format!("GRANT ALL ON ALL TABLES IN SCHEMA {0} TO PUBLIC; GRANT ALL ON ALL SEQUENCES IN SCHEMA {0} TO PUBLIC", options.schema))
        .await;
    options.url = url.as_str().into();
    let database = super::open(options).await;
    use_connections(&database, 4).await;
    let user = url.split("//").nth(1).unwrap().split(':').next().unwrap();
    let sql = format!("SELECT pid FROM pg_stat_activity WHERE usename = '{user}'");
    let query = sqlx::query_scalar(AssertSqlSafe(sql.as_str()));
    let pids: Vec<i32> = query.fetch_all(&mut server.connect().await).await.unwrap();
    assert!(!pids.is_empty());

    let signal = |signal| {
        for pid in &pids {
            let pid = rustix::process::Pid::from_raw(*pid).unwrap();
            let _ = rustix::process::kill_process(pid, signal);
        }
    };
    signal(rustix::process::Signal::STOP);
    let key = key(RecordKind::Session, "a");
    let since = Instant::now();
    let first = database.read(&key).await;
    let took = since.elapsed();
    let second = database.read(&key).await;
    signal(rustix::process::Signal::CONT);

    assert!(first.is_err() && took < MUCH_LONGER, "{first:?} after {took:?}");
    assert_eq!(second.unwrap().record, None, "the second step has a new connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_waits_is_given_up_here_and_there() {
    let server = Postgres::shared().await;
    let mut options = server.options();
    options.step_limit = LIMIT;
    let schema = options.schema.clone();
    let database = super::open(options).await;
    let key = key(RecordKind::Session, "a");
    let version = write(&*database, &key, None, "one").await;
    let mut locker = server.connect().await;
    execute(&mut locker, &format!("BEGIN; SELECT 1 FROM {schema}.sessions FOR UPDATE")).await;

    let since = Instant::now();
    let swap = database.swap(&key, Some(version), record("two")).await;
    assert!(swap.is_err() && since.elapsed() < MUCH_LONGER, "{swap:?}");
    // Reads do not wait for the lock.
    assert_eq!(value(&*database, &key).await.as_deref(), Some("one"));

    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%UPDATE \
         \"{schema}\".sessions%' AND pid <> pg_backend_pid()"
    );
    let since = Instant::now();
    while server.number(&waiting).await > 0 {
        assert!(since.elapsed() < Duration::from_secs(10), "the server still waits");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    execute(&mut locker, "ROLLBACK").await;
    assert_eq!(value(&*database, &key).await.as_deref(), Some("one"), "it was not carried out");
    write(&*database, &key, Some(version), "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_used_again() {
    let mut server = Postgres::start();
    let mut options = server.options();
    options.step_limit = LIMIT;
    let database = super::open(options).await;
    let key = key(RecordKind::Session, "a");
    let version = write(&*database, &key, None, "one").await;
    use_connections(&database, 8).await;

    server.kill();
    for _ in 0..3 {
        let since = Instant::now();
        let swap = database.swap(&key, Some(version), record("two")).await;
        assert!(swap.is_err() && since.elapsed() < MUCH_LONGER, "{swap:?}");
    }

    server.run();
    until_it_answers(&database).await;
    write(&*database, &key, Some(version), "three").await;
    use_connections(&database, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_has_closed_fail_no_step() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database = super::open(options).await;
    let key = key(RecordKind::Session, "a");
    let mut version = write(&*database, &key, None, "start").await;
    for round in 0..3 {
        use_connections(&database, 8).await;
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE query LIKE '%{schema}%' AND pid <> pg_backend_pid()"
        );
        server.execute(&end).await;

        let text = round.to_string();
        version = write(&*database, &key, Some(version), &text).await;

        assert_eq!(value(&*database, &key).await, Some(text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_database_answers_no_step_and_has_no_connection() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database: Arc<PostgresDatabase> = super::open(options).await;
    use_connections(&database, 4).await;

    database.close().await;

    let read = database.read(&key(RecordKind::Session, "a")).await;
    assert!(read.unwrap_err().to_string().contains("closed"));
    let left = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{schema}%' \
         AND pid <> pg_backend_pid()"
    );
    let since = Instant::now();
    while server.number(&left).await > 0 {
        assert!(since.elapsed() < Duration::from_secs(10), "connections are left");
    }
    server.connect().await.close().await.unwrap();
}
