//! A pool of servers that serve the same content: its parts, its construction, and its metrics.
//!
//! `pick` chooses among the servers; `forward` sends a request to the chosen one. A pool belongs to
//! one generation of the configuration. After a reload, a new pool inherits the known state of the
//! servers that it shares with the old one. `gateway` builds pools.

mod balance;
mod credential;
mod credential_headers;
mod dry_run;
mod health;
mod login;
mod mint;
mod outlier;
mod pick;
mod probe;
mod reach;
mod retry_budget;
mod reuse_trust;
mod server;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use self::balance::ServerGroup;
use self::health::PoolChecks;
use self::outlier::OutlierDetector;
use self::probe::CheckProtocol;
use self::retry_budget::RetryBudget;
use crate::clock::Clock;
use crate::headers::HeaderFacts;
use crate::runtime::BackgroundRuntime;
use crate::secret;
use crate::settings::{self, BalancePolicy, ProxyVersion, ServerAddress, UpstreamTimeouts};
use crate::upstream::connection::{self, ServerEndpoint, ServerHost, ServerTls};
use crate::upstream::error::{ForwardError, PoolBuildError};

pub(super) use self::credential::GatewayCredential;
pub use self::dry_run::CapturedRequest;
pub(super) use self::dry_run::DryRunEnd;
pub(super) use self::login::{UpstreamLoginClient, UpstreamSession};
pub(super) use self::mint::TokenMint;
pub(super) use self::pick::PickRequest;
pub use self::server::ServerSnapshot;
pub(super) use self::server::{InFlight, PoolServer};
pub use self::state::ServerCondition;

/// The servers of one `[[upstream]]`.
pub struct UpstreamPool {
    name: Arc<str>,
    servers: Vec<Arc<PoolServer>>,
    primary: ServerGroup,
    backup: ServerGroup,
    balance: BalancePolicy,
    /// One counter per worker, for the next turn or the next random choice.
    counters: Box<[WorkerCounter]>,
    /// Host and port of each server, to recognise `Location` fields that name one.
    authorities: Vec<(String, u16)>,
    checks: Option<PoolChecks>,
    outliers: Option<OutlierDetector>,
    clock: Clock,
    pub(super) http2: bool,
    /// True if connections are limited and serve one request at a time.
    pub(super) few_connections: bool,
    pub(super) proxy_protocol: Option<ProxyVersion>,
    pub(super) timeouts: UpstreamTimeouts,
    pub(super) retries: u8,
    pub(super) budget: RetryBudget,
    pub(super) credential: Option<GatewayCredential>,
    /// Present only in a pool for a dry run.
    pub(super) dry_run: Option<DryRunEnd>,
}

/// A counter on a cache line of its own (two lines, because processors fetch them in pairs). Its
/// worker writes it for every request.
#[repr(align(128))]
struct WorkerCounter(AtomicU64);

/// The state of a pool for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSnapshot {
    pub name: Arc<str>,
    pub servers: Vec<ServerSnapshot>,
    /// Requests that were sent again.
    pub retries: u64,
    /// Requests that were not sent again because the retry budget was used up.
    pub retries_refused: u64,
}

impl UpstreamPool {
    /// Builds a pool for `workers` workers. It reads the certificates that it needs and connects to
    /// nothing yet.
    ///
    /// # Errors
    /// There is no server, or the TLS settings or the credential cannot be used.
    pub fn build(
        config: &settings::UpstreamSettings,
        workers: usize,
        clock: &Clock,
    ) -> Result<Arc<Self>, PoolBuildError> {
        let servers = servers(config, workers)?;
        Ok(Arc::new(Self::with(config, servers, GatewayCredential::build(config)?, workers, clock)))
    }

    /// Builds a pool that sends nothing and keeps the request instead. Its servers are in the
    /// condition that they have in `last`, the pool in use, and it shows the login that `last` has
    /// made.
    ///
    /// # Errors
    /// The credential cannot be used.
    pub fn for_dry_run(
        config: &settings::UpstreamSettings,
        last: Option<&Self>,
        clock: &Clock,
    ) -> Result<Arc<Self>, PoolBuildError> {
        let server = |server| Arc::new(PoolServer::new(server, None, config, 1));
        let servers = config.servers.iter().map(server).collect();
        let credential = match last.and_then(|last| last.credential.as_ref()) {
            Some(GatewayCredential::Login(login)) => Some(GatewayCredential::Login(login.clone())),
            Some(
                GatewayCredential::Fixed(_)
                | GatewayCredential::Minted(_)
                | GatewayCredential::Session(_),
            )
            | None => GatewayCredential::build(config)?,
        };
        let mut pool = Self::with(config, servers, credential, 1, clock);
        pool.dry_run = Some(DryRunEnd::new(config));
        if let Some(last) = last {
            pool.inherit(last);
        }
        Ok(Arc::new(pool))
    }

    fn with(
        config: &settings::UpstreamSettings,
        servers: Vec<Arc<PoolServer>>,
        credential: Option<GatewayCredential>,
        workers: usize,
        clock: &Clock,
    ) -> Self {
        let all: Vec<&PoolServer> = servers.iter().map(AsRef::as_ref).collect();
        let hashes = matches!(config.balance, BalancePolicy::Hash(_));
        // With one server there is nothing to choose from, so ejecting it would only cause outages.
        // Every request would fail while the server is left out.
        let outliers = config.care.outlier.filter(|_| servers.len() > 1);
        Self {
            name: config.name.as_str().into(),
            primary: ServerGroup::new(&all, hashes, false),
            backup: ServerGroup::new(&all, hashes, true),
            balance: config.balance.clone(),
            counters: (0..workers.max(1)).map(|_| random_counter()).collect(),
            authorities: authorities(config),
            checks: config.care.health.as_ref().map(PoolChecks::new),
            outliers: outliers.map(OutlierDetector::new),
            clock: clock.clone(),
            http2: config.http2,
            few_connections: config.calls.max_connections.is_some() && !config.http2,
            proxy_protocol: config.proxy_protocol,
            timeouts: config.timeouts,
            retries: config.calls.retries,
            budget: RetryBudget::new(config.calls.retry_budget, workers),
            credential,
            dry_run: None,
            servers,
        }
    }

    /// The request that a dry run has brought to this pool.
    pub fn captured(&self) -> Option<CapturedRequest> {
        self.dry_run.as_ref()?.take()
    }

    /// Takes over the state of the servers that `last`, the pool of the previous generation, also
    /// has. A reload must not send requests to a server that is known to be down. Servers are
    /// matched by their names. Connections are not taken over; the old pool's requests finish on
    /// them.
    pub fn inherit(&self, last: &Self) {
        let known: HashMap<&str, &PoolServer> =
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

    /// The name of the upstream in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// True if a request occupies a connection for itself while it is under way.
    pub fn is_one_by_one(&self) -> bool {
        !self.http2
    }

    /// The state of the pool for metrics.
    pub fn snapshot(&self) -> PoolSnapshot {
        let servers = self.servers.iter().map(|server| server.snapshot(&self.clock)).collect();
        let (retries, retries_refused) = self.budget.counts();
        PoolSnapshot { name: self.name.clone(), servers, retries, retries_refused }
    }

    /// Drops connections that were unused for too long, and renews names that are due. The
    /// background runtime calls it every few seconds. An old connection is never reused in any
    /// case; sweeping frees its socket when no requests come.
    pub fn sweep(&self, background: &BackgroundRuntime) {
        for server in &self.servers {
            server.sweep(background);
        }
    }

    /// The hash key of a request; requests with equal keys go to the same server. `None` if the
    /// pool does not balance by hash. It is computed once per request, so that a retry uses the
    /// same key.
    pub fn key(&self, headers: &HeaderMap, facts: &HeaderFacts<'_>) -> Option<u64> {
        match &self.balance {
            BalancePolicy::Hash(by) => balance::key(by, headers, facts),
            BalancePolicy::LeastRequests | BalancePolicy::RoundRobin => None,
        }
    }

    /// Starts the checks, if they are configured. They run for as long as the pool exists. Call it
    /// once for each pool. A second call would start a second task and double the load on the
    /// servers.
    pub fn watch(&self, background: &BackgroundRuntime) {
        let Some(checks) = &self.checks else { return };
        let protocol = CheckProtocol {
            http2: self.http2,
            proxy_protocol: self.proxy_protocol,
            credential: match &self.credential {
                Some(GatewayCredential::Fixed(fields)) => Some(fields.clone()),
                Some(
                    GatewayCredential::Login(_)
                    | GatewayCredential::Minted(_)
                    | GatewayCredential::Session(_),
                )
                | None => None,
            },
        };
        checks.start(self.servers.clone(), protocol, self.clock.clone(), background);
    }

    /// Resolves when each server has been probed once, or when the time for that is over. A start
    /// waits for it, so that the first requests do not go to a server that is down.
    pub async fn checked_once(&self) {
        if let Some(checks) = &self.checks {
            checks.checked_once().await;
        }
    }

    /// A sentence for operators, if the checks say that no request can be served.
    pub fn problem(&self) -> Option<String> {
        self.checks.as_ref()?.problem(&self.name, &self.servers)
    }

    /// Records the status of a server's answer.
    pub(super) fn answered(&self, server: &PoolServer, status: StatusCode) {
        match status.is_server_error() {
            true => self.failed(server),
            false => server.state.succeeded(),
        }
    }

    /// Records that no connection to a server could be made.
    pub(super) fn unreachable(&self, server: &PoolServer) {
        server.unreachable(self.clock.now());
        self.failed(server);
    }

    /// Records that a server gave no answer or an invalid one. Without ejections in the
    /// configuration nothing is recorded.
    pub(super) fn failed(&self, server: &PoolServer) {
        if let Some(outliers) = &self.outliers {
            outliers.failed(server, &self.servers, &self.clock);
        }
    }

    /// All servers of the pool, backups included.
    pub(super) fn servers(&self) -> &[Arc<PoolServer>] {
        &self.servers
    }

    /// Host and port of each server that has them.
    pub(super) fn authorities(&self) -> &[(String, u16)] {
        &self.authorities
    }

    /// The error if `pick` finds no server. Only failed checks take out every server, so the next
    /// check may bring one back. The client should come back after one interval of the checks.
    pub(super) fn no_server(&self) -> ForwardError {
        let retry_after = self.checks.as_ref().map_or(Duration::from_secs(1), PoolChecks::interval);
        ForwardError::NoServer { upstream: self.name.clone(), retry_after }
    }
}

impl fmt::Debug for UpstreamPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The servers of a configuration. TLS settings are loaded once and shared. Loading the certificate
/// authorities takes long, and the upstream's settings are the same for each server.
///
/// # Errors
/// No server, or TLS settings that cannot be used.
fn servers(
    config: &settings::UpstreamSettings,
    workers: usize,
) -> Result<Vec<Arc<PoolServer>>, PoolBuildError> {
    let uses_tls = |server: &settings::ServerSettings| {
        matches!(server.address, ServerAddress::Tcp { tls: true, .. })
    };
    let shared_tls = match config.servers.iter().any(uses_tls) {
        true => Some(connection::tls_config(config)?),
        false => None,
    };
    let mut servers = Vec::with_capacity(config.servers.len());
    for server in &config.servers {
        let path = match &server.address {
            ServerAddress::Echo => None,
            ServerAddress::Unix(path) => Some(ServerEndpoint::Unix(path.clone())),
            ServerAddress::Tcp { host, port, tls } => {
                let tls = match &shared_tls {
                    Some(shared) if *tls => Some(ServerTls::new(config, host, shared)?),
                    _ => None,
                };
                let host = ServerHost::new(host, config.calls.resolve);
                Some(ServerEndpoint::Tcp { host, port: *port, tls })
            }
        };
        servers.push(Arc::new(PoolServer::new(server, path, config, workers)));
    }
    match servers.is_empty() {
        true => Err(PoolBuildError::NoServer { upstream: config.name.clone() }),
        false => Ok(servers),
    }
}

/// Host and port of each TCP server, in lower case for comparison.
fn authorities(config: &settings::UpstreamSettings) -> Vec<(String, u16)> {
    let authority = |server: &settings::ServerSettings| match &server.address {
        ServerAddress::Tcp { host, port, .. } => Some((host.to_ascii_lowercase(), *port)),
        ServerAddress::Unix(_) | ServerAddress::Echo => None,
    };
    config.servers.iter().filter_map(authority).collect()
}

/// A counter with a random start, so that the workers do not choose the servers in step.
fn random_counter() -> WorkerCounter {
    WorkerCounter(AtomicU64::new(u64::from_ne_bytes(secret::random())))
}

/// An upstream as a test needs one: nothing about it is special.
#[cfg(test)]
fn sample(
    balance: BalancePolicy,
    servers: Vec<settings::ServerSettings>,
) -> settings::UpstreamSettings {
    let wait = Duration::from_secs(1);
    settings::UpstreamSettings {
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
        calls: settings::UpstreamCalls { retries: 0, ..settings::UpstreamCalls::default() },
        care: settings::HealthPolicy::default(),
        tls: settings::UpstreamTls::default(),
        case_insensitive: false,
        credential: None,
    }
}
