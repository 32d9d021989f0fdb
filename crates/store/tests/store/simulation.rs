//! Several nodes on one shared database, simulated: the stores are the real ones, and time, network
//! and database are the simulation's, by chance from a seed.
//!
//! Nodes are cut off, slowed down and killed, requests and answers are lost or come late, clocks
//! differ by up to 40 s, and the database goes away or loses everything. Owners, thieves and
//! guessers use the nodes all the while, and everything they are answered is judged (`promises`).
//! The same seed gives the same run. One run is repeated, with an account of what happened, by
//!
//! ```sh
//! TOLLHOUSE_SEED=17 cargo test --locked -p tollhouse-store --test store -- \
//!     simulation::one_seed --nocapture
//! ```
//!
//! A simulation that finds nothing says nothing: each `PlantedFault` has to be found.

#![allow(clippy::print_stdout)] // The account of one run is its output.

mod clients;
mod draws;
mod link;
mod promises;
mod trouble;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::Digest;
use tollhouse_store::shared::SharedStore;
use tollhouse_store::{RevocationTarget, SessionStore, Store};

use self::link::LinkState;
use self::promises::Look;
use self::world::World;

const NODES: usize = 3;
const OWNERS: usize = 5;
/// How long a retired refresh token is answered again.
const GRACE: Duration = Duration::from_secs(5);
/// How long a node relies on what it knows while it is cut off.
const STALE_LIMIT: Duration = Duration::from_secs(3);
/// How much clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// How long there is trouble.
const TROUBLED: Duration = Duration::from_secs(30);
/// Within this time everything is in order again, once the trouble is over.
const HEALED: Duration = Duration::from_secs(6);
/// How often it is seen which tokens the nodes accept.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Something that is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlantedFault {
    /// Grace is given by time alone, whichever retired token is presented.
    GraceForAnyToken,
    /// A logout is acknowledged before the record of the session says that it has ended.
    EndNotFinal,
    /// A record is written whatever happened to it since it was read.
    BlindWrite,
    /// The database acknowledges changes of sessions that it then loses.
    WriteForgotten,
    /// Some entries of the feed never come.
    EntrySkipped,
    /// A node that is cut off is told that there is no news.
    CutNotNoticed,
}

/// The result of one run.
#[derive(Debug, PartialEq)]
struct Run {
    broken: Vec<String>,
    /// The same for runs in which the same things happened.
    account: u64,
    /// Number of answers that were judged.
    judged: usize,
}

fn simulate(seed: u64, fault: Option<PlantedFault>, is_printed: bool) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(seed, fault, is_printed))
}

async fn run(seed: u64, fault: Option<PlantedFault>, is_printed: bool) -> Run {
    let world = World::new(seed, fault, is_printed);
    let mut tasks = JoinSet::new();
    let clocks = tokio::spawn(world.clone().run_clocks());
    for number in 0..NODES {
        world.start(number).await;
        tasks.spawn(trouble::trouble_node(world.clone(), number));
    }
    tasks.spawn(trouble::trouble_database(world.clone()));
    for number in 0..OWNERS {
        tasks.spawn(clients::own(world.clone(), number));
    }
    tasks.spawn(clients::revoke_tokens(world.clone()));
    tasks.spawn(clients::enter_codes(world.clone()));
    tasks.spawn(clients::enter_authenticator_codes(world.clone()));
    tasks.spawn(clients::guess_passwords(world.clone()));
    let watching = tokio::spawn(watch(world.clone()));
    sleep(TROUBLED).await;
    world.end();
    while tasks.join_next().await.transpose().unwrap().is_some() {}
    trouble::heal(&world).await;
    sleep(HEALED).await;
    watching.abort();
    judge_the_end(&world);
    clocks.abort();
    let (broken, account, judged) = world.promises.lock().result();
    Run { broken, account, judged }
}

/// Sees again and again which tokens the nodes accept.
async fn watch(world: Arc<World>) {
    loop {
        sleep(LOOK_EVERY).await;
        for (number, node) in world.nodes.iter().enumerate() {
            let Some(store) = node.store() else { continue };
            let mut promises = world.promises.lock();
            for (id, issued) in promises.sessions() {
                promises.looked(id, &look(&world, number, &store, id, issued));
            }
            for token in promises.revoked_tokens() {
                let is_revoked = store.revocations().token_revoked(&token);
                let look = Look { is_revoked, ..blank_look(&world, number, &store) };
                promises.looked_at_token(token, &look);
            }
        }
    }
}

/// Looks at a session's access token as a request does.
fn look(world: &World, node: usize, store: &SharedStore, id: SessionId, issued: Timestamp) -> Look {
    let tolerant = world.nodes[node].now().plus(LEEWAY);
    Look {
        is_revoked: store.revocations().session_revoked(&id),
        is_older_than_store: store.revocations().is_older_than_store(issued, tolerant),
        ..blank_look(world, node, store)
    }
}

fn blank_look(world: &World, node: usize, store: &SharedStore) -> Look {
    Look {
        at: world.at(),
        node,
        is_stale: store.is_stale(),
        is_revoked: false,
        is_older_than_store: false,
        calm_since: world.calm_since(node),
    }
}

/// When all trouble is over, every node is in order and knows what has ended.
fn judge_the_end(world: &World) {
    for (number, node) in world.nodes.iter().enumerate() {
        let store = node.store().unwrap();
        let status = store.status();
        let mut promises = world.promises.lock();
        if status.degraded.is_some() || status.is_stale || status.deferred > 0 {
            let what = format!("node {number} does not recover: {status:?}");
            promises.broke(world.at(), &what);
        }
        for (id, issued) in promises.sessions() {
            promises.settled(id, &look(world, number, &store, id, issued));
        }
    }
}

/// Runs these seeds on all processors, and fails with the first that breaks a promise.
fn assert_holds(seeds: std::ops::Range<u64>) {
    let (next, judged) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failed: Mutex<Vec<(u64, Vec<String>)>> = Mutex::default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while failed.lock().is_empty() {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let run = simulate(seed, None, false);
                    judged.fetch_add(run.judged as u64, Ordering::SeqCst);
                    if !run.broken.is_empty() {
                        failed.lock().push((seed, run.broken));
                    }
                }
            });
        }
    });
    println!("{} answers and looks judged", judged.load(Ordering::SeqCst));
    let failed = failed.into_inner();
    if let Some((seed, broken)) = failed.first() {
        panic!(
            "seed {seed}: {}\nrepeat it with: TOLLHOUSE_SEED={seed} cargo test --locked -p \
             tollhouse-store --test store -- simulation::one_seed --nocapture",
            broken.join("\n")
        );
    }
}

#[test]
fn two_hundred_seeds_break_no_promise() {
    assert_holds(0..200);
}

/// Takes minutes: a part of `tests/run --long`.
#[test]
#[ignore = "long: ten thousand runs"]
fn ten_thousand_seeds_break_no_promise() {
    assert_holds(0..10_000);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..5 {
        let run = simulate(seed, None, false);
        assert!(run.judged > 1000, "only {} answers were judged", run.judged);
        assert_eq!(run, simulate(seed, None, false), "seed {seed}");
    }
}

/// Repeats the run of one seed and prints what happens in it.
#[test]
fn one_seed() {
    let seed = std::env::var("TOLLHOUSE_SEED").ok();
    let seed = seed.map_or(0, |seed| seed.parse().expect("TOLLHOUSE_SEED is a number"));
    let run = simulate(seed, None, true);
    assert!(run.broken.is_empty(), "seed {seed}: {}", run.broken.join("\n"));
}

/// The feed of the new store has as many entries as the earlier one had: a node that goes on from its
/// place there would miss them.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_while_the_store_was_replaced_misses_no_revocation() {
    let world = World::new(0, None, false);
    let clocks = tokio::spawn(world.clone().run_clocks());
    world.start(0).await;
    world.start(1).await;
    let [one, other] = [0, 1].map(|number| world.nodes[number].store().unwrap());
    let revoke = async |number: u8| {
        let (digest, now) = (Digest([number; 32]), world.nodes[0].now());
        let until = now.plus(Duration::from_secs(600));
        one.revoke(RevocationTarget::Token { digest, until }, now).await.unwrap();
        digest
    };
    revoke(1).await;
    world.set_link(1, LinkState::Refused);
    world.empty_database();
    sleep(Duration::from_secs(1)).await;

    let mut revoked = Vec::new();
    for number in 2..10 {
        revoked.push(revoke(number).await);
    }
    world.set_link(1, LinkState::Good);
    sleep(Duration::from_secs(1)).await;

    assert!(!other.is_stale());
    for token in revoked {
        assert!(other.revocations().token_revoked(&token), "{token:?} is accepted");
    }
    clocks.abort();
}

#[test]
fn planted_faults_are_found() {
    let refreshed = "a refresh token was";
    for (fault, promise) in [
        (PlantedFault::GraceForAnyToken, refreshed),
        (PlantedFault::EndNotFinal, "a refresh succeeded after the end"),
        (PlantedFault::BlindWrite, refreshed),
        (PlantedFault::WriteForgotten, refreshed),
        (PlantedFault::EntrySkipped, "accepts a token of a session that has ended"),
        (PlantedFault::CutNotNoticed, "accepts a token of a session that has ended"),
    ] {
        let found = (0..200).find_map(|seed| {
            let run = simulate(seed, Some(fault), false);
            let broken = run.broken.into_iter().find(|broken| broken.contains(promise))?;
            Some(format!("seed {seed}: {broken}"))
        });
        println!("{fault:?}: {}", found.unwrap_or_else(|| panic!("{fault:?} was not found")));
    }
}
