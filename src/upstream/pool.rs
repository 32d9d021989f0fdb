//! A pool of servers that all serve the same thing, and the choice among them.
//!
//! Round robin starts at a random place per worker, so that many workers do not march in step.
//! Least requests takes the less busy of two chosen at random. A server that could not be
//! connected to a moment ago is chosen last, but it is chosen when there is no other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::connect::{self, Path, Tls};
use super::credential::Credential;
use super::error::PoolError;
use super::server::{Server, ServerSnapshot};
use crate::config::{self, Balance, ProxyVersion, ServerAddress, UpstreamTimeouts};
use crate::runtime::Worker;
use crate::secret;

/// The servers of one `[[upstream]]`.
pub struct Pool {
    name: Arc<str>,
    servers: Vec<Arc<Server>>,
    /// Indices into `servers`, each as often as it weighs, spread out.
    turns: Vec<usize>,
    balance: Balance,
    /// One counter per worker: whose turn it is, or what the next random choice is made from.
    counters: Box<[AtomicU64]>,
    /// Host and port of each server, for `Location` fields that name it.
    authorities: Vec<(String, u16)>,
    pub(super) http2: bool,
    pub(super) proxy_protocol: Option<ProxyVersion>,
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

/// Turns of one round: weights beyond this would only make the table longer.
const MAX_WEIGHT: u32 = 100;

impl Pool {
    /// A pool for `workers` workers. Reads the certificates it needs; connects to nothing yet.
    ///
    /// # Errors
    /// When there is no server, or its TLS settings cannot be used.
    pub fn build(config: &config::Upstream, workers: usize) -> Result<Arc<Self>, PoolError> {
        let uses_tls = |server: &config::Server| {
            matches!(server.address, ServerAddress::Tcp { tls: true, .. })
        };
        let shared_tls = match config.servers.iter().any(uses_tls) {
            true => Some(connect::tls_config(config)?),
            false => None,
        };
        let mut servers = Vec::with_capacity(config.servers.len());
        let mut authorities = Vec::new();
        for server in &config.servers {
            let path = match &server.address {
                ServerAddress::Echo => None,
                ServerAddress::Unix(path) => Some(Path::Unix(path.clone())),
                ServerAddress::Tcp { host, port, tls } => {
                    authorities.push((host.to_ascii_lowercase(), *port));
                    let tls = match &shared_tls {
                        Some(shared) if *tls => Some(Tls::new(config, host, shared)?),
                        _ => None,
                    };
                    Some(Path::Tcp { host: host.as_str().into(), port: *port, tls })
                }
            };
            let weight = server.weight.min(MAX_WEIGHT);
            let keep_alive = config.timeouts.keep_alive;
            servers.push(Arc::new(Server::new(&server.name, path, weight, keep_alive, workers)));
        }
        if servers.is_empty() {
            return Err(PoolError::NoServer { upstream: config.name.clone() });
        }
        Ok(Arc::new(Self {
            name: config.name.as_str().into(),
            turns: turns(&servers),
            servers,
            balance: config.balance,
            counters: (0..workers.max(1)).map(|_| random_counter()).collect(),
            authorities,
            http2: config.http2,
            proxy_protocol: config.proxy_protocol,
            timeouts: config.timeouts,
            retries: config.retries,
            credential: Credential::build(config)?,
        }))
    }

    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What metrics show.
    pub fn snapshot(&self) -> PoolSnapshot {
        let servers = self.servers.iter().map(|server| server.snapshot()).collect();
        PoolSnapshot { name: self.name.clone(), servers }
    }

    /// Drops connections that were not used for too long; to be called every few seconds. (They
    /// are not reused in any case: this only frees them when no request comes.)
    pub fn sweep(&self) {
        for server in &self.servers {
            server.sweep();
        }
    }

    /// Host and port of each server that has them.
    pub(super) fn authorities(&self) -> &[(String, u16)] {
        &self.authorities
    }

    /// The server to send the next request of `worker` to; not `failed`, if there is another.
    pub(super) fn pick(
        &self,
        worker: &Worker,
        failed: Option<&Arc<Server>>,
    ) -> Option<&Arc<Server>> {
        if let [only] = self.servers.as_slice() {
            return Some(only);
        }
        let counter = self.counters.get(worker.index % self.counters.len().max(1))?;
        let turn = counter.fetch_add(1, Ordering::Relaxed);
        let chosen = match self.balance {
            Balance::RoundRobin => self.at(turn)?,
            Balance::LeastRequests => {
                let random = scatter(turn);
                let (first, step) = (random >> 32, random & 0xffff_ffff);
                // Two different turns, so that of two servers the less busy is always found.
                let others = (self.turns.len() as u64).saturating_sub(1).max(1);
                let (one, other) = (self.at(first)?, self.at(first + 1 + step % others)?);
                if other.load() < one.load() { other } else { one }
            }
        };
        let suits = |server: &Arc<Server>| {
            server.is_up() && failed.is_none_or(|failed| !Arc::ptr_eq(failed, server))
        };
        if suits(chosen) {
            return Some(chosen);
        }
        let from = usize::try_from(turn % self.servers.len() as u64).unwrap_or_default();
        let (before, after) = self.servers.split_at(from);
        let mut others = after.iter().chain(before);
        others
            .clone()
            .find(|server| suits(server))
            .or_else(|| others.find(|server| failed.is_none_or(|f| !Arc::ptr_eq(f, server))))
            .or(Some(chosen))
    }

    fn at(&self, turn: u64) -> Option<&Arc<Server>> {
        let turn = usize::try_from(turn % (self.turns.len().max(1) as u64)).ok()?;
        self.servers.get(*self.turns.get(turn)?)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One round in which each server has as many turns as it weighs, as far apart as possible
/// (nginx's smooth weighted round robin).
fn turns(servers: &[Arc<Server>]) -> Vec<usize> {
    let weights: Vec<i64> = servers.iter().map(|server| i64::from(server.weight)).collect();
    let shared = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| weight / shared).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        // The first of equals, so that equal weights take turns in the order written.
        let best = credit.iter().copied().max().unwrap_or_default();
        if let Some(index) = credit.iter().position(|credit| *credit == best)
            && let Some(credit) = credit.get_mut(index)
        {
            *credit -= total;
            turns.push(index);
        }
    }
    turns
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn random_counter() -> AtomicU64 {
    AtomicU64::new(u64::from_ne_bytes(secret::random()))
}

/// Spreads a counter over all 64 bits (the finalizer of splitmix64). Balancing needs no secret,
/// and a counter needs no lock.
fn scatter(counter: u64) -> u64 {
    let mut mixed = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn servers(weights: &[u32]) -> Vec<Arc<Server>> {
        let server = |weight: &u32| Server::new("s", None, *weight, Duration::ZERO, 1);
        weights.iter().map(|weight| Arc::new(server(weight))).collect()
    }

    #[test]
    fn turns_follow_the_weights_and_are_spread_out() {
        for (weights, expected, why) in [
            (&[1, 1, 1][..], &[0, 1, 2][..], "equal weights take turns"),
            (&[50, 50], &[0, 1], "weights are relative"),
            (&[2, 1], &[0, 1, 0], "a heavier server has its turns apart"),
        ] {
            assert_eq!(turns(&servers(weights)), expected, "{why}");
        }
    }
}
