use std::time::Instant;

use futures_util::future::join_all;
use tollhouse_store::shared::{News, RecordKey, RecordKind, SharedDatabase, Swap};

use super::server::{RedisCluster, SOON};
use super::until_it_works;
use crate::shared_database::{entry, key, load, record, value, write};

fn name(key: &RecordKey) -> String {
    let id: String = key.id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("tollhouse:{}:{id}", key.kind.name())
}

impl RedisCluster {
    fn slot(&self, key: &RecordKey) -> u16 {
        self.nodes[0].cli(&["CLUSTER", "KEYSLOT", &name(key)]).parse().unwrap()
    }

    /// A record whose slot is in the range of a node.
    fn key_of(&self, node: usize) -> RecordKey {
        (0..)
            .map(|number| key(RecordKind::Code, &number.to_string()))
            .find(|key| usize::from(self.slot(key) / 5462) == node)
            .unwrap()
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["CLUSTER", "MYID"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_follows_a_slot_that_moves() {
    let cluster = RedisCluster::start();
    let database = cluster.database();
    let key = cluster.key_of(0);
    let slot = cluster.slot(&key).to_string();
    let first = write(&database, &key, None, "one").await;
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    let (from_id, to_id) = (cluster.id(0), cluster.id(1));

    // The slot is on its way, and so is the key: the old node says ASK.
    assert_eq!(to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
    assert_eq!(from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
    let port = to.port.to_string();
    assert_eq!(from.cli(&["MIGRATE", "127.0.0.1", &port, &name(&key), "0", "5000"]), "OK");
    assert_eq!(value(&database, &key).await.as_deref(), Some("one"));
    let second = write(&database, &key, Some(first), "two").await;
    assert!(from.cli(&["GET", &name(&key)]).starts_with("ASK"), "it is not there any more");

    // The slot has moved: the old node says MOVED.
    for node in [to, from] {
        assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]), "OK");
    }
    assert_eq!(value(&database, &key).await.as_deref(), Some("two"));
    write(&database, &key, Some(second), "three").await;
    let late = cluster.database();
    assert_eq!(value(&late, &key).await.as_deref(), Some("three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_holds_up_its_own_slots_only() {
    let cluster = RedisCluster::start();
    let database = cluster.database();
    let keys = [0, 1, 2].map(|node| cluster.key_of(node));
    let mut versions = Vec::new();
    for key in &keys {
        versions.push(write(&database, key, None, "one").await);
    }
    cluster.nodes[1].pause();

    // The Cluster refuses all slots once it has noticed; until then the others go on.
    let began = Instant::now();
    let reads = join_all(keys.iter().map(|key| async {
        let read = database.read(key).await;
        (read, began.elapsed())
    }));
    let reads = reads.await;

    assert!(reads[0].0.is_ok() && reads[2].0.is_ok(), "{reads:?}");
    assert!(reads[0].1 < reads[1].1 && reads[2].1 < reads[1].1, "{reads:?}");
    let error = reads[1].0.as_ref().unwrap_err().to_string();
    assert!(error.contains("did not answer within"), "{error}");
    assert!(reads[1].1 < SOON, "{:?}", reads[1].1);

    cluster.nodes[1].resume();
    for (key, version) in keys.iter().zip(versions) {
        let new = record("two");
        let swap =
            until_it_works(async || database.swap(key, Some(version), new.clone()).await).await;
        assert!(matches!(swap, Swap::Written), "{swap:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_is_found() {
    let mut cluster = RedisCluster::start();
    let feed = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", "{feed}"]);
    let lost = usize::from(feed.parse::<u16>().unwrap() / 5462);
    cluster.add_replica(lost);
    // The URL names the node that will be lost, and one that knows the others.
    let database = cluster.database();
    let key = cluster.key_of(lost);
    let version = write(&database, &key, None, "one").await;
    let mut follower = database.follow();
    load(&mut *follower).await;
    database.publish(&[entry("a", "revoked")]).await.unwrap();
    assert_eq!(cluster.nodes[lost].cli(&["WAIT", "1", "5000"]), "1");

    cluster.nodes[lost].kill();

    let new = record("two");
    let swap = until_it_works(async || database.swap(&key, Some(version), new.clone()).await).await;
    assert!(matches!(swap, Swap::Written), "{swap:?}");
    let mut news = until_it_works(async || follower.next().await).await;
    while news == News::Entries(Vec::new()) {
        news = until_it_works(async || follower.next().await).await;
    }
    assert_eq!(news, News::Entries(vec![b"revoked".to_vec()]));
    database.publish(&[entry("b", "more")]).await.unwrap();
    assert_eq!(
        until_it_works(async || follower.next().await).await,
        News::Entries(vec![b"more".to_vec()])
    );
}
