//! The contract of `SharedDatabase` and `Follower`: each case runs against every implementation,
//! by two connections to the same database, as two nodes would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tollhouse_core::clock::Clock;
use tollhouse_core::secret::Digest;
use tollhouse_store::shared::{
    FeedEntry, Follower, MemoryDatabase, NewRecord, News, Reading, Record, RecordKey, RecordKind,
    RecordVersion, SharedDatabase, Swap,
};

/// Two nodes of one database, which is empty when a case begins.
pub(crate) struct TwoNodes {
    pub(crate) first: Arc<dyn SharedDatabase>,
    pub(crate) second: Arc<dyn SharedDatabase>,
}

fn memory() -> TwoNodes {
    let database = MemoryDatabase::new(Clock::system());
    TwoNodes { first: Arc::new(database.clone()), second: Arc::new(database) }
}

/// Runs each case against every implementation.
macro_rules! contract {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::memory()).await;
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::postgres::two_nodes().await).await;
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres_by_pooler {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::postgres::two_nodes_by_pooler().await).await;
            })*
        }

        #[cfg(feature = "redis")]
        mod redis {
            use crate::redis::{RedisCluster, RedisServer, two_nodes, two_nodes_of};

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(two_nodes(&RedisServer::forgetful())).await;
            })*

            /// A Cluster takes seconds to come about, so one is for all cases.
            #[tokio::test(flavor = "multi_thread")]
            async fn every_case_in_a_cluster() {
                let cluster = RedisCluster::start();
                $(super::$case(two_nodes_of(&cluster, stringify!($case))).await;)*
            }
        }
    };
}

contract! {
    a_record_is_what_was_last_written
    ids_and_values_are_any_bytes
    of_many_writers_exactly_one_wins
    a_write_that_is_repeated_is_recognised
    a_conflict_carries_what_is_there
    kinds_do_not_mix
    a_walk_goes_by_ids_and_ends
    groups_have_each_member_once_and_in_order
    a_follower_loads_what_was_published_and_then_gets_what_is_new
    a_later_entry_replaces_an_earlier_one
    many_entries_come_in_pieces_and_each_comes
    of_many_publishers_nothing_is_missed
    a_follower_without_news_answers_soon
    a_sweep_leaves_what_must_stay
    a_step_that_is_given_up_harms_no_other
}

const LONG: Option<Duration> = Some(Duration::from_secs(3600));

/// Longer than any case takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn key(kind: RecordKind, name: &str) -> RecordKey {
    RecordKey { kind, id: Digest::of(name.as_bytes()).0.to_vec() }
}

pub(crate) fn version() -> RecordVersion {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    RecordVersion(low.cast_signed())
}

pub(crate) fn record(value: &str) -> NewRecord {
    NewRecord { version: version(), value: value.as_bytes().to_vec(), keep: LONG }
}

pub(crate) fn entry(name: &str, value: &str) -> FeedEntry {
    FeedEntry { id: Digest::of(name.as_bytes()), value: value.as_bytes().to_vec(), keep: LONG }
}

pub(crate) async fn write(
    database: &dyn SharedDatabase,
    key: &RecordKey,
    expected: Option<RecordVersion>,
    value: &str,
) -> RecordVersion {
    let new = record(value);
    let version = new.version;
    let swap = database.swap(key, expected, new).await.unwrap();
    assert!(matches!(swap, Swap::Written), "{value}: {swap:?}");
    version
}

pub(crate) async fn value(database: &dyn SharedDatabase, key: &RecordKey) -> Option<String> {
    let record = database.read(key).await.unwrap().record;
    record.map(|record| String::from_utf8(record.value).unwrap())
}

fn conflict(swap: Swap) -> Reading {
    match swap {
        Swap::Conflict(reading) => reading,
        Swap::Written => panic!("it was written"),
    }
}

/// All values that a follower loads.
pub(crate) async fn load(follower: &mut dyn Follower) -> BTreeSet<String> {
    let mut values = Vec::new();
    follower.load(&mut |piece| values.extend(piece)).await.unwrap();
    values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
}

/// Follows until every value of `expected` has come; answers with all that came.
pub(crate) async fn follow(
    follower: &mut dyn Follower,
    expected: &BTreeSet<String>,
) -> BTreeSet<String> {
    let since = Instant::now();
    let mut seen = BTreeSet::new();
    while !expected.is_subset(&seen) {
        assert!(since.elapsed() < PATIENCE, "missing: {:?}", expected.difference(&seen));
        match follower.next().await.unwrap() {
            News::Entries(entries) => {
                seen.extend(entries.into_iter().map(|value| String::from_utf8(value).unwrap()));
            }
            News::Missed => seen.extend(load(follower).await),
        }
    }
    seen
}

pub(crate) fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

pub(crate) async fn a_record_is_what_was_last_written(nodes: TwoNodes) {
    let key = key(RecordKind::Session, "a");
    assert_eq!(value(&*nodes.first, &key).await, None);

    let first = write(&*nodes.first, &key, None, "one").await;
    assert_eq!(value(&*nodes.second, &key).await.as_deref(), Some("one"));

    let second = write(&*nodes.second, &key, Some(first), "two").await;
    let reading = nodes.first.read(&key).await.unwrap();
    assert_eq!(reading.record, Some(Record { version: second, value: b"two".to_vec() }));
    let now = Clock::system().now();
    assert!(now.since(reading.now) < PATIENCE, "{} is not about {now}", reading.now);
    assert!(reading.now.since(now) < PATIENCE, "{} is not about {now}", reading.now);
}

pub(crate) async fn ids_and_values_are_any_bytes(nodes: TwoNodes) {
    let all: Vec<u8> = (0..=255).collect();
    let large = all.repeat(256);
    for id in [[0; 16], [255; 16], *b"it's\\x00%_\"\n\r;--"] {
        for bytes in [&b""[..], &all, &large] {
            let key = RecordKey { kind: RecordKind::Document, id: id.to_vec() };
            let old = nodes.first.read(&key).await.unwrap().record.map(|record| record.version);
            let new = NewRecord { version: version(), value: bytes.to_vec(), keep: None };

            assert!(matches!(nodes.first.swap(&key, old, new).await.unwrap(), Swap::Written));

            let read = nodes.second.read(&key).await.unwrap().record.unwrap();
            assert!(read.value == bytes, "{} bytes under {id:?}", bytes.len());
        }
    }
}

pub(crate) async fn of_many_writers_exactly_one_wins(nodes: TwoNodes) {
    let key = key(RecordKind::Attempt, "a");
    let mut expected = None;
    for round in 0..6 {
        let writers = (0..50).map(|writer| {
            let database = if writer % 2 == 0 { &nodes.first } else { &nodes.second };
            let new = record(&format!("{round} by {writer}"));
            let key = &key;
            async move {
                let version = new.version;
                let swap = database.swap(key, expected, new).await.unwrap();
                match swap {
                    Swap::Written => Ok(version),
                    Swap::Conflict(reading) => Err(reading.record.unwrap().version),
                }
            }
        });

        let answers = join_all(writers).await;

        let winners: Vec<_> = answers.iter().filter_map(|answer| answer.ok()).collect();
        let [winner] = winners[..] else { panic!("round {round} has {winners:?}") };
        let named: BTreeSet<_> =
            answers.iter().filter_map(|answer| answer.err()).map(|v| v.0).collect();
        assert_eq!(named, BTreeSet::from([winner.0]), "every loser sees who has won");
        expected = Some(winner);
    }
}

async fn a_write_that_is_repeated_is_recognised(nodes: TwoNodes) {
    let key = key(RecordKind::Code, "a");
    let first = record("one");
    for _ in 0..2 {
        let swap = nodes.first.swap(&key, None, first.clone()).await.unwrap();
        assert!(matches!(swap, Swap::Written), "{swap:?}");
    }

    let second = record("two");
    for database in [&nodes.first, &nodes.second] {
        let swap = database.swap(&key, Some(first.version), second.clone()).await.unwrap();
        assert!(matches!(swap, Swap::Written), "{swap:?}");
    }

    // The first write is over: it must not come back.
    let late = nodes.first.swap(&key, None, first).await.unwrap();
    assert_eq!(conflict(late).record.unwrap().version, second.version);
    assert_eq!(value(&*nodes.first, &key).await.as_deref(), Some("two"));
}

async fn a_conflict_carries_what_is_there(nodes: TwoNodes) {
    let key = key(RecordKind::Account, "a");
    let missing = nodes.first.swap(&key, Some(version()), record("one")).await.unwrap();
    assert_eq!(conflict(missing).record, None);
    assert_eq!(value(&*nodes.first, &key).await, None);

    let first = write(&*nodes.first, &key, None, "one").await;
    for expected in [None, Some(version())] {
        let swap = nodes.second.swap(&key, expected, record("two")).await.unwrap();
        let found = conflict(swap).record;
        assert_eq!(found, Some(Record { version: first, value: b"one".to_vec() }));
    }
    assert_eq!(value(&*nodes.first, &key).await.as_deref(), Some("one"));
}

async fn kinds_do_not_mix(nodes: TwoNodes) {
    for kind in RecordKind::ALL {
        assert_eq!(value(&*nodes.second, &key(kind, "a")).await, None, "{kind:?}");
        write(&*nodes.first, &key(kind, "a"), None, kind.name()).await;
    }

    for kind in RecordKind::ALL {
        let found = value(&*nodes.second, &key(kind, "a")).await;
        assert_eq!(found.as_deref(), Some(kind.name()));
    }
}

async fn a_walk_goes_by_ids_and_ends(nodes: TwoNodes) {
    let mut expected = BTreeMap::new();
    for number in 0..25 {
        let (key, text) = (key(RecordKind::Session, &number.to_string()), number.to_string());
        write(&*nodes.first, &key, None, &text).await;
        expected.insert(key.id, text.into_bytes());
    }
    write(&*nodes.first, &key(RecordKind::Account, "a"), None, "an account").await;

    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = nodes.second.walk(RecordKind::Session, after.as_deref(), 10).await.unwrap();
        assert!(page.len() <= 10, "{} at once", page.len());
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page.into_iter().map(|(id, record)| (id, record.value)));
    }

    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    let accounts = nodes.second.walk(RecordKind::Account, None, 10).await.unwrap();
    assert_eq!(accounts.len(), 1);
}

async fn groups_have_each_member_once_and_in_order(nodes: TwoNodes) {
    let (group, other) = (Digest::of(b"group"), Digest::of(b"other"));
    assert_eq!(nodes.first.members(group).await.unwrap(), Vec::<Vec<u8>>::new());

    for member in [&[2; 16], &[1; 16], &[3; 16], &[1; 16]] {
        nodes.first.join(group, member, LONG).await.unwrap();
    }
    nodes.second.join(group, &[255; 16], None).await.unwrap();
    nodes.second.join(group, &[255; 16], LONG).await.unwrap();
    nodes.second.join(other, &[9; 16], LONG).await.unwrap();
    nodes.second.leave(group, &[3; 16]).await.unwrap();
    nodes.second.leave(group, &[77; 16]).await.unwrap();
    nodes.second.leave(Digest::of(b"nobody's"), &[1; 16]).await.unwrap();

    for database in [&nodes.first, &nodes.second] {
        let members = database.members(group).await.unwrap();
        assert_eq!(members, [vec![1; 16], vec![2; 16], vec![255; 16]]);
        assert_eq!(database.members(other).await.unwrap(), [vec![9; 16]]);
    }
}

async fn a_follower_loads_what_was_published_and_then_gets_what_is_new(nodes: TwoNodes) {
    nodes.first.publish(&[entry("a", "one"), entry("b", "two")]).await.unwrap();
    nodes.second.publish(&[]).await.unwrap();
    let mut followers = [nodes.first.follow(), nodes.second.follow()];
    for follower in &mut followers {
        assert_eq!(load(&mut **follower).await, set(&["one", "two"]));
    }

    nodes.second.publish(&[entry("c", "three")]).await.unwrap();

    for follower in &mut followers {
        follow(&mut **follower, &set(&["three"])).await;
    }
    let mut late = nodes.first.follow();
    assert_eq!(load(&mut *late).await, set(&["one", "two", "three"]));
}

async fn a_later_entry_replaces_an_earlier_one(nodes: TwoNodes) {
    let mut early = nodes.second.follow();
    assert_eq!(load(&mut *early).await, set(&[]));

    nodes.first.publish(&[entry("a", "one")]).await.unwrap();
    follow(&mut *early, &set(&["one"])).await;
    nodes.second.publish(&[entry("a", "two"), entry("b", "three")]).await.unwrap();
    // Twice within one call: the last of them counts.
    nodes.first.publish(&[entry("b", "four"), entry("b", "five")]).await.unwrap();
    follow(&mut *early, &set(&["two", "five"])).await;

    let mut late = nodes.first.follow();
    assert_eq!(load(&mut *late).await, set(&["two", "five"]));
}

async fn many_entries_come_in_pieces_and_each_comes(nodes: TwoNodes) {
    let names: Vec<String> = (0..2500).map(|number| number.to_string()).collect();
    let expected: BTreeSet<String> = names.iter().cloned().collect();
    let mut early = nodes.first.follow();
    load(&mut *early).await;

    for names in names.chunks(500) {
        let entries: Vec<_> = names.iter().map(|name| entry(name, name)).collect();
        nodes.first.publish(&entries).await.unwrap();
    }

    follow(&mut *early, &expected).await;
    assert_eq!(load(&mut *nodes.second.follow()).await, expected);
}

async fn of_many_publishers_nothing_is_missed(nodes: TwoNodes) {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 40;
    let expected: BTreeSet<String> = (0..PUBLISHERS * EACH)
        .map(|number| format!("{}-{}", number / EACH, number % EACH))
        .collect();
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let database = if publisher % 2 == 0 { &nodes.first } else { &nodes.second };
        async move {
            for number in 0..EACH {
                let name = format!("{publisher}-{number}");
                database.publish(&[entry(&name, &name)]).await.unwrap();
            }
        }
    });
    let followers = [&nodes.first, &nodes.second].map(|database| async {
        let mut follower = database.follow();
        // Loaded in the middle of it all.
        let loaded = load(&mut *follower).await;
        let rest = expected.difference(&loaded).cloned().collect();
        follow(&mut *follower, &rest).await;
    });

    futures_util::future::join(join_all(publishers), join_all(followers)).await;
}

async fn a_follower_without_news_answers_soon(nodes: TwoNodes) {
    let mut follower = nodes.first.follow();
    load(&mut *follower).await;
    let since = Instant::now();
    for _ in 0..4 {
        assert_eq!(follower.next().await.unwrap(), News::Entries(Vec::new()));
    }
    assert!(since.elapsed() < 4 * Duration::from_secs(1), "{:?}", since.elapsed());
}

async fn a_sweep_leaves_what_must_stay(nodes: TwoNodes) {
    let database = &nodes.first;
    let group = Digest::of(b"group");
    let short = Some(Duration::from_millis(1));
    for (name, keep) in [("ended", short), ("long", LONG), ("for good", None)] {
        let mut new = record(name);
        new.keep = keep;
        database.swap(&key(RecordKind::Version, name), None, new).await.unwrap();
        database.join(group, name.as_bytes(), keep).await.unwrap();
        database.publish(&[FeedEntry { keep, ..entry(name, name) }]).await.unwrap();
    }
    // The longer time counts, whichever came first.
    for keep in [short, LONG, short] {
        database.join(group, b"renewed", keep).await.unwrap();
    }

    while database.sweep().await.unwrap() {}

    for name in ["long", "for good"] {
        let found = value(&*nodes.second, &key(RecordKind::Version, name)).await;
        assert_eq!(found.as_deref(), Some(name));
    }
    let members: BTreeSet<_> = nodes.second.members(group).await.unwrap().into_iter().collect();
    for name in ["long", "for good", "renewed"] {
        assert!(members.contains(name.as_bytes()), "{name} is not in {members:?}");
    }
    let loaded = load(&mut *nodes.second.follow()).await;
    assert!(set(&["long", "for good"]).is_subset(&loaded), "{loaded:?}");
}

async fn a_step_that_is_given_up_harms_no_other(nodes: TwoNodes) {
    let key = key(RecordKind::Session, "a");
    let mut expected = write(&*nodes.first, &key, None, "start").await;
    for micros in (0..2000).step_by(40) {
        let new = record(&micros.to_string());
        let swap = nodes.first.swap(&key, Some(expected), new.clone());
        let _ = tokio::time::timeout(Duration::from_micros(micros), swap).await;

        // Whether or not the step was carried out, its repetition succeeds and its value is read.
        let swap = nodes.first.swap(&key, Some(expected), new.clone()).await.unwrap();
        assert!(matches!(swap, Swap::Written), "{swap:?}");
        expected = new.version;
        assert_eq!(value(&*nodes.first, &key).await, Some(micros.to_string()));
    }
}
