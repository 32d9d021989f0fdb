//! The nodes of a Cluster: which of them has a slot, and a connection to each.
//!
//! The map of slots is read from any node that answers. It is read anew after a node has sent a
//! step elsewhere, or could not be reached: its replica may have taken over. Until then the other
//! nodes are used as before, so a node that is down holds up steps for its own slots only.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use parking_lot::Mutex;
use redis::{Pipeline, Value};
use tokio::time::Instant;
use tollhouse_core::single_flight::SingleFlight;

use super::address::Endpoint;
use super::connection::{Connection, Dialer, Greeting};
use super::fault::{Fault, FaultKind, Remedy};
use super::link::Link;
use super::step::{CommandBatch, Deadline, array, integer, text};

/// How often a step is sent at most: to the wrong node, to a node that moves the key away, once more
/// while keys are on both, and once over a new connection.
const MOST_ATTEMPTS: usize = 6;
/// While keys of a step move one by one, the next attempt comes after this time.
const MOVING_PAUSE: Duration = Duration::from_millis(10);
/// The map is not read more often. A node that is down would otherwise have it read by each step.
const MAP_READ_EVERY: Duration = Duration::from_millis(200);
const MOST_WAITING: usize = 16384;

/// Which node has which slots.
#[derive(Debug, Default)]
struct SlotMap {
    /// First and last slot, and the node that takes their writes.
    ranges: Vec<(u16, u16, Endpoint)>,
    /// The slots that nodes have redirected since the map was read, and their new nodes.
    moved: HashMap<u16, Endpoint>,
    read: Option<Instant>,
}

impl SlotMap {
    fn owner(&self, slot: u16) -> Option<Endpoint> {
        let range = || {
            let found =
                self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
            found.map(|(_, _, node)| node)
        };
        self.moved.get(&slot).or_else(range).cloned()
    }

    fn nodes(&self) -> Vec<Endpoint> {
        let mut nodes: Vec<Endpoint> = Vec::new();
        for (_, _, node) in &self.ranges {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }
}

/// A Cluster.
#[derive(Debug)]
pub(super) struct ClusterServers {
    seeds: Vec<Endpoint>,
    dialer: Arc<Dialer>,
    map: Mutex<SlotMap>,
    is_map_stale: AtomicBool,
    reading: SingleFlight<(), Result<(), Fault>>,
    links: Mutex<HashMap<Endpoint, Arc<Link>>>,
}

impl ClusterServers {
    pub(super) fn new(seeds: Vec<Endpoint>, dialer: Arc<Dialer>) -> Self {
        Self {
            seeds,
            dialer,
            map: Mutex::default(),
            is_map_stale: AtomicBool::new(true),
            reading: SingleFlight::new(1, MOST_WAITING),
            links: Mutex::default(),
        }
    }

    pub(super) async fn run(
        &self,
        step: &CommandBatch<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let mut redirect: Option<Endpoint> = None;
        let mut failed: Option<(Endpoint, Fault)> = None;
        for _ in 0..MOST_ATTEMPTS {
            let is_asking = redirect.is_some();
            let node = match redirect.take() {
                Some(node) => node,
                None => self.owner(step.slot, deadline).await?,
            };
            // The map was read anew, and the node that could not be reached is still the one.
            if let Some((down, fault)) = failed.take()
                && down == node
            {
                return Err(fault);
            }
            let fault = match self.run_at(&node, step, is_asking, deadline).await {
                Ok(values) => return Ok(values),
                Err(fault) => fault,
            };
            if !self.note(&node, step.slot, &fault) || deadline.is_over() {
                return Err(fault);
            }
            match fault.remedy(&node) {
                Remedy::Ask(other) => redirect = Some(other),
                Remedy::TryAgain => tokio::time::sleep(MOVING_PAUSE).await,
                Remedy::Elsewhere | Remedy::FindMaster => {
                    if self.read_map(deadline).await.is_err() {
                        return Err(fault);
                    }
                    failed = Some((node, fault));
                }
                _ => {}
            }
        }
        Err(Fault::new(
            "the Redis Cluster",
            FaultKind::Unusable("the step was sent around too often"),
        ))
    }

    /// Learns from a fault where a slot is. False if trying again cannot help.
    pub(super) fn note(&self, node: &Endpoint, slot: u16, fault: &Fault) -> bool {
        match fault.remedy(node) {
            Remedy::Moved(other) => {
                self.map.lock().moved.insert(slot, other);
                self.is_map_stale.store(true, Ordering::Relaxed);
                true
            }
            Remedy::Reconnect | Remedy::Elsewhere | Remedy::FindMaster => {
                self.is_map_stale.store(true, Ordering::Relaxed);
                true
            }
            Remedy::Ask(_) | Remedy::TryAgain => true,
            Remedy::LoadScript | Remedy::Nothing => false,
        }
    }

    async fn run_at(
        &self,
        node: &Endpoint,
        step: &CommandBatch<'_>,
        is_asking: bool,
        deadline: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let link = self.link(node);
        let dial = self.dialer.dial(node, Greeting::Login, deadline);
        let connection = link.connection(deadline, dial).await?;
        link.run_on(&connection, step, is_asking, deadline).await
    }

    fn link(&self, node: &Endpoint) -> Arc<Link> {
        let mut links = self.links.lock();
        links.entry(node.clone()).or_insert_with(|| Arc::new(Link::new())).clone()
    }

    /// A new connection to the node that has `slot`.
    pub(super) async fn dial(&self, slot: u16, deadline: Deadline) -> Result<Connection, Fault> {
        let node = self.owner(slot, deadline).await?;
        let dialed = self.dialer.dial(&node, Greeting::Login, deadline).await;
        if let Err(fault) = &dialed {
            self.note(&node, slot, fault);
        }
        dialed
    }

    /// A new connection to every node that takes writes.
    pub(super) async fn dial_all(&self, deadline: Deadline) -> Result<Vec<Connection>, Fault> {
        self.read_map(deadline).await?;
        let nodes = self.map.lock().nodes();
        let dialed = nodes.iter().map(|node| self.dialer.dial(node, Greeting::Login, deadline));
        futures_util::future::try_join_all(dialed).await
    }

    /// The node that has a slot. A map that is stale is read anew, but not too often; if that fails,
    /// the old one may still be right.
    async fn owner(&self, slot: u16, deadline: Deadline) -> Result<Endpoint, Fault> {
        let (known, read) = {
            let map = self.map.lock();
            (map.owner(slot), map.read)
        };
        let is_recent = read.is_some_and(|read| read.elapsed() < MAP_READ_EVERY);
        if let Some(node) = known
            && (is_recent || !self.is_map_stale.load(Ordering::Relaxed))
        {
            return Ok(node);
        }
        let outcome = self.read_map(deadline).await;
        let node = self.map.lock().owner(slot);
        match (node, outcome) {
            (Some(node), _) => Ok(node),
            (None, Err(fault)) => Err(fault),
            (None, Ok(())) => {
                let why = "no node has the slot of a key".to_owned();
                Err(Fault::new("the Redis Cluster", FaultKind::Connect(why)))
            }
        }
    }

    /// Reads the map of slots from the first node that answers.
    async fn read_map(&self, deadline: Deadline) -> Result<(), Fault> {
        let reading = self.reading.run((), async {
            let mut nodes = self.map.lock().nodes();
            nodes.extend(
                self.seeds.iter().filter(|seed| !nodes.contains(seed)).cloned().collect::<Vec<_>>(),
            );
            let attempts = nodes.iter().map(|node| self.read_map_of(node, deadline).boxed());
            let (ranges, _) = select_ok(attempts).await?;
            self.is_map_stale.store(false, Ordering::Relaxed);
            let map = SlotMap { ranges, moved: HashMap::new(), read: Some(Instant::now()) };
            let nodes = map.nodes();
            *self.map.lock() = map;
            self.links.lock().retain(|node, _| nodes.contains(node) || self.seeds.contains(node));
            Ok(())
        });
        match deadline.bound(reading).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => {
                let kind = FaultKind::Unusable("too many steps are waiting");
                Err(Fault::new("the Redis Cluster", kind))
            }
            Err(limit) => Err(Fault::new("the Redis Cluster", FaultKind::Slow(limit))),
        }
    }

    async fn read_map_of(
        &self,
        node: &Endpoint,
        deadline: Deadline,
    ) -> Result<Vec<(u16, u16, Endpoint)>, Fault> {
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("CLUSTER").arg("SLOTS");
        let values =
            self.run_at(node, &CommandBatch::commands(0, commands), false, deadline).await?;
        let ranges = array(values.into_iter().next().unwrap_or_default())?;
        let ranges: Vec<_> =
            ranges.into_iter().map(|range| parse_range(range, node)).collect::<Result<_, _>>()?;
        if ranges.is_empty() {
            let why = "it belongs to no Cluster that has slots".to_owned();
            return Err(Fault::new(node, FaultKind::Connect(why)));
        }
        Ok(ranges)
    }

    pub(super) fn close(&self) {
        for link in self.links.lock().values() {
            link.close();
        }
    }
}

/// One entry of `CLUSTER SLOTS`: first slot, last slot, the master, and then its replicas.
fn parse_range(range: Value, answering: &Endpoint) -> Result<(u16, u16, Endpoint), Fault> {
    let unexpected = || Fault::unexpected(answering, "a map of slots");
    let mut range = array(range)?.into_iter();
    let mut number =
        || u16::try_from(integer(range.next().unwrap_or_default())?).map_err(|_| unexpected());
    let first = number()?;
    let last = number()?;
    let mut master = array(range.next().unwrap_or_default())?.into_iter();
    let host = match master.next().unwrap_or_default() {
        Value::Nil => String::new(),
        host => text(host)?,
    };
    let port =
        u16::try_from(integer(master.next().unwrap_or_default())?).map_err(|_| unexpected())?;
    let node = Endpoint::answered(&host, port, answering).ok_or_else(unexpected)?;
    Ok((first, last, node))
}
