use std::time::{Duration, Instant};

use tollhouse_store::shared::{FeedEntry, Follower, News, SharedDatabase};

use super::server::RedisServer;
use super::until_it_works;
use crate::shared_database::{entry, load, set};

/// Looks until something other than "no news" comes.
async fn news(follower: &mut dyn Follower) -> News {
    let since = Instant::now();
    loop {
        let news = follower.next().await.unwrap();
        if news != News::Entries(Vec::new()) {
            return news;
        }
        assert!(since.elapsed() < super::server::PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn news_come_at_once() {
    let server = RedisServer::forgetful();
    let database = server.database();
    let mut follower = database.follow();
    load(&mut *follower).await;
    let mut took = Vec::new();
    for number in 0..20 {
        let name = number.to_string();
        let began = Instant::now();

        let publish = async {
            // The follower waits by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let began = Instant::now();
            database.publish(&[entry(&name, &name)]).await.unwrap();
            began
        };
        let (published, got) = futures_util::future::join(publish, news(&mut *follower)).await;

        assert_eq!(got, News::Entries(vec![name.into_bytes()]), "after {:?}", began.elapsed());
        took.push(published.elapsed());
    }
    took.sort_unstable();
    // The server wakes the follower; it does not look every quarter of a second.
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_for_too_long_loads_anew() {
    let server = RedisServer::forgetful();
    let database = server.database();
    database.publish(&[entry("a", "one")]).await.unwrap();
    let mut follower = database.follow();
    load(&mut *follower).await;
    database.publish(&[entry("b", "two"), entry("c", "three")]).await.unwrap();
    // As the next hour would do.
    server.cli(&["XTRIM", "tollhouse:{feed}:stream", "MAXLEN", "1"]);

    assert_eq!(news(&mut *follower).await, News::Missed);
    assert_eq!(follower.next().await.unwrap(), News::Missed, "until it has loaded");
    assert_eq!(load(&mut *follower).await, set(&["one", "two", "three"]));
    assert_eq!(follower.next().await.unwrap(), News::Entries(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_after_it_was_seen_is_not_missed() {
    let server = RedisServer::forgetful();
    let database = server.database();
    database.publish(&[entry("a", "one"), entry("b", "two")]).await.unwrap();
    let mut follower = database.follow();
    load(&mut *follower).await;
    server.cli(&["XTRIM", "tollhouse:{feed}:stream", "MAXLEN", "0"]);

    database.publish(&[entry("c", "three")]).await.unwrap();

    assert_eq!(news(&mut *follower).await, News::Entries(vec![b"three".to_vec()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_lost_is_noticed_however_it_goes_on() {
    let server = RedisServer::forgetful();
    let database = server.database();
    for name in ["a", "b", "c"] {
        database.publish(&[entry(name, name)]).await.unwrap();
    }
    let mut follower = database.follow();
    let feed =
        ["last", "stream", "entries", "ends"].map(|name| format!("tollhouse:{{feed}}:{name}"));
    let [last, stream, entries, ends] = &feed;

    // Emptied, and nothing since.
    load(&mut *follower).await;
    server.cli(&["DEL", last, stream, entries, ends]);
    assert_eq!(news(&mut *follower).await, News::Missed);
    assert_eq!(load(&mut *follower).await, set(&[]));

    // Emptied, and published to before the follower looked again.
    database.publish(&[entry("d", "d")]).await.unwrap();
    assert_eq!(news(&mut *follower).await, News::Entries(vec![b"d".to_vec()]));
    server.cli(&["DEL", last, stream, entries, ends]);
    database.publish(&[entry("e", "e")]).await.unwrap();
    assert_eq!(news(&mut *follower).await, News::Missed);
    assert_eq!(load(&mut *follower).await, set(&["e"]));

    // A replica without the last entry took over: the stream ends earlier.
    let seen = server.cli(&["GET", last]);
    server.cli(&["SET", last, "5-0"]);
    assert_eq!(news(&mut *follower).await, News::Missed);
    server.cli(&["SET", last, &seen]);
    load(&mut *follower).await;

    // The same, and it has gone on since then, with a later entry.
    server.cli(&["SET", last, "5-0"]);
    database.publish(&[entry("f", "f")]).await.unwrap();
    assert_eq!(news(&mut *follower).await, News::Missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_end_and_are_swept() {
    let server = RedisServer::forgetful();
    let database = server.database();
    let entries: Vec<FeedEntry> = (0..1200)
        .map(|number| {
            let name = number.to_string();
            let keep = Some(Duration::from_millis(if number < 1100 { 1 } else { 3_600_000 }));
            FeedEntry { keep, ..entry(&name, &name) }
        })
        .collect();
    database.publish(&entries).await.unwrap();

    while database.sweep().await.unwrap() {}

    assert_eq!(load(&mut *database.follow()).await.len(), 100);
    assert_eq!(server.cli(&["ZCARD", "tollhouse:{feed}:ends"]), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_is_given_up_loses_nothing() {
    let server = RedisServer::forgetful();
    let database = server.database();
    let mut follower = database.follow();
    load(&mut *follower).await;
    let mut seen = Vec::new();
    for number in 0..40_u64 {
        let name = number.to_string();
        let look = tokio::time::timeout(Duration::from_micros(number * 100), follower.next());
        if let Ok(Ok(News::Entries(entries))) = look.await {
            seen.extend(entries);
        }
        database.publish(&[entry(&name, &name)]).await.unwrap();
    }
    while seen.len() < 40 {
        match until_it_works(async || follower.next().await).await {
            News::Entries(entries) => seen.extend(entries),
            News::Missed => panic!("nothing was missed"),
        }
    }
    let expected: Vec<_> = (0..40).map(|number| number.to_string().into_bytes()).collect();
    assert_eq!(seen, expected);
}
