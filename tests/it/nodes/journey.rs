//! Clients of one cluster, while its nodes and its store are killed, cut off and restarted.
//!
//! What is acknowledged is never lost, what is ended is refused everywhere within the bound, and no
//! request that may be sent twice fails while a node is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use super::away::{self, BeforeOutage};
use super::clients::Clients;
use super::cluster::{BOUND, CROWD, Cluster, STALE_LIMIT, eventually, log_in, log_out};
use super::races::{self, Races};
use super::store_server::StoreServer;
use crate::harness::{Client, Smtp, Upstream};

const CLIENTS: usize = 6;
/// Logouts whose propagation is measured.
const MEASURED: usize = 100;

/// A cluster with clients.
struct Journey {
    cluster: Cluster,
    clients: Clients,
    nodes: Vec<Client>,
    name: &'static str,
    since: Instant,
}

impl Journey {
    async fn start(store: StoreServer) -> (Self, Races) {
        let name = store.kind();
        let smtp = Arc::new(Smtp::plain().await);
        let upstream = Upstream::start().await;
        let cluster = Cluster::start(store, upstream, &races::logins(&smtp)).await;
        let nodes: Vec<Client> = cluster.nodes.iter().map(|node| node.client()).collect();
        let clients = Clients::start(CLIENTS, &[cluster.client()], &nodes);
        let races = Races::start(&clients.ledger, &nodes, smtp);
        let journey = Self { cluster, clients, nodes, name, since: Instant::now() };
        (journey, races)
    }

    /// Prints when a part of the journey began.
    fn says(&self, what: &str) {
        let unknown = self.clients.ledger.unknown.load(Ordering::SeqCst);
        let elapsed = self.since.elapsed().as_secs_f32();
        eprintln!("{} {elapsed:>6.2} s, {unknown} unknown: {what}", self.name);
    }

    /// Lets the clients go on for a while.
    async fn go_on(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.clients.ledger.assert_clean("going on");
    }

    async fn check(&self, when: &str) {
        self.says(&format!("check: {when}"));
        self.clients.check(when, &self.nodes).await;
    }

    /// How long after its answer a logout holds on both other nodes: the median, and the 99th of
    /// a hundred.
    async fn propagation(&self) -> [Duration; 2] {
        let measured = (0..MEASURED).map(|number| self.measure_logout(number));
        let mut took: Vec<Duration> = stream::iter(measured).buffered(4).collect().await;
        took.sort();
        [took[MEASURED / 2], took[MEASURED * 99 / 100]]
    }

    async fn measure_logout(&self, number: usize) -> Duration {
        let node = &self.cluster.nodes[number % 3];
        let (access, _) = node.log_in(&format!("crowd{}", number % CROWD)).await;
        let [one, other] = [1, 2].map(|step| &self.nodes[(number + step) % 3]);
        for node in [one, other] {
            node.get("/call").bearer(&access).send().await.assert_status(200);
        }
        let reply = log_out(&node.client(), &access).await.unwrap();
        reply.assert_status(204);
        let since = Instant::now();
        tokio::join!(until_refused(one, &access), until_refused(other, &access));
        since.elapsed()
    }

    async fn kill_a_node(&mut self) {
        self.says("kill -9 of a node");
        self.clients.set_connected(1, false);
        self.cluster.nodes[1].kill();
        self.go_on(1500).await;
        self.cluster.nodes[1].start();
        self.cluster.nodes[1].until_ready().await;
        self.clients.set_connected(1, true);
        self.check("after the kill of a node").await;
    }

    /// A node is cut off from its store and not from its clients.
    async fn cut_a_node_off(&self) {
        self.says("a node is cut off");
        let before = BeforeOutage::begin(&self.cluster.nodes[0]).await;
        let (ended, _) = self.cluster.nodes[0].log_in("crowd5").await;
        let cut_off = &self.cluster.nodes[2];
        assert_eq!(cut_off.call("/call", &ended).await, 200);
        self.clients.set_connected(2, false);
        cut_off.line.hold();
        let since = Instant::now();

        before.assert_away(cut_off).await;

        let reply = log_out(&self.nodes[0], &ended).await.unwrap();
        reply.assert_status(204);
        // The node cannot know; after the limit it does not pretend to.
        let mut last_accepted = Instant::now();
        loop {
            let began = Instant::now();
            match cut_off.call("/cut-off", &ended).await {
                200 => last_accepted = began,
                503 => break,
                status => panic!("{status}"),
            }
        }
        let accepted = last_accepted.duration_since(since);
        self.says(&format!("accepted for {accepted:?} after the cut"));
        assert!(accepted <= STALE_LIMIT, "accepted for {accepted:?}");
        away::assert_stale(&self.cluster, cut_off, before.token()).await;
        self.go_on(500).await;

        cut_off.line.release();
        eventually("the node is back", async || {
            let status = cut_off.call("/cut-off", &ended).await;
            assert_ne!(status, 200, "a node that is back knows what ended meanwhile");
            status == 401
        })
        .await;
        cut_off.until_ready().await;
        self.clients.set_connected(2, true);
        before.assert_healed(&self.cluster).await;
        self.check("after the cut").await;
    }

    async fn kill_the_store(&mut self) {
        self.says("kill of the store");
        let before = BeforeOutage::begin(&self.cluster.nodes[0]).await;
        self.cluster.store.kill();
        let since = Instant::now();
        for node in &self.cluster.nodes {
            before.assert_away(node).await;
        }
        self.cluster.store.run();
        let away = since.elapsed();
        if away > STALE_LIMIT {
            self.says(&format!("the store was away for {away:?}"));
        }
        self.until_healed().await;
        before.assert_healed(&self.cluster).await;
        self.check("after the kill of the store").await;
    }

    /// Nothing passes between the nodes and the store, and no connection is closed.
    async fn hold_the_store(&self) {
        self.says("the store does not answer");
        let before = BeforeOutage::begin(&self.cluster.nodes[1]).await;
        self.set_connected(false);
        self.cluster.nodes.iter().for_each(|node| node.line.hold());
        let [one, two, three] = &self.cluster.nodes[..] else { panic!("three nodes") };
        tokio::join!(before.assert_away(one), before.assert_away(two), before.assert_away(three));
        self.clients.ledger.assert_clean("before the limit");
        self.clients.ledger.may_be_unavailable.store(true, Ordering::SeqCst);
        for node in &self.cluster.nodes {
            away::assert_stale(&self.cluster, node, before.token()).await;
            assert!(node.metric("tollhouse_store_stale").await > 0.5);
        }
        self.cluster.nodes.iter().for_each(|node| node.line.release());
        self.until_healed().await;
        self.clients.ledger.may_be_unavailable.store(false, Ordering::SeqCst);
        self.set_connected(true);
        before.assert_healed(&self.cluster).await;
        self.check("after the store did not answer").await;
    }

    fn set_connected(&self, is_connected: bool) {
        (0..3).for_each(|node| self.clients.set_connected(node, is_connected));
    }

    async fn until_healed(&self) {
        let since = Instant::now();
        for node in &self.cluster.nodes {
            node.until_ready().await;
            eventually("a login", async || {
                log_in(&node.client(), "crowd4").await.is_some_and(|reply| reply.status == 200)
            })
            .await;
        }
        // The load balancer has to see it, too.
        let client = self.cluster.client();
        eventually("a login", async || {
            log_in(&client, "crowd4").await.is_some_and(|reply| reply.status == 200)
        })
        .await;
        self.says(&format!("healed after {:?}", since.elapsed()));
    }

    /// One node after the other is stopped and started: nothing fails, no login either.
    async fn restart_all(&mut self) {
        self.says("a rolling restart");
        self.clients.ledger.is_strict.store(true, Ordering::SeqCst);
        for number in 0..3 {
            self.clients.set_connected(number, false);
            self.cluster.nodes[number].stop().await;
            self.cluster.nodes[number].start();
            self.cluster.nodes[number].until_ready().await;
            self.clients.set_connected(number, true);
            // The load balancer has to see it before the next one goes.
            self.go_on(500).await;
        }
        self.clients.ledger.is_strict.store(false, Ordering::SeqCst);
        self.check("after the rolling restart").await;
    }

    async fn empty_the_store(&mut self) {
        self.says("the store is empty");
        self.set_connected(false);
        self.clients.ledger.may_be_unavailable.store(true, Ordering::SeqCst);
        let before = self.cluster.nodes[0].log_in("crowd6").await;
        let Self { cluster, clients, nodes, .. } = self;
        clients
            .forget(nodes, async || {
                cluster.store.run_empty().await;
                for node in &cluster.nodes {
                    node.until_ready().await;
                    // Until a node has noticed, it accepts what it knows.
                    eventually("the store is known to be another one", async || {
                        node.call("/call", &before.0).await == 401
                    })
                    .await;
                    assert_eq!(node.call("/ended", &before.0).await, 401);
                }
            })
            .await;
        self.until_healed().await;
        self.clients.ledger.may_be_unavailable.store(false, Ordering::SeqCst);
        self.set_connected(true);
        self.go_on(1000).await;
        self.check("after the store was emptied").await;
    }
}

async fn until_refused(node: &Client, token: &str) {
    eventually("a refusal", async || node.get("/call").bearer(token).send().await.status == 401)
        .await;
}

async fn travel(store: StoreServer) {
    let (mut journey, races) = Journey::start(store).await;
    journey.go_on(1500).await;
    journey.check("at first").await;
    let [median, p99] = journey.propagation().await;
    journey.says(&format!("propagation of a logout: p50 {median:?}, p99 {p99:?}"));
    assert!(p99 < BOUND, "{p99:?}");

    journey.kill_a_node().await;
    journey.cut_a_node_off().await;
    journey.kill_the_store().await;
    journey.hold_the_store().await;
    journey.restart_all().await;
    journey.empty_the_store().await;

    let won = races.stop().await;
    let ended = journey.cluster.arrived("/ended");
    journey.says(&format!("races won: {won:?}"));
    let ledger = journey.clients.stop().await;
    eprintln!("{}: {}", journey.name, ledger.summary());
    ledger.assert_clean("in the end");
    assert!(won.iter().all(|won| *won > 10), "{won:?}");
    assert_eq!(ended, 0, "the upstream saw nothing of ended sessions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_happens_to_nodes_on_redis() {
    travel(StoreServer::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_happens_to_nodes_on_postgres() {
    travel(StoreServer::postgres().await).await;
}
