//! The feed of PostgreSQL: numbers that become visible in another order, and numbers that go back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::{Connection, PgConnection};
use tollhouse_store::shared::{FeedEntry, News, SharedDatabase};

use super::server::{Postgres, execute};
use crate::shared_database::{entry, follow, load, set};

/// Begins a publication that takes its number now and ends when the connection commits.
async fn begin_slow_publication(server: &Postgres, schema: &str, value: &str) -> PgConnection {
    let mut connection = server.connect().await;
    execute(
        &mut connection,
        &format!(
            "BEGIN; INSERT INTO {schema}.revocations (id, seq, value) \
             VALUES ('{value}', nextval('{schema}.revocations_seq'), '{value}')"
        ),
    )
    .await;
    connection
}

async fn commit(mut connection: PgConnection) {
    execute(&mut connection, "COMMIT").await;
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_commits_after_later_ones_is_not_missed() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database = super::open(options).await;
    let mut follower = database.follow();
    load(&mut *follower).await;

    let slow = [
        begin_slow_publication(server, &schema, "slow 1").await,
        begin_slow_publication(server, &schema, "slow 2").await,
    ];
    let failed = begin_slow_publication(server, &schema, "failed").await;
    database.publish(&[entry("a", "quick 1")]).await.unwrap();
    follow(&mut *follower, &set(&["quick 1"])).await;
    database.publish(&[entry("b", "quick 2")]).await.unwrap();
    follow(&mut *follower, &set(&["quick 2"])).await;
    failed.close().await.unwrap();
    for slow in slow {
        commit(slow).await;
    }

    follow(&mut *follower, &set(&["slow 1", "slow 2"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_commits_after_a_load_has_passed_it_is_not_missed() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database = super::open(options).await;
    let entries: Vec<FeedEntry> =
        (0..2100).map(|number| entry(&number.to_string(), &number.to_string())).collect();
    database.publish(&entries[..1050]).await.unwrap();
    let slow = begin_slow_publication(server, &schema, "slow").await;
    database.publish(&entries[1050..]).await.unwrap();
    let mut follower = database.follow();

    let loaded = load(&mut *follower).await;
    assert_eq!(loaded.len(), entries.len());
    commit(slow).await;

    // What was published later comes without waiting for the second reading.
    database.publish(&[entry("new", "new")]).await.unwrap();
    follow(&mut *follower, &set(&["new", "slow"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_were_never_used_are_forgotten() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database = super::open(options).await;
    let mut follower = database.follow();
    load(&mut *follower).await;
    // Every second number is lost, as by publications that fail.
    for number in 0..100 {
        server.execute(&format!("SELECT nextval('{schema}.revocations_seq')")).await;
        let name = number.to_string();
        database.publish(&[entry(&name, &name)]).await.unwrap();
        follow(&mut *follower, &set(&[&name])).await;
    }
    database.publish(&[entry("last", "last")]).await.unwrap();

    assert!(follow(&mut *follower, &set(&["last"])).await.contains("last"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_is_noticed() {
    let server = Postgres::shared().await;
    let options = server.options();
    let schema = options.schema.clone();
    let database = super::open(options).await;
    for number in 0..5 {
        database.publish(&[entry(&number.to_string(), "before")]).await.unwrap();
    }
    let mut follower = database.follow();
    load(&mut *follower).await;

    server
        .execute(&format!(
            "TRUNCATE {schema}.revocations; SELECT setval('{schema}.revocations_seq', 2)"
        ))
        .await;
    while follower.next().await.unwrap() != News::Missed {}
    // It stays so until everything was loaded.
    assert_eq!(follower.next().await.unwrap(), News::Missed);

    database.publish(&[entry("a", "after")]).await.unwrap();
    assert_eq!(load(&mut *follower).await, set(&["after"]));
    database.publish(&[entry("b", "and on")]).await.unwrap();
    follow(&mut *follower, &set(&["and on"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_started_anew_makes_followers_load_again() {
    let mut server = Postgres::start();
    let database = super::open(server.options()).await;
    database.publish(&[entry("a", "one")]).await.unwrap();
    let mut follower = database.follow();
    load(&mut *follower).await;

    server.kill();
    while follower.next().await.is_ok() {}
    server.run();
    database.publish(&[entry("b", "two")]).await.unwrap();

    let since = Instant::now();
    loop {
        match follower.next().await {
            Ok(News::Missed) => break,
            Ok(news) => panic!("{news:?}"),
            Err(error) => assert!(since.elapsed() < Duration::from_secs(30), "{error}"),
        }
    }
    assert_eq!(load(&mut *follower).await, set(&["one", "two"]));
}

/// Not a promise of so many milliseconds: it shows that a notification and not the time causes the
/// look, on a machine that is not overloaded for all of twenty tries.
#[tokio::test(flavor = "multi_thread")]
async fn notifications_wake_followers_before_their_time() {
    let server = Postgres::shared().await;
    let options = server.options();
    let (first, second) = (super::open(options.clone()).await, super::open(options).await);
    let mut follower = second.follow();
    load(&mut *follower).await;
    let mut quickest = Duration::MAX;
    for number in 0..20 {
        let name = number.to_string();
        // The time of a look begins when the last one has ended: a whole interval is ahead.
        while follower.next().await.unwrap() != News::Entries(Vec::new()) {}
        let expected = set(&[&name]);
        let published = async {
            first.publish(&[entry(&name, &name)]).await.unwrap();
            Instant::now()
        };
        let followed = async {
            follow(&mut *follower, &expected).await;
            Instant::now()
        };
        let (published, followed) = futures_util::future::join(published, followed).await;
        quickest = quickest.min(followed.saturating_duration_since(published));
    }
    assert!(quickest < Duration::from_millis(120), "the quickest took {quickest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_of_the_same_things_do_not_lock_each_other_out() {
    let database = super::open(Postgres::shared().await.options()).await;
    let mut follower = database.follow();
    load(&mut *follower).await;
    let publishers = (0..8).map(|publisher: usize| {
        let database = &database;
        async move {
            for round in 0..20 {
                let mut entries: Vec<_> = (0..20)
                    .map(|name| entry(&name.to_string(), &format!("{publisher} {round} {name}")))
                    .collect();
                // Each in another order.
                entries.rotate_left((publisher * 2 + round) % 20);
                database.publish(&entries).await.unwrap();
            }
        }
    });

    join_all(publishers).await;

    let latest = load(&mut *database.follow()).await;
    assert_eq!(latest.len(), 20, "one for each thing");
    follow(&mut *follower, &latest).await;
}
