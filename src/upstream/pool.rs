//! A pool of servers that all serve the same thing, and the choice among them.
//!
//! Round robin starts at a random place per worker, so that many workers do not march in step.
//! Least requests takes the less busy of two chosen at random. With hash a key has its place on a
//! ring. A choice that cannot be used is rare: only then are the others looked through, the
//! primary servers before the backups, what is well before what may not be. A server that fails
//! its checks is never chosen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;

use super::balance::{self, Group, scatter};
use super::connect::{self, Path, Tls};
use super::credential::Credential;
use super::error::{ForwardError, PoolError};
use super::headers::Facts;
use super::health::Checks;
use super::outlier::Outliers;
use super::server::{Server, ServerSnapshot};
use super::state::{Condition, FULL_SHARE};
use crate::clock::Clock;
use crate::config::{self, Balance, ServerAddress, UpstreamTimeouts};
use crate::runtime::Worker;
use crate::secret;

/// The servers of one `[[upstream]]`.
pub struct Pool {
    name: Arc<str>,
    pub(super) servers: Vec<Arc<Server>>,
    primary: Group,
    backup: Group,
    balance: Balance,
    /// One counter per worker: whose turn it is, or what the next random choice is made from.
    counters: Box<[AtomicU64]>,
    /// Host and port of each server, for `Location` fields that name it.
    authorities: Vec<(String, u16)>,
    pub(super) checks: Option<Checks>,
    pub(super) outliers: Option<Outliers>,
    pub(super) clock: Clock,
    pub(super) http2: bool,
    pub(super) timeouts: UpstreamTimeouts,
    pub(super) retries: u8,
    pub(super) credential: Option<Credential>,
}

/// A pool as metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSnapshot {
    pub name: Arc<str>,
    pub servers: Vec<ServerSnapshot>,
}

/// What a choice depends on.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    /// Not this server, if there is another.
    pub(super) failed: Option<&'a Arc<Server>>,
    pub(super) key: Option<u64>,
}

/// Other turns to try before all servers are looked through: of a pool that is half gone, one
/// request in sixteen looks.
const TRIES: u64 = 3;
/// Points of the ring to walk past before all servers are looked through.
const WALK: usize = 64;

impl Pool {
    /// A pool for `workers` workers. Reads the certificates it needs; connects to nothing yet.
    ///
    /// # Errors
    /// When there is no server, or its TLS settings cannot be used.
    pub fn build(
        config: &config::Upstream,
        workers: usize,
        clock: &Clock,
    ) -> Result<Arc<Self>, PoolError> {
        let servers = servers(config, workers)?;
        let all: Vec<&Server> = servers.iter().map(AsRef::as_ref).collect();
        let hashes = matches!(config.balance, Balance::Hash(_));
        let outliers = config.care.outlier.filter(|_| servers.len() > 1);
        Ok(Arc::new(Self {
            name: config.name.as_str().into(),
            primary: Group::new(&all, hashes, false),
            backup: Group::new(&all, hashes, true),
            balance: config.balance.clone(),
            counters: (0..workers.max(1)).map(|_| random_counter()).collect(),
            authorities: authorities(config),
            checks: config.care.health.as_ref().map(Checks::new),
            outliers: outliers.map(Outliers::new),
            clock: clock.clone(),
            http2: config.http2,
            timeouts: config.timeouts,
            retries: config.retries,
            credential: Credential::build(config)?,
            servers,
        }))
    }

    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What metrics show.
    pub fn snapshot(&self) -> PoolSnapshot {
        let servers = self.servers.iter().map(|server| server.snapshot(&self.clock)).collect();
        PoolSnapshot { name: self.name.clone(), servers }
    }

    /// Drops connections that were not used for too long; to be called every few seconds. (They
    /// are not reused in any case: this only frees them when no request comes.)
    pub fn sweep(&self) {
        for server in &self.servers {
            server.sweep();
        }
    }

    /// What a request has in common with others that are to go to the same server; nothing where
    /// the pool does not look at that.
    pub fn key(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Option<u64> {
        match &self.balance {
            Balance::Hash(by) => balance::key(by, headers, facts),
            Balance::LeastRequests | Balance::RoundRobin => None,
        }
    }

    /// Host and port of each server that has them.
    pub(super) fn authorities(&self) -> &[(String, u16)] {
        &self.authorities
    }

    /// Why `pick` found nothing: only checks take out all servers, so the next may bring one back.
    pub(super) fn no_server(&self) -> ForwardError {
        let retry_after = self.checks.as_ref().map_or(Duration::from_secs(1), Checks::interval);
        ForwardError::NoServer { upstream: self.name.clone(), retry_after }
    }

    /// The server to send the next request of `worker` to; `None` if all fail their checks.
    pub(super) fn pick(&self, worker: &Worker, wanted: &Wanted<'_>) -> Option<&Arc<Server>> {
        if let [only] = self.servers.as_slice() {
            return Some(only).filter(|only| !only.state.fails_checks());
        }
        let counter = self.counters.get(worker.index % self.counters.len().max(1))?;
        let turn = counter.fetch_add(1, Ordering::Relaxed);
        match self.choose(&self.primary, turn, wanted) {
            Some(chosen) => Some(chosen),
            None => self.pick_other(turn, wanted),
        }
    }

    /// What the balance says, if it can be used.
    fn choose(&self, group: &Group, turn: u64, wanted: &Wanted<'_>) -> Option<&Arc<Server>> {
        let chosen = match (&self.balance, &group.ring, wanted.key) {
            (Balance::RoundRobin, ..) => self.server(group.at(turn)?)?,
            (Balance::LeastRequests, ..) => {
                let (one, other) = group.two(scatter(turn))?;
                let (one, other) = (self.server(one)?, self.server(other)?);
                if other.load() < one.load() { other } else { one }
            }
            (Balance::Hash(_), Some(ring), Some(key)) => self.server(ring.after(key).next()?)?,
            (Balance::Hash(_), ..) => self.server(group.at(scatter(turn))?)?,
        };
        let takes = match self.condition(chosen) {
            Condition::Up => true,
            // Another random number than the choice was made by.
            Condition::Rising(share) => scatter(!turn) % FULL_SHARE < share,
            _ => false,
        };
        Some(chosen).filter(|chosen| takes && !wanted.is_failed(chosen))
    }

    #[cold]
    fn pick_other(&self, turn: u64, wanted: &Wanted<'_>) -> Option<&Arc<Server>> {
        self.search(&self.primary, turn, wanted)
            .or_else(|| self.choose(&self.backup, turn, wanted))
            .or_else(|| self.search(&self.backup, turn, wanted))
            .or_else(|| self.least_bad(turn, wanted))
    }

    /// Any server of the group that can be used; one that is rising only if no other can, or its
    /// share would be more than it was to take.
    fn search(&self, group: &Group, turn: u64, wanted: &Wanted<'_>) -> Option<&Arc<Server>> {
        let is_up = |server: &Arc<Server>| {
            self.condition(server) == Condition::Up && !wanted.is_failed(server)
        };
        let near = match (&group.ring, wanted.key) {
            (Some(ring), Some(key)) => {
                let mut walk = ring.after(key).take(WALK).filter_map(|number| self.server(number));
                walk.find(|server| is_up(server))
            }
            _ => {
                let step = |step: u64| group.at(scatter(turn.wrapping_add(step << 32)));
                let mut turns = (1..=TRIES).filter_map(|number| self.server(step(number)?));
                turns.find(|server| is_up(server))
            }
        };
        let can =
            |server: &Arc<Server>| self.condition(server).is_up() && !wanted.is_failed(server);
        let all = || rotated(&group.members, wanted.key.unwrap_or(turn));
        let all = || all().filter_map(|number| self.server(*number));
        near.or_else(|| all().find(|server| is_up(server)))
            .or_else(|| all().find(|server| can(server)))
    }

    /// Where nothing is well, whatever passes its checks is still better than no answer.
    fn least_bad(&self, turn: u64, wanted: &Wanted<'_>) -> Option<&Arc<Server>> {
        let rank = |server: &Arc<Server>| match self.condition(server) {
            Condition::FailsChecks => None,
            condition => {
                let ejected = condition == Condition::Ejected;
                Some((wanted.is_failed(server), ejected, server.backup))
            }
        };
        let ranked = rotated(&self.servers, turn).filter_map(|one| Some((rank(one)?, one)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, server)| server)
    }

    fn server(&self, number: usize) -> Option<&Arc<Server>> {
        self.servers.get(number)
    }

    fn condition(&self, server: &Server) -> Condition {
        match server.state.condition(&self.clock) {
            // A key's server is the same however new it is.
            Condition::Rising(_) if self.primary.ring.is_some() => Condition::Up,
            condition => condition,
        }
    }
}

impl Wanted<'_> {
    fn is_failed(&self, server: &Arc<Server>) -> bool {
        self.failed.is_some_and(|failed| Arc::ptr_eq(failed, server))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}

fn servers(config: &config::Upstream, workers: usize) -> Result<Vec<Arc<Server>>, PoolError> {
    let uses_tls =
        |server: &config::Server| matches!(server.address, ServerAddress::Tcp { tls: true, .. });
    let shared_tls = match config.servers.iter().any(uses_tls) {
        true => Some(connect::tls_config(config)?),
        false => None,
    };
    let mut servers = Vec::with_capacity(config.servers.len());
    for server in &config.servers {
        let path = match &server.address {
            ServerAddress::Echo => None,
            ServerAddress::Unix(path) => Some(Path::Unix(path.clone())),
            ServerAddress::Tcp { host, port, tls } => {
                let tls = match &shared_tls {
                    Some(shared) if *tls => Some(Tls::new(config, host, shared)?),
                    _ => None,
                };
                Some(Path::Tcp { host: host.as_str().into(), port: *port, tls })
            }
        };
        servers.push(Arc::new(Server::new(server, path, config, workers)));
    }
    match servers.is_empty() {
        true => Err(PoolError::NoServer { upstream: config.name.clone() }),
        false => Ok(servers),
    }
}

fn authorities(config: &config::Upstream) -> Vec<(String, u16)> {
    let authority = |server: &config::Server| match &server.address {
        ServerAddress::Tcp { host, port, .. } => Some((host.to_ascii_lowercase(), *port)),
        ServerAddress::Unix(_) | ServerAddress::Echo => None,
    };
    config.servers.iter().filter_map(authority).collect()
}

/// All of `list`, beginning at the place that `start` says.
fn rotated<T>(list: &[T], start: u64) -> impl Iterator<Item = &T> {
    let from = usize::try_from(start % (list.len().max(1) as u64)).unwrap_or_default();
    let (before, after) = list.split_at(from.min(list.len()));
    after.iter().chain(before)
}

fn random_counter() -> AtomicU64 {
    AtomicU64::new(u64::from_ne_bytes(secret::random()))
}
