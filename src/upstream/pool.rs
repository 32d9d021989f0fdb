//! A pool of servers that all serve the same thing: what it is built from and what is asked of
//! it. `pick` is the choice among its servers, `forward` the way to the chosen one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::HeaderMap;

use super::balance::{self, Group};
use super::budget::Budget;
use super::connect::{self, Host, Path, Tls};
use super::credential::Credential;
use super::error::{ForwardError, PoolError};
use super::headers::Facts;
use super::health::Checks;
use super::outlier::Outliers;
use super::server::{Server, ServerSnapshot};
use crate::clock::Clock;
use crate::config::{self, Balance, ProxyVersion, ServerAddress, UpstreamTimeouts};
use crate::runtime::BackRoom;
use crate::secret;

/// The servers of one `[[upstream]]`.
pub struct Pool {
    name: Arc<str>,
    pub(super) servers: Vec<Arc<Server>>,
    pub(super) primary: Group,
    pub(super) backup: Group,
    pub(super) balance: Balance,
    /// One counter per worker: whose turn it is, or what the next random choice is made from.
    pub(super) counters: Box<[Counter]>,
    /// Host and port of each server, for `Location` fields that name it.
    authorities: Vec<(String, u16)>,
    pub(super) checks: Option<Checks>,
    pub(super) outliers: Option<Outliers>,
    pub(super) clock: Clock,
    pub(super) http2: bool,
    /// A request has one of a stated number of connections to itself.
    pub(super) few_connections: bool,
    pub(super) proxy_protocol: Option<ProxyVersion>,
    pub(super) timeouts: UpstreamTimeouts,
    pub(super) retries: u8,
    pub(super) budget: Budget,
    pub(super) credential: Option<Credential>,
}

/// On a cache line of its own (or two, which are fetched together): it is written for every
/// request of its worker.
#[repr(align(128))]
pub(super) struct Counter(pub(super) AtomicU64);

/// A pool as metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSnapshot {
    pub name: Arc<str>,
    pub servers: Vec<ServerSnapshot>,
    /// Requests sent again.
    pub retries: u64,
    /// Requests not sent again because too many were.
    pub retries_refused: u64,
}

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
            few_connections: config.calls.max_connections.is_some() && !config.http2,
            proxy_protocol: config.proxy_protocol,
            timeouts: config.timeouts,
            retries: config.calls.retries,
            budget: Budget::new(config.calls.retry_budget, workers),
            credential: Credential::build(config)?,
            servers,
        }))
    }

    /// Takes over what `last`, the pool in whose place this one is put, knew of the servers that
    /// both have: a reload must not send requests to a server that is known to be down.
    pub fn inherit(&self, last: &Self) {
        let known: HashMap<&str, &Server> =
            last.servers.iter().map(|server| (&*server.name, &**server)).collect();
        for server in &self.servers {
            if let Some(last) = known.get(&*server.name) {
                server.state.inherit(&last.state, self.checks.is_some());
            }
        }
        if let (Some(own), Some(last)) = (&self.checks, &last.checks) {
            own.inherit(last);
        }
    }

    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether a request on its way has a connection to itself, and keeps others from it.
    pub fn is_one_by_one(&self) -> bool {
        !self.http2
    }

    /// What metrics show.
    pub fn snapshot(&self) -> PoolSnapshot {
        let servers = self.servers.iter().map(|server| server.snapshot(&self.clock)).collect();
        let (retries, retries_refused) = self.budget.counts();
        PoolSnapshot { name: self.name.clone(), servers, retries, retries_refused }
    }

    /// Drops connections that were not used for too long (they are not reused in any case: this
    /// only frees them when no request comes) and has names resolved anew that are due; to be
    /// called every few seconds.
    pub fn sweep(&self, back_room: &BackRoom) {
        for server in &self.servers {
            server.sweep(back_room);
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

    pub(super) fn servers(&self) -> &[Arc<Server>] {
        &self.servers
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
                let host = Host::new(host, config.calls.resolve);
                Some(Path::Tcp { host, port: *port, tls })
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

fn random_counter() -> Counter {
    Counter(AtomicU64::new(u64::from_ne_bytes(secret::random())))
}

/// An upstream as a test needs one: nothing about it is special.
#[cfg(test)]
pub(super) fn sample(balance: Balance, servers: Vec<config::Server>) -> config::Upstream {
    let wait = Duration::from_secs(1);
    config::Upstream {
        name: "pool".to_owned(),
        servers,
        balance,
        http2: false,
        proxy_protocol: None,
        timeouts: UpstreamTimeouts {
            connect: wait,
            first_byte: wait,
            idle: wait,
            total: None,
            keep_alive: wait,
        },
        calls: config::UpstreamCalls { retries: 0, ..config::UpstreamCalls::default() },
        care: config::Care::default(),
        tls: config::UpstreamTls::default(),
        case_insensitive: false,
        credential: None,
    }
}
