//! Nodes whose clocks differ by twenty seconds, around the clock of their store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::clients::Clients;
use super::cluster::{
    SOURCES, TOKEN, copy_keys, eventually, log_in, routes, store_and_login, token_id, tokens,
    write_files,
};
use super::races::{self, Races};
use super::store_server::StoreServer;
use crate::harness::gateway::PASSWORD;
use crate::harness::{Client, Gateway, Smtp, Upstream};

/// How far the clocks are off, in milliseconds.
const OFF_BY: [i64; 3] = [-10_000, 0, 10_000];
/// The grace of the login `brief`, and what an answer takes.
const GRACE: Duration = Duration::from_millis(2200);

async fn start_nodes(store: &StoreServer, upstream: &Upstream, sections: &str) -> Vec<Gateway> {
    let mut nodes: Vec<Gateway> = Vec::new();
    for off_by in OFF_BY {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), store, store.port());
        if let Some(first) = nodes.first() {
            copy_keys(first.dir(), dir.path());
        }
        let node = Gateway::builder()
            .clock_off_by(off_by)
            .listener("shared_addresses = [\"127.0.0.1\"]")
            .token(TOKEN)
            .with_users(SOURCES)
            .config(&store_and_login(store))
            .config(sections)
            .config(&routes(upstream))
            .on(dir);
        nodes.push(node.start().await);
    }
    nodes
}

/// Whether a repeated refresh is a lost answer or a theft is judged by the store's clock.
async fn assert_grace_is_one(nodes: &[Client]) {
    let login = json!({ "username": "crowd1", "password": PASSWORD });
    let reply = nodes[2].post("/brief/auth/login").json(login).send().await;
    let (_, first) = tokens(reply.assert_status(200));
    let refresh = async |node: &Client, token: &str| {
        let body = json!({ "refresh_token": token });
        node.post("/brief/auth/refresh").json(body).send().await
    };
    let reply = refresh(&nodes[2], &first).await;
    let since = Instant::now();
    let (access, second) = tokens(reply.assert_status(200));

    for node in nodes {
        let reply = refresh(node, &first).await;
        let (_, again) = tokens(reply.assert_status(200));
        assert_eq!(token_id(&again), token_id(&second), "the same successor on each node");
    }
    assert!(since.elapsed() < GRACE, "within the grace");
    tokio::time::sleep(GRACE.saturating_sub(since.elapsed())).await;
    refresh(&nodes[0], &first).await.assert_status(401);

    for node in nodes {
        refresh(node, &second).await.assert_status(401);
        eventually("the session is over", async || {
            node.get("/ended").bearer(&access).send().await.status == 401
        })
        .await;
    }
}

/// Guesses are counted together, in windows by the store's clock.
async fn assert_guesses_are_counted_together(nodes: &[Client]) {
    let guess = |password| json!({ "username": "crowd39", "password": password });
    for number in 0..10 {
        let node = &nodes[number % nodes.len()];
        node.post("/auth/login").json(guess("wrong")).send().await.assert_status(401);
    }
    for node in nodes {
        node.post("/auth/login").json(guess(PASSWORD)).send().await.assert_status(429);
    }
}

async fn differ(mut store: StoreServer) {
    let (smtp, upstream) = (Arc::new(Smtp::plain().await), Upstream::start().await);
    let brief = "[[login]]\ndialect = \"native\"\nname = \"brief\"\nprefix = \"/brief\"\n\
                 refresh_grace = \"2s\"\n";
    let sections = format!("{brief}{}", races::logins(&smtp));
    let gateways = start_nodes(&store, &upstream, &sections).await;
    let nodes: Vec<Client> = gateways.iter().map(Gateway::client).collect();
    let clients = Clients::start(4, &nodes, &nodes);
    let races = Races::start(&clients.ledger, &nodes, smtp);

    assert_grace_is_one(&nodes).await;
    assert_guesses_are_counted_together(&nodes).await;
    clients.check("with clocks apart", &nodes).await;
    let won = races.stop().await;
    clients.ledger.may_be_unavailable.store(true, Ordering::SeqCst);
    (0..3).for_each(|node| clients.set_connected(node, false));
    clients.forget(&nodes, async || empty(&mut store, &nodes).await).await;
    clients.ledger.may_be_unavailable.store(false, Ordering::SeqCst);
    (0..3).for_each(|node| clients.set_connected(node, true));
    tokio::time::sleep(Duration::from_millis(500)).await;
    clients.check("after the store was emptied", &nodes).await;

    let ended = upstream.received().iter().filter(|request| request.target == "/ended").count();
    let ledger = clients.stop().await;
    ledger.assert_clean("in the end");
    eprintln!("clocks, {}: {}", store.kind(), ledger.summary());
    assert!(won.iter().all(|won| *won > 0), "{won:?}");
    assert_eq!(ended, 0, "the upstream saw nothing of ended sessions");
}

/// Empties the store, and waits until each node takes logins again.
async fn empty(store: &mut StoreServer, nodes: &[Client]) {
    store.run_empty().await;
    for node in nodes {
        eventually("logins are taken", async || {
            log_in(node, "crowd2").await.is_some_and(|reply| reply.status == 200)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_20_s_apart_agree_on_redis() {
    differ(StoreServer::redis()).await;
}
