//! `tollhouse status`: the nodes of the last minute, and what each of them runs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cluster::{Cluster, Node, eventually};
use super::store_server::StoreServer;
use crate::harness::Upstream;

/// The configuration of each node by its name, as this one lists them.
fn listed(node: &Node) -> BTreeMap<String, String> {
    let status: Value = serde_json::from_str(&node.command(&["status", "--json"]).ok()).unwrap();
    let nodes = status["shared_store"]["nodes"].as_array().unwrap();
    let text = |node: &Value, name: &str| node[name].as_str().unwrap().to_owned();
    let one = |node: &Value| {
        assert_eq!(text(node, "version"), env!("CARGO_PKG_VERSION"), "{node}");
        assert!(text(node, "started") <= text(node, "seen"), "{node}");
        (text(node, "name"), text(node, "configuration"))
    };
    nodes.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_of_the_last_minute_are_listed_with_version_and_configuration() {
    let store = StoreServer::postgres().await;
    let mut cluster = Cluster::start(store, Upstream::start().await, "").await;
    let names: Vec<String> = cluster.nodes.iter().map(Node::name).collect();
    for node in &cluster.nodes {
        eventually("each node lists all", async || listed(node).len() == 3).await;
        assert!(names.iter().all(|name| listed(node).contains_key(name)), "{:?}", listed(node));
    }
    // A person reads the same.
    let text = cluster.nodes[0].command(&["status"]).ok();
    for (name, configuration) in listed(&cluster.nodes[1]) {
        let version = env!("CARGO_PKG_VERSION");
        let line =
            format!("node           {name}  version {version}  configuration {configuration}");
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }

    // Another configuration is seen by its digest, on the other nodes too.
    let before = listed(&cluster.nodes[0]);
    let file = cluster.nodes[1].path("gateway.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace("\"/open/\"", "\"/opened/\"")).unwrap();
    cluster.nodes[1].command(&["reload"]).ok();
    eventually("the change is seen", async || {
        listed(&cluster.nodes[0])[&names[1]] != before[&names[1]]
    })
    .await;
    let after = listed(&cluster.nodes[2]);
    assert_eq!(after[&names[0]], before[&names[0]], "the others are as before");

    // A node that is killed cannot say good-bye. It is listed until its note is a minute old, by the
    // clock of the database; the note is made older here.
    cluster.nodes[2].kill();
    assert!(listed(&cluster.nodes[0]).contains_key(&names[2]), "it was seen in the last minute");
    let StoreServer::Postgres { server, database } = &cluster.store else { panic!("another") };
    let age = "update tollhouse.documents set ends = now() - interval '1 second' \
               where ends is not null";
    server.execute(database, age).await;
    eventually("it is forgotten, and the others have noted themselves again", async || {
        let listed = listed(&cluster.nodes[0]);
        listed.len() == 2 && names[..2].iter().all(|name| listed.contains_key(name))
    })
    .await;
}
