use std::net::TcpListener;

use tollhouse_store::shared::{News, RecordKind, SharedDatabase, Swap};

use super::server::{self, RedisServer, await_prepared};
use super::until_it_works;
use crate::shared_database::{entry, key, load, record, value, write};

const LOGIN: [&str; 4] = ["--requirepass", "word", "--masterauth", "word"];

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_new_master_is_used() {
    let mut master = RedisServer::with(&LOGIN);
    let port = master.port.to_string();
    let replica = RedisServer::with(&[&LOGIN[..], &["--replicaof", "127.0.0.1", &port]].concat());
    replica.await_cli(&["-a", "word", "INFO", "replication"], |info| {
        info.contains("master_link_status:up")
    });
    let sentinel = RedisServer::sentinel(master.port, "word");
    sentinel.await_cli(&["SENTINEL", "REPLICAS", "main"], |replicas| {
        replicas.contains(&replica.port.to_string()) && !replicas.contains("disconnected")
    });
    // One Sentinel is there, another one accepts connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let url = format!("redis+sentinel://:word@{silent},127.0.0.1:{}/main", sentinel.port);
    let database = server::database(&url);
    await_prepared(&database).await;
    let session = key(RecordKind::Session, "a");
    let version = write(&database, &session, None, "one").await;
    let mut follower = database.follow();
    load(&mut *follower).await;
    database.publish(&[entry("a", "revoked")]).await.unwrap();
    assert_eq!(master.cli(&["-a", "word", "WAIT", "1", "5000"]), "1");

    master.kill();

    let new = record("two");
    let swap =
        until_it_works(async || database.swap(&session, Some(version), new.clone()).await).await;
    assert!(matches!(swap, Swap::Written), "{swap:?}");
    assert_eq!(value(&database, &session).await.as_deref(), Some("two"));
    let role = replica.cli(&["-a", "word", "ROLE"]);
    assert!(role.starts_with("master"), "{role}");
    let mut news = until_it_works(async || follower.next().await).await;
    while news == News::Entries(Vec::new()) {
        news = until_it_works(async || follower.next().await).await;
    }
    assert_eq!(news, News::Entries(vec![b"revoked".to_vec()]));

    // The failover is over when the Sentinel says so. The old master then comes back as it was, and
    // nobody is led to it.
    sentinel.await_cli(&["SENTINEL", "MASTER", "main"], |found| {
        found.contains(&format!("port\n{}", replica.port)) && found.contains("flags\nmaster\n")
    });
    master.restart();
    let late = server::database(&url);
    let version = write(&late, &session, Some(new.version), "three").await;
    write(&database, &session, Some(version), "four").await;
}
