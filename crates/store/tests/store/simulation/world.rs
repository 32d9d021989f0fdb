//! The simulated installation: nodes with clocks and links of their own, and one database.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tollhouse_core::clock::{Clock, TestClock, Timestamp};
use tollhouse_core::secret::Secret;
use tollhouse_store::Store;
use tollhouse_store::shared::{
    MemoryDatabase, SEAL_LEN, Seal, SharedOptions, SharedStore, TimeSource,
};

use super::draws::Draws;
use super::link::{Link, LinkState, LinkedDatabase};
use super::promises::Promises;
use super::{LEEWAY, NODES, PlantedFault, STALE_LIMIT};
use crate::samples::START;

/// How far the clocks of nodes are from the database's, at most, in either direction.
const SKEW: Duration = Duration::from_secs(20);
/// How exactly the clocks follow the simulated time.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Everything that a simulation consists of.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) fault: Option<PlantedFault>,
    began: Instant,
    database: MemoryDatabase,
    database_clock: TestClock,
    pub(super) nodes: Vec<Node>,
    pub(super) promises: Mutex<Promises>,
    /// Set when no more trouble and no more requests begin.
    is_over: Mutex<bool>,
}

/// One gateway's store.
pub(super) struct Node {
    pub(super) clock: TestClock,
    life: Mutex<Life>,
}

/// A node from one start to the next crash.
struct Life {
    link: Arc<Link>,
    store: Option<Arc<SharedStore>>,
    /// How often the node was started.
    number: usize,
}

impl World {
    pub(super) fn new(seed: u64, fault: Option<PlantedFault>, is_printed: bool) -> Arc<Self> {
        let mut draws = Draws::new(seed, "clocks", 0);
        let database_clock = TestClock::new(START);
        let database = MemoryDatabase::new(Clock::test(database_clock.clone()));
        let node = |number| Node {
            clock: TestClock::new(somewhere_near(&mut draws)),
            life: Mutex::new(Life {
                link: Link::new(database.clone(), Draws::new(seed, "link", number), fault),
                store: None,
                number,
            }),
        };
        let nodes = (0..NODES).map(node).collect();
        Arc::new(Self {
            seed,
            fault,
            began: Instant::now(),
            nodes,
            database,
            database_clock,
            promises: Mutex::new(Promises::new(is_printed)),
            is_over: Mutex::new(false),
        })
    }

    /// How long the simulation has been running.
    pub(super) fn at(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn is_over(&self) -> bool {
        *self.is_over.lock()
    }

    pub(super) fn end(&self) {
        *self.is_over.lock() = true;
    }

    /// Lets the clocks follow the simulated time.
    pub(super) async fn run_clocks(self: Arc<Self>) {
        loop {
            sleep(TICK).await;
            self.database_clock.advance(TICK);
            self.nodes.iter().for_each(|node| node.clock.advance(TICK));
        }
    }

    /// Starts a node, however often that takes.
    pub(super) async fn start(&self, number: usize) {
        let node = &self.nodes[number];
        loop {
            let link = node.life.lock().link.clone();
            let database = Arc::new(LinkedDatabase(link));
            let options = SharedOptions {
                clock: Clock::test(node.clock.clone()),
                leeway: LEEWAY,
                longest_access: Duration::from_secs(600),
                seal: Seal::new(&Secret::new([7; SEAL_LEN])),
                stale_limit: STALE_LIMIT,
                time: TimeSource::Database,
            };
            match SharedStore::open(database, options, &Handle::current()).await {
                Ok(store) => {
                    node.life.lock().store = Some(store);
                    self.note(&format!("node {number} has started"));
                    return;
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Ends a node as `kill -9` does: what it had in memory is lost, and no answer of it comes.
    pub(super) async fn crash(&self, number: usize) {
        let node = &self.nodes[number];
        let store = {
            let mut life = node.life.lock();
            life.link.set(LinkState::Silent);
            life.number += NODES;
            let draws = Draws::new(self.seed, "link", life.number);
            life.link = Link::new(self.database.clone(), draws, self.fault);
            life.store.take()
        };
        self.note(&format!("node {number} has crashed"));
        if let Some(store) = store {
            store.close().await;
        }
    }

    /// Loses everything in the database.
    pub(super) fn empty_database(&self) {
        self.database.empty();
        self.note("the database was emptied");
        self.promises.lock().database_emptied(self.at());
        self.disturb();
    }

    pub(super) fn set_database_away(&self, is_away: bool) {
        self.database.set_away(is_away);
        self.note(if is_away { "the database is away" } else { "the database is back" });
        self.disturb();
    }

    pub(super) fn set_link(&self, number: usize, state: LinkState) {
        self.nodes[number].link().set(state);
        self.note(&format!("the link of node {number} is {state:?}"));
    }

    fn disturb(&self) {
        self.nodes.iter().for_each(|node| node.link().disturb());
    }

    /// Adds a line to the account of what happened.
    pub(super) fn note(&self, line: &str) {
        self.promises.lock().note(self.at(), line);
    }

    /// Since when a node has been in touch with the database without trouble.
    pub(super) fn calm_since(&self, number: usize) -> Option<Duration> {
        let since = self.nodes[number].link().calm_since()?;
        Some(since.saturating_duration_since(self.began))
    }
}

impl Node {
    pub(super) fn store(&self) -> Option<Arc<SharedStore>> {
        self.life.lock().store.clone()
    }

    fn link(&self) -> Arc<Link> {
        self.life.lock().link.clone()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What a node's clock shows while the database's shows `START`.
fn somewhere_near(draws: &mut Draws) -> Timestamp {
    START.minus(SKEW).plus(draws.millis(0, 40_000))
}
