//! Signing keys of several gateways on one store: in its document, and in folders.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use tollhouse::algorithm::Algorithm;
use tollhouse::authn::jws::CompactJws;
use tollhouse::authn::{AcceptedIssuers, RequestClient, TokenCredential, VerifyError};
use tollhouse::clock::{Clock, TestClock, Timestamp};
use tollhouse::dialect::Reason;
use tollhouse::identity::Claims;
use tollhouse::runtime::GatewayThreads;
use tollhouse::secret::Secret;
use tollhouse::session::shared::{
    MemoryDatabase, SEAL_LEN, Seal, SharedOptions, SharedStore, TimeSource,
};
use tollhouse::token::{
    KeyError, KeyEvent, KeyPlace, KeyRing, KeyRingOptions, KeyState, SigningKeys,
};

use super::{Bench, DAY, HOUR, NOW, ring_options};

const ES: Algorithm = Algorithm::ES256;
const ED: Algorithm = Algorithm::EdDSA;

/// A database that gateways share, and what they need besides.
struct Cluster {
    database: MemoryDatabase,
    clock: TestClock,
    threads: GatewayThreads,
    dir: TempDir,
}

/// The signing keys of one gateway.
#[derive(Clone)]
struct Node {
    keys: Arc<SigningKeys>,
    store: Arc<SharedStore>,
}

impl Cluster {
    fn new() -> Self {
        let clock = TestClock::new(NOW);
        Self {
            database: MemoryDatabase::new(Clock::test(clock.clone())),
            clock,
            threads: GatewayThreads::start(1, 2).unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self, place: KeyPlace, algorithms: &[Algorithm]) -> KeyRingOptions {
        KeyRingOptions { place, now: self.clock.now(), ..ring_options(&self.dir, algorithms) }
    }

    async fn store(&self) -> Arc<SharedStore> {
        let options = SharedOptions {
            clock: Clock::test(self.clock.clone()),
            leeway: Duration::from_secs(30),
            longest_access: HOUR,
            seal: Seal::new(&Secret::new([7; SEAL_LEN])),
            stale_limit: HOUR,
            time: TimeSource::Database,
        };
        let runtime = tokio::runtime::Handle::current();
        SharedStore::open(Arc::new(self.database.clone()), options, &runtime).await.unwrap()
    }

    /// Opens the keys of a gateway whose own folder, where a gateway that stands alone makes its keys,
    /// has this name.
    async fn open(
        &self,
        place: KeyPlace,
        algorithms: &[Algorithm],
        folder: &str,
    ) -> Result<Node, KeyError> {
        let store = self.store().await;
        let background = self.threads.background().clone();
        let clock = Clock::test(self.clock.clone());
        let options = self.options(place, algorithms);
        let shared = Some(store.clone());
        let keys =
            SigningKeys::open(options, &self.path(folder), shared, background, clock).await?;
        Ok(Node { keys: Arc::new(keys), store })
    }

    async fn node(&self, algorithms: &[Algorithm]) -> Node {
        self.open(KeyPlace::SharedDocument, algorithms, "nothing").await.unwrap()
    }

    async fn nodes(&self, number: usize, algorithms: &[Algorithm]) -> Vec<Node> {
        join_all((0..number).map(|_| self.node(algorithms))).await
    }

    async fn folder(&self, name: &str) -> Node {
        self.open(KeyPlace::ManagedFolder(self.path(name)), &[ES], name).await.unwrap()
    }

    /// Waits until the stores reach the database again.
    async fn back(&self, nodes: &[Node]) {
        self.database.set_away(false);
        for node in nodes {
            while node.store.status().degraded.is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

impl Node {
    fn ring(&self) -> &KeyRing {
        self.keys.ring()
    }

    fn token(&self, algorithm: Algorithm) -> String {
        self.ring().sign(algorithm, "at+jwt", &Claims::new()).unwrap().expose().clone()
    }

    fn holds(&self, token: &str) -> bool {
        CompactJws::parse(token).and_then(|token| token.verify(&self.ring().public())).is_ok()
    }

    fn states(&self) -> Vec<KeyState> {
        self.ring().list().iter().map(|entry| entry.state).collect()
    }

    /// Maintains the keys for as long as the test lasts, as a gateway does.
    fn run(&self) {
        let keys = self.keys.clone();
        self.store.on_remote_ends(Box::new(move |ends| keys.note_changes(&ends.documents)));
        let keys = self.keys.clone();
        tokio::task::spawn(async move {
            loop {
                keys.maintain().await;
                keys.due().await;
            }
        });
    }
}

fn kid(token: &str) -> String {
    super::header_of(token)["kid"].as_str().unwrap().to_owned()
}

async fn maintain(nodes: &[Node]) {
    for node in nodes {
        node.keys.maintain().await;
    }
}

/// Asserts that all nodes sign with the same key, and verify each other's tokens.
#[track_caller]
fn assert_alike(nodes: &[Node], algorithm: Algorithm) {
    let tokens: Vec<_> = nodes.iter().map(|node| node.token(algorithm)).collect();
    let kids: BTreeSet<_> = tokens.iter().map(|token| kid(token)).collect();
    assert_eq!(kids.len(), 1, "{kids:?}");
    for node in nodes {
        assert!(tokens.iter().all(|token| node.holds(token)));
        assert_eq!(node.ring().list(), nodes[0].ring().list());
        assert_eq!(node.ring().jwks(), nodes[0].ring().jwks());
    }
}

#[tokio::test]
async fn gateways_that_start_together_make_one_key_and_write_nothing_here() {
    let cluster = Cluster::new();

    let nodes = cluster.nodes(5, &[ES, ED]).await;

    assert_alike(&nodes, ES);
    assert_alike(&nodes, ED);
    assert_eq!(nodes[0].states(), [KeyState::Signing; 2]);
    assert_eq!(fs::read_dir(cluster.dir.path()).unwrap().count(), 0);
    let restarted = cluster.node(&[ES, ED]).await;
    assert_alike(&[nodes[0].clone(), restarted], ES);
}

#[tokio::test]
async fn a_rotation_on_one_is_published_by_all_a_day_before_it_signs() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(3, &[ES]).await;
    let old = nodes[0].token(ES);

    nodes[1].keys.rotate(None).await.unwrap();
    maintain(&nodes).await;

    assert_eq!(nodes[2].states(), [KeyState::Signing, KeyState::Pending]);
    assert_alike(&nodes, ES);
    let published: Value = serde_json::from_slice(&nodes[0].ring().jwks()).unwrap();
    assert_eq!(published["keys"].as_array().unwrap().len(), 2);

    cluster.clock.advance(DAY);
    maintain(&nodes).await;
    assert_alike(&nodes, ES);
    assert_ne!(kid(&nodes[0].token(ES)), kid(&old));
    assert!(nodes.iter().all(|node| node.holds(&old)));
}

#[tokio::test]
async fn rotation_by_time_makes_one_successor_and_removes_what_is_over() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(3, &[ES]).await;
    let first = nodes[0].token(ES);

    cluster.clock.advance(DAY * 89);
    join_all(nodes.iter().map(|node| node.keys.maintain())).await;
    maintain(&nodes).await;
    assert_eq!(nodes[0].states(), [KeyState::Signing, KeyState::Pending]);
    assert_alike(&nodes, ES);
    cluster.clock.advance(DAY);
    maintain(&nodes).await;
    assert_ne!(kid(&nodes[0].token(ES)), kid(&first));

    cluster.clock.advance(DAY * 30);
    maintain(&nodes).await;
    assert!(nodes.iter().all(|node| node.holds(&first)), "a token of it may be valid");
    cluster.clock.advance(HOUR);
    join_all(nodes.iter().map(|node| node.keys.maintain())).await;
    maintain(&nodes).await;
    assert!(nodes.iter().all(|node| !node.holds(&first)));
    assert_alike(&nodes, ES);
}

#[tokio::test]
async fn fifty_rotations_at_once_make_one_successor_for_each_algorithm() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(3, &[ES, ED]).await;
    nodes.iter().for_each(Node::run);

    let rotations = (0..50).map(|number| nodes[number % 3].keys.rotate(None));
    let done = join_all(rotations).await;

    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let added = |event: &&KeyEvent| matches!(event, KeyEvent::Added { .. });
    for node in &nodes {
        node.keys.maintain().await;
        let states = node.states();
        let pending = states.iter().filter(|state| **state == KeyState::Pending).count();
        assert_eq!((states.len(), pending), (4, 2), "{states:?}");
    }
    let events: Vec<_> = done.iter().flatten().flatten().collect();
    assert!(events.iter().copied().filter(added).count() <= 6, "at most once on each node");
    assert_alike(&nodes, ES);
    assert_alike(&nodes, ED);
}

#[tokio::test]
async fn a_key_revoked_on_one_is_refused_on_all_within_a_second() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(3, &[ES]).await;
    nodes.iter().for_each(Node::run);
    let token = nodes[2].token(ES);
    assert!(nodes.iter().all(|node| node.holds(&token)));

    let began = Instant::now();
    let events = nodes[0].keys.revoke(&kid(&token)).await.unwrap();
    while nodes.iter().any(|node| node.holds(&token)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(events.iter().any(|event| matches!(event, KeyEvent::Removed { .. })), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, KeyEvent::Failed { .. })), "{events:?}");
    maintain(&nodes).await;
    assert_alike(&nodes, ES);
    assert_eq!(nodes[0].states(), [KeyState::Signing]);
    let unknown = nodes[1].keys.revoke(&kid(&token)).await;
    assert!(matches!(unknown, Err(KeyError::Unknown { .. })));
}

#[tokio::test]
async fn a_token_with_a_key_that_is_not_known_yet_is_worth_one_look() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(2, &[ES]).await;
    // The other gateway is told of nothing: what it learns, it learns by looking.
    let keys = nodes[1].keys.clone();
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    tokio::task::spawn(async move {
        loop {
            keys.due().await;
            counted.fetch_add(1, Ordering::SeqCst);
            keys.maintain().await;
        }
    });
    let bench = |ring: &Arc<KeyRing>| Bench::on(ring.clone(), &[], ES, 10);
    let elsewhere = bench(nodes[1].keys.ring()).verifier;
    let first = nodes[0].token(ES);
    nodes[0].keys.revoke(&kid(&first)).await.unwrap();
    let new = TokenCredential::Bearer(bench(nodes[0].keys.ring()).access().into());
    assert!(elsewhere.verify(&new, NOW).is_err(), "not by what is in memory");

    let asking = (0..20).map(|_| {
        elsewhere.verify_from_with_lookup(&new, AcceptedIssuers::ALL, RequestClient::default(), NOW)
    });
    let answers = join_all(asking).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    let stray = KeyRing::open(ring_options(&cluster.dir, &[ES])).unwrap();
    let stray = TokenCredential::Bearer(bench(&stray).access().into());
    for _ in 0..20 {
        let refused = elsewhere.verify(&stray, NOW);
        assert!(matches!(refused, Err(VerifyError::Rejected(_))), "{refused:?}");
    }
    assert_eq!(looks.load(Ordering::SeqCst), 1, "invented keys cause no look for a second");
    cluster.clock.advance(Duration::from_secs(1));
    let refused = elsewhere
        .verify_from_with_lookup(&stray, AcceptedIssuers::ALL, RequestClient::default(), NOW)
        .await;
    assert_eq!(refused.unwrap_err().reason, Reason::TokenInvalid);
    assert_eq!(looks.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_revoked_signer_is_succeeded_by_the_waiting_key_wherever_it_is_revoked() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(3, &[ES]).await;
    cluster.clock.advance(DAY * 89);
    maintain(&nodes).await;
    cluster.clock.advance(DAY);
    maintain(&nodes).await;
    nodes[0].keys.rotate(None).await.unwrap();
    maintain(&nodes).await;
    let list = nodes[0].ring().list();
    let [_, signing, waiting] = &list[..] else { panic!("{list:?}") };

    let revoked = join_all(nodes.iter().map(|node| node.keys.revoke(&signing.kid))).await;

    assert!(revoked.iter().any(Result::is_ok), "{revoked:?}");
    maintain(&nodes).await;
    assert_alike(&nodes, ES);
    assert_eq!(kid(&nodes[1].token(ES)), *waiting.kid, "not the retired key");
    assert_eq!(nodes[2].states(), [KeyState::Retired, KeyState::Signing]);
}

#[tokio::test]
async fn an_imported_key_verifies_everywhere_and_brings_back_what_was_revoked() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(2, &[ES]).await;
    let stranger = KeyRing::open(ring_options(&cluster.dir, &[ES])).unwrap();
    let file = fs::read_dir(cluster.path("keys")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(file).unwrap();
    let token = stranger.sign(ES, "at+jwt", &Claims::new()).unwrap().expose().clone();
    let import = |node: &Node| {
        let (keys, text) = (node.keys.clone(), text.as_str().into());
        async move { keys.import(text, None).await }
    };

    import(&nodes[0]).await.unwrap();
    maintain(&nodes).await;
    assert!(nodes.iter().all(|node| node.holds(&token)));
    assert!(matches!(import(&nodes[1]).await, Err(KeyError::Twice { .. })));
    nodes[1].keys.revoke(&kid(&token)).await.unwrap();
    maintain(&nodes).await;
    assert!(!nodes.iter().any(|node| node.holds(&token)));

    import(&nodes[0]).await.unwrap();
    maintain(&nodes).await;
    assert!(nodes.iter().all(|node| node.holds(&token)));
}

#[tokio::test]
async fn gateways_that_are_cut_off_go_on_and_make_no_key_of_their_own() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(3, &[ES]).await;
    let before = nodes[0].token(ES);
    nodes[0].keys.rotate(None).await.unwrap();
    maintain(&nodes).await;
    let waiting = nodes[0].ring().list()[1].kid.clone();
    cluster.database.set_away(true);

    let refused = nodes[1].keys.rotate(None).await;
    assert!(matches!(&refused, Err(error) if error.is_temporary()), "{refused:?}");
    assert_alike(&nodes, ES);
    cluster.clock.advance(DAY);
    for node in &nodes {
        let events = node.keys.maintain().await;
        let failures = |event: &&KeyEvent| matches!(event, KeyEvent::Failed { .. });
        assert_eq!(events.iter().filter(failures).count(), 1, "{events:?}");
        assert!(!node.keys.maintain().await.iter().any(|event| failures(&event)), "said once");
    }
    assert_alike(&nodes, ES);
    assert_eq!(kid(&nodes[2].token(ES)), *waiting, "the published key signs when its time comes");
    cluster.clock.advance(DAY * 90);
    maintain(&nodes).await;
    assert_eq!(nodes[0].ring().list().len(), 2, "no key that others cannot find");

    cluster.back(&nodes).await;
    join_all(nodes.iter().map(|node| node.keys.maintain())).await;
    maintain(&nodes).await;
    assert_alike(&nodes, ES);
    assert!(nodes[0].states().contains(&KeyState::Pending));
    assert!(!nodes[0].holds(&before), "its tokens are over");
}

#[tokio::test]
async fn a_key_revoked_while_the_store_is_away_is_refused_here_at_once_and_then_on_all() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(2, &[ES]).await;
    let token = nodes[0].token(ES);
    cluster.database.set_away(true);

    let events = nodes[0].keys.revoke(&kid(&token)).await.unwrap();

    let failed = events.iter().filter(|event| matches!(event, KeyEvent::Failed { .. })).count();
    assert_eq!(failed, 2, "the others do not know, and nothing signs: {events:?}");
    assert!(!nodes[0].holds(&token) && nodes[1].holds(&token));
    assert!(matches!(nodes[0].ring().sign(ES, "at+jwt", &Claims::new()), Err(KeyError::NoKey(_))));
    nodes[0].keys.maintain().await;
    assert!(!nodes[0].holds(&token), "it does not come back");

    cluster.back(&nodes).await;
    maintain(&nodes).await;
    assert_alike(&nodes, ES);
    assert!(!nodes.iter().any(|node| node.holds(&token)));
}

#[tokio::test]
async fn the_first_start_takes_the_folders_keys_over_and_no_other_does() {
    let cluster = Cluster::new();
    let alone = KeyRing::open(ring_options(&cluster.dir, &[ES])).unwrap();
    alone.rotate(None, NOW).unwrap();
    let token = alone.sign(ES, "at+jwt", &Claims::new()).unwrap().expose().clone();
    let other = TempDir::new_in(cluster.dir.path()).unwrap();
    let stray = KeyRing::open(ring_options(&other, &[ES])).unwrap();
    let stray = stray.sign(ES, "at+jwt", &Claims::new()).unwrap().expose().clone();
    let open = |folder: PathBuf| {
        let cluster = &cluster;
        async move {
            let folder = folder.to_str().unwrap().to_owned();
            cluster.open(KeyPlace::SharedDocument, &[ES], &folder).await.unwrap()
        }
    };

    let first = open(cluster.path("keys")).await;
    let second = open(other.path().join("keys")).await;

    let nodes = [first, second];
    assert_alike(&nodes, ES);
    assert_eq!(nodes[0].ring().list(), alone.list(), "with their times");
    assert!(nodes[1].holds(&token) && !nodes[1].holds(&stray));
    assert_eq!(fs::read_dir(cluster.path("keys")).unwrap().count(), 2, "nothing is removed");

    nodes[1].keys.revoke(&kid(&token)).await.unwrap();
    let again = open(cluster.path("keys")).await;
    assert!(!again.holds(&token), "its file is still in the folder");
    assert_eq!(again.states(), [KeyState::Signing]);
}

#[tokio::test]
async fn an_emptied_store_gets_new_keys_and_what_was_revoked_stays_so() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(2, &[ES]).await;
    let revoked = nodes[0].token(ES);
    nodes[0].keys.revoke(&kid(&revoked)).await.unwrap();
    maintain(&nodes).await;
    let last = nodes[0].token(ES);

    cluster.database.empty();
    join_all(nodes.iter().map(|node| node.keys.maintain())).await;
    maintain(&nodes).await;

    assert_alike(&nodes, ES);
    assert!(!nodes.iter().any(|node| node.holds(&last) || node.holds(&revoked)));
    let folder = cluster.open(KeyPlace::ManagedFolder(cluster.path("f")), &[ES], "f").await;
    let document = nodes[0].store.document::<Value>("signing keys").await.unwrap().unwrap();
    assert!(document["revoked"].get(kid(&revoked)).is_some(), "{}", document["revoked"]);
    drop(folder);
}

#[tokio::test]
async fn a_document_that_cannot_be_used_leaves_the_last_keys_and_refuses_a_start() {
    let cluster = Cluster::new();
    let node = cluster.node(&[ES]).await;
    let token = node.token(ES);
    let spoil = |document: Option<&Value>, _: Timestamp| {
        let mut document = document.cloned().unwrap();
        document["keys"]["bad.pem"] = "-----BEGIN PRIVATE KEY-----\n".into();
        Some(document)
    };
    node.store.change_document("signing keys", spoil).await.unwrap();

    let events = node.keys.maintain().await;

    assert!(matches!(&events[..], [KeyEvent::Failed { .. }]), "{events:?}");
    assert!(node.holds(&token) && node.holds(&node.token(ES)));
    assert!(node.keys.rotate(None).await.is_err());
    assert!(cluster.open(KeyPlace::SharedDocument, &[ES], "nothing").await.is_err());
}

#[tokio::test]
async fn a_reload_makes_the_keys_it_needs_and_waits_for_nothing_else() {
    let cluster = Cluster::new();
    let nodes = cluster.nodes(2, &[ES]).await;
    let reload = |algorithms: &'static [Algorithm]| {
        let keys = nodes[0].keys.clone();
        let options = cluster.options(KeyPlace::SharedDocument, algorithms);
        tokio::task::spawn_blocking(move || keys.reconfigure(options))
    };

    reload(&[ES, ED]).await.unwrap().unwrap();
    nodes[1].keys.maintain().await;
    assert!(nodes[1].holds(&nodes[0].token(ED)));

    cluster.database.set_away(true);
    reload(&[ES]).await.unwrap().unwrap();
    assert!(reload(&[ES, Algorithm::ES384]).await.unwrap().is_err());
    assert!(nodes[0].holds(&nodes[0].token(ES)));
    cluster.back(&nodes).await;
    maintain(&nodes).await;
    let list = nodes[0].ring().list();
    assert!(list.iter().all(|entry| entry.algorithm != Algorithm::ES384), "{list:?}");
}

/// Puts a copy of the keys in `from` into a folder.
fn deploy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn a_key_in_folders_is_revoked_for_all_gateways_of_the_store() {
    let cluster = Cluster::new();
    let made = KeyRing::open(ring_options(&cluster.dir, &[ES])).unwrap();
    let token = made.sign(ES, "at+jwt", &Claims::new()).unwrap().expose().clone();
    for name in ["a", "b", "c", "d"] {
        deploy(&cluster.path("keys"), &cluster.path(name));
    }
    let operator = |name: &str| KeyPlace::OperatorFolder(cluster.path(name));
    let nodes = [
        cluster.folder("a").await,
        cluster.folder("b").await,
        cluster.open(operator("c"), &[ES], "none").await.unwrap(),
    ];
    nodes.iter().for_each(Node::run);
    assert!(nodes.iter().all(|node| node.holds(&token)));

    let events = nodes[0].keys.revoke(&kid(&token)).await.unwrap();
    while nodes.iter().any(|node| node.holds(&token)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    assert!(!events.iter().any(|event| matches!(event, KeyEvent::Failed { .. })), "{events:?}");
    maintain(&nodes).await;
    for (node, name) in nodes.iter().zip(["a", "b"]) {
        assert_eq!(node.states(), [KeyState::Signing], "a successor of its own");
        assert_eq!(fs::read_dir(cluster.path(name)).unwrap().count(), 1, "the file is gone");
    }
    assert!(nodes[2].ring().sign(ES, "at+jwt", &Claims::new()).is_err(), "the operator's folder");
    assert_eq!(fs::read_dir(cluster.path("c")).unwrap().count(), 1, "is not written to");
    let late = cluster.folder("d").await;
    assert!(!late.holds(&token), "a gateway that starts later");
    let late = cluster.open(operator("c"), &[ES], "none").await;
    assert!(matches!(late, Err(KeyError::NoKey(_))));
}

#[tokio::test]
async fn an_operators_key_is_revoked_by_a_command_and_deployed_by_hand() {
    let cluster = Cluster::new();
    let made = KeyRing::open(ring_options(&cluster.dir, &[ES])).unwrap();
    let token = made.sign(ES, "at+jwt", &Claims::new()).unwrap().expose().clone();
    deploy(&cluster.path("keys"), &cluster.path("a"));
    let place = KeyPlace::OperatorFolder(cluster.path("a"));
    let node = cluster.open(place, &[ES], "none").await.unwrap();
    assert!(matches!(node.keys.rotate(None).await, Err(KeyError::NotManaged { .. })));

    let events = node.keys.revoke(&kid(&token)).await.unwrap();

    assert!(matches!(events.last(), Some(KeyEvent::Failed { .. })), "nothing signs: {events:?}");
    assert!(!node.holds(&token));
    fs::remove_dir_all(cluster.path("keys")).unwrap();
    drop(KeyRing::open(ring_options(&cluster.dir, &[ES])).unwrap());
    let file = fs::read_dir(cluster.path("keys")).unwrap().next().unwrap().unwrap().path();
    fs::copy(&file, cluster.path("a").join(file.file_name().unwrap())).unwrap();
    node.keys.maintain().await;
    assert!(node.holds(&node.token(ES)) && !node.holds(&token));
}
