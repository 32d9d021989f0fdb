//! Composition: a checked configuration becomes one immutable generation.
//!
//! A reload builds a whole new `Generation` and swaps it in; a request loads it once and keeps
//! it to its end. What outlives a reload (store, keys, users, streams, counters, logs) is in
//! `Shared`, which hands each module its part.

mod ends;
mod hosts;
mod table;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};

use self::ends::{RouteEnds, announce, route_ends};
use self::hosts::{host_forms, is_served};
pub(crate) use self::table::Table;
use self::table::{Means, add_logins, add_routes};
use crate::algorithm::Algorithm;
use crate::authn::{Accept, ApiKeys, Certificates, Verifier, VerifierError, VerifierOptions};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::dialect::ErrorForm;
use crate::login::{Login, MailError, Mailer, Proofs, Services, Trade};
use crate::routing::{PatternError, RouteTable};
use crate::runtime::BackRoom;
use crate::secret::Digest;
use crate::session::{SessionStore, StreamOrigin, Streams};
use crate::telemetry::audit::{Actor, AuditEvent, AuditLog};
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::telemetry::observed::Observed;
use crate::telemetry::sink::Sink;
use crate::throttle::{Limits, Throttle};
use crate::token::{KeyRing, UpstreamTokens};
use crate::upstream::headers::{Protected, RuleError, Rules};
use crate::upstream::{Ends, Pool, PoolError, RouteEnd};
use crate::users::{PasswordPool, Users};

const HTTPS_PORT: u16 = 443;

/// A gateway at work.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) shared: Shared,
    generation: ArcSwap<Generation>,
    /// One reload at a time: the last to be asked for is the one in effect.
    reloading: Mutex<()>,
    /// Told that another configuration is in effect.
    reloaded: Notify,
}

/// What survives a reload.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) back_room: BackRoom,
    pub(crate) workers: usize,
    pub(crate) users: Arc<Users>,
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) ends: Arc<Ends>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Sink,
    pub(crate) audit: AuditLog,
    pub(crate) observed: Arc<Observed>,
    pub(crate) draining: AtomicBool,
    pub(crate) hashing: Arc<PasswordPool>,
    pub(crate) proofs: Arc<Proofs>,
}

/// One configuration, ready to serve.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) services: Arc<Services>,
    pub(crate) certificates: Certificates,
    pub(crate) upstream_tokens: Arc<UpstreamTokens>,
    pub(crate) pools: HashMap<String, Arc<Pool>>,
    /// Handed on by a reload where rules stay the same.
    pub(crate) throttle: Throttle,
    route_ends: RouteEnds,
    forms: Vec<(String, Arc<ErrorForm>)>,
    problem: Arc<ErrorForm>,
    /// For requests that no route or login takes.
    pub(crate) nowhere: Arc<RouteMetrics>,
    /// Where a plain listener sends clients, if it is not the scheme's own port.
    pub(crate) https_port: Option<u16>,
}

/// An endpoint of a login.
#[derive(Clone, Debug)]
pub(crate) struct LoginEndpoint {
    pub(crate) login: Arc<Login>,
    /// Number of the endpoint in the dialect.
    pub(crate) number: usize,
    /// For logs: `login:` and the login's name.
    pub(crate) name: Arc<str>,
    pub(crate) metrics: Arc<RouteMetrics>,
}

/// A `[[route]]`, ready to serve.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) config: config::Route,
    pub(crate) pool: Arc<Pool>,
    pub(crate) protected: Arc<Protected>,
    pub(crate) request_rules: Rules,
    pub(crate) response_rules: Rules,
    pub(crate) accept: Accept,
    pub(crate) limits: Limits,
    pub(crate) mirror: Option<Arc<Mirror>>,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// Announced when a reload takes it away or changes its rule.
    pub(crate) end: Arc<RouteEnd>,
}

/// Where a route sends copies of its requests.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) config: config::Mirror,
    pub(crate) pool: Arc<Pool>,
    /// As many copies as may be under way at once.
    pub(crate) places: Arc<Semaphore>,
}

/// Why a checked configuration could still not be put to work.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Verifier(#[from] VerifierError),

    #[error(transparent)]
    Pool(#[from] PoolError),

    #[error("route `{route}`")]
    Rules {
        route: String,
        #[source]
        source: RuleError,
    },

    #[error("[mail]")]
    Mail(#[source] Box<dyn std::error::Error + Send + Sync>),

    #[error("route `{route}` names an upstream that is not there")]
    Upstream { route: String },

    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// Why a configuration was not put to work in the place of the last one.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Read(String),

    #[error("[{section}] changed, which needs a restart")]
    NeedsRestart { section: &'static str },

    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The section that differs and is only read at start.
fn needs_restart(last: &Config, next: &Config) -> Option<&'static str> {
    [
        ("process", last.process != next.process),
        ("listener", last.listeners != next.listeners),
        ("admin", last.admin != next.admin),
        ("log", last.log != next.log),
        ("state", last.state != next.state),
        ("store", last.store != next.store),
        ("users", last.users != next.users),
        ("login_limits.hashing", last.login_limits.hashing != next.login_limits.hashing),
        ("token.keys", last.token.keys != next.token.keys),
        ("token.rotate_every", last.token.rotate_every != next.token.rotate_every),
        // The ring has the keys that the algorithms of its start need.
        ("login.algorithm", !algorithms(next).is_subset(&algorithms(last))),
    ]
    .into_iter()
    .find_map(|(section, changed)| changed.then_some(section))
}

/// Every algorithm that tokens of this configuration are signed with.
pub(crate) fn algorithms(config: &Config) -> BTreeSet<Algorithm> {
    let logins = config.logins.iter().map(|login| login.algorithm);
    logins.chain([config.token.algorithm]).collect()
}

impl From<MailError> for BuildError {
    fn from(error: MailError) -> Self {
        Self::Mail(error.into())
    }
}

impl Gateway {
    /// Puts a first configuration to work.
    pub(crate) fn new(shared: Shared, config: Config) -> Result<Self, BuildError> {
        let generation = Generation::build(&shared, config, None)?;
        shared.ends.entries.store(Arc::new(generation.credentials().collect()));
        let generation = ArcSwap::from_pointee(generation);
        shared.metrics.reload(true, shared.clock.now());
        let (reloading, reloaded) = (Mutex::default(), Notify::new());
        Ok(Self { shared, generation, reloading, reloaded })
    }

    /// The configuration in effect.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Returns when another configuration has come into effect since the last call.
    pub(crate) async fn reloaded(&self) {
        self.reloaded.notified().await;
    }

    /// Reads another configuration and puts it to work; the last good one stays if either fails.
    /// Blocks on the disk.
    pub(crate) fn reload(
        &self,
        read: impl FnOnce() -> Result<Config, String>,
    ) -> Result<(), ReloadError> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = read().map_err(ReloadError::Read).and_then(|config| self.replace(config));
        let now = self.shared.clock.now();
        self.shared.metrics.reload(reloaded.is_ok(), now);
        let cause = reloaded.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let actor = Actor { address: None, request_id: "-", login: "-" };
        let event = AuditEvent::Reload { ok: reloaded.is_ok(), cause: &cause };
        self.shared.audit.write(now, &actor, &event);
        reloaded
    }

    fn replace(&self, config: Config) -> Result<(), ReloadError> {
        let last = self.generation();
        if let Some(section) = needs_restart(&last.config, &config) {
            return Err(ReloadError::NeedsRestart { section });
        }
        let next = Arc::new(Generation::build(&self.shared, config, Some(&last))?);
        let kept: Arc<HashSet<Digest>> = Arc::new(next.credentials().collect());
        self.shared.ends.entries.store(kept.clone());
        self.generation.store(next.clone());
        // What came in with what is not taken any more does not stay.
        for gone in last.credentials().filter(|digest| !kept.contains(digest)) {
            self.shared.ends.streams.end(StreamOrigin::Entry(gone));
        }
        announce(&last.route_ends, &next.route_ends);
        self.reloaded.notify_one();
        Ok(())
    }
}

impl Generation {
    fn build(shared: &Shared, config: Config, last: Option<&Self>) -> Result<Self, BuildError> {
        let verifier = Arc::new(Verifier::new(VerifierOptions {
            ring: shared.ring.clone(),
            logins: &config.logins,
            issuers: &config.issuers,
            made: shared.store.made(),
            revocations: shared.store.revocations().clone(),
            leeway: config.token.leeway,
            cache_size: config.token.cache_size,
            last: last.map(|last| &*last.verifier),
        })?);
        for warning in verifier.warnings() {
            tracing::warn!("{warning}");
        }
        let services = Arc::new(Services {
            users: shared.users.clone(),
            store: shared.store.clone(),
            ring: shared.ring.clone(),
            streams: shared.ends.streams.clone(),
            audit: shared.audit.clone(),
            metrics: shared.metrics.clone(),
            limits: config.login_limits.clone(),
            mailer: config.mail.as_ref().map(Mailer::new).transpose()?,
            trades: Trade::all(&config),
            proofs: shared.proofs.clone(),
            api_keys: Arc::new(ApiKeys::new(&config, shared.store.revocations().clone())),
        });
        let upstream_tokens = Arc::new(UpstreamTokens::new(
            shared.ring.clone(),
            config.token.issuer.clone(),
            config.token.algorithm,
        ));
        let pools = build_pools(shared, &config, last)?;
        let throttle = Throttle::build(&config, last.map(|last| &last.throttle));
        let mut table = RouteTable::new();
        add_logins(&mut table, shared, &config, &services, &verifier);
        let route_ends = route_ends(&shared.ends, &config, last);
        let means = Means { pools: &pools, throttle: &throttle, ends: &route_ends };
        add_routes(&mut table, shared, &config, &means)?;
        Ok(Self {
            table,
            forms: host_forms(&config),
            problem: ErrorForm::problem(),
            nowhere: shared.metrics.route("-"),
            https_port: Self::https_port(&config),
            verifier,
            services,
            certificates: Certificates::new(&config.certificates),
            upstream_tokens,
            pools,
            throttle,
            route_ends,
            config,
        })
    }

    /// What names the API keys and the holders of certificates among streams.
    fn credentials(&self) -> impl Iterator<Item = Digest> {
        self.services.api_keys.digests().chain(self.certificates.digests())
    }

    /// Returns when every upstream with checks has been asked once, or should have been.
    pub(crate) async fn checked_once(&self) {
        for pool in self.pools.values() {
            pool.checked_once().await;
        }
    }

    /// The listener of this name.
    pub(crate) fn listener(&self, name: &str) -> Option<&config::Listener> {
        self.config.listeners.iter().find(|listener| listener.name == name)
    }

    /// Upstreams whose certificates nobody looks at.
    pub(crate) fn unverified_upstreams(&self) -> impl Iterator<Item = &str> {
        let upstreams = self.config.upstreams.iter();
        upstreams.filter(|one| one.tls.insecure_skip_verify).map(|one| one.name.as_str())
    }

    /// True if some login or route names this host, or takes all.
    pub(crate) fn is_configured_host(&self, host: &str) -> bool {
        let logins = self.config.logins.iter().flat_map(|login| &login.hosts);
        let routes = self.config.routes.iter().flat_map(|route| &route.hosts);
        logins.chain(routes).any(|held| is_served(held, host))
    }

    /// What follows the host in an https address of ours: the port of the first TLS listener,
    /// where it is not the scheme's own.
    fn https_port(config: &Config) -> Option<u16> {
        let mut encrypted = config.listeners.iter().filter(|listener| listener.tls.is_some());
        encrypted
            .find_map(|listener| match listener.bind {
                config::Bind::Tcp(address) => Some(address.port()),
                config::Bind::Unix(_) | config::Bind::Descriptor(_) => None,
            })
            // 0 is the system's choice, which only a test leaves to it.
            .filter(|port| ![0, HTTPS_PORT].contains(port))
    }

    /// The shape of an answer where no route says one: that of the one dialect served on the
    /// host, else problem+json.
    pub(crate) fn form_for(&self, host: Option<&str>) -> &Arc<ErrorForm> {
        let mut served = self
            .forms
            .iter()
            .filter(|(held, _)| held == "*" || host.is_some_and(|host| is_served(held, host)));
        match (served.next(), served.next()) {
            (Some((_, form)), None) => form,
            _ => &self.problem,
        }
    }
}

/// Pools whose configuration did not change keep their connections; the others what is known of
/// their servers.
fn build_pools(
    shared: &Shared,
    config: &Config,
    last: Option<&Generation>,
) -> Result<HashMap<String, Arc<Pool>>, BuildError> {
    let mut pools = HashMap::new();
    for upstream in &config.upstreams {
        let kept = last
            .filter(|last| last.config.upstreams.contains(upstream))
            .and_then(|last| last.pools.get(&upstream.name));
        let pool = match kept {
            Some(pool) => pool.clone(),
            None => {
                let pool = Pool::build(upstream, shared.workers, &shared.clock)?;
                if let Some(last) = last.and_then(|last| last.pools.get(&upstream.name)) {
                    pool.inherit(last);
                }
                pool.watch(&shared.back_room);
                pool
            }
        };
        pools.insert(upstream.name.clone(), pool);
    }
    Ok(pools)
}

/// Ends of streams share the store's revocations, or a stream could outlive one.
pub(crate) fn ends(store: &Arc<dyn SessionStore>, streams: Streams, clock: &Clock) -> Arc<Ends> {
    Arc::new(Ends {
        streams,
        revocations: store.revocations().clone(),
        entries: ArcSwap::default(),
        clock: clock.clone(),
    })
}
