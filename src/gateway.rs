//! Composition: a checked configuration becomes one immutable generation.
//!
//! A reload builds a whole new `Generation` and swaps it in; a request loads its worker's `View` of
//! it once and keeps it to its end. What outlives a reload (store, keys, users, streams, counters,
//! logs) is in `Shared`, which hands each module its part.

mod ends;
mod generation;
mod hosts;
mod table;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};

use self::ends::announce;
pub(crate) use self::generation::Generation;
use crate::admission::{Attempts, ByteBudget, Places};
use crate::algorithm::Algorithm;
use crate::authn::{Accept, VerifierError};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::login::{Login, MailError, Proofs};
use crate::routing::{AmbiguousPath, PatternError};
use crate::runtime::{BackRoom, Worker};
use crate::secret::Digest;
use crate::session::{SessionStore, StreamOrigin, Streams};
use crate::telemetry::audit::{Actor, AuditEvent, AuditLog};
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::telemetry::observed::Observed;
use crate::telemetry::sink::Sink;
use crate::text::error_chain;
use crate::throttle::Limits;
use crate::token::KeyRing;
use crate::upstream::headers::{Protected, RuleError, Rules};
use crate::upstream::{Ends, Pool, PoolError, RouteEnd};
use crate::users::{PasswordPool, Users};

/// A gateway at work.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) shared: Arc<Shared>,
    generation: ArcSwap<Generation>,
    /// One for each worker.
    views: Box<[ArcSwap<View>]>,
    /// One reload at a time: the last to be asked for is the one in effect.
    reloading: Mutex<()>,
    /// Told that another configuration is in effect.
    reloaded: Notify,
    /// Why the last reload put nothing to work; `None` if it did.
    reload_failure: Mutex<Option<String>>,
}

/// The gateway as the requests of one worker see it: what they count themselves in and out of is
/// that worker's own, on cache lines that do not go from processor to processor.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct View {
    pub(crate) shared: Arc<Shared>,
    pub(crate) generation: Arc<Generation>,
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
    /// What addresses have failed at passwords and codes lately.
    pub(crate) attempts: Arc<Attempts>,
    /// For refusals that a flood waits for.
    pub(crate) held_back: Places,
    /// For request bodies in memory.
    pub(crate) bodies: ByteBudget,
}

/// An endpoint of a login.
#[derive(Clone, Debug)]
pub(crate) struct LoginEndpoint {
    pub(crate) login: Arc<Login>,
    /// Number of the endpoint in the dialect.
    pub(crate) number: usize,
    /// Under the name `login:` with the login's own.
    pub(crate) metrics: Arc<RouteMetrics>,
}

/// A `[[route]]`, ready to serve.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) config: config::Route,
    pub(crate) action: Action,
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

/// What becomes of a permitted request.
#[derive(Debug)]
pub(crate) enum Action {
    Forward(Arc<Pool>),
    Redirect(config::Redirect),
    Respond(config::Respond),
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

    #[error("route `{route}`")]
    Ambiguous {
        route: String,
        #[source]
        source: AmbiguousPath,
    },
}

/// Why a configuration was not put to work in the place of the last one.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Read(String),

    #[error("changed, which needs a restart: {}", sections.join(", "))]
    NeedsRestart { sections: Vec<&'static str> },

    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The sections and keys that differ and are only read at start: all of them, so that whoever is
/// told does not find the next one by trying again.
fn needs_restart(last: &Config, next: &Config) -> Vec<&'static str> {
    let (was, is) = (&last.process, &next.process);
    [
        ("process.workers", was.workers != is.workers),
        ("process.back_room", was.back_room != is.back_room),
        ("process.body_memory", was.body_memory != is.body_memory),
        ("process.core_dumps", was.core_dumps != is.core_dumps),
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
    .filter_map(|(section, changed)| changed.then_some(section))
    .collect()
}

/// Every algorithm that tokens of this configuration are signed with.
pub(crate) fn algorithms(config: &Config) -> BTreeSet<Algorithm> {
    let logins = config.logins.iter().map(|login| login.algorithm);
    logins.chain([config.token.algorithm]).collect()
}

/// Tells of a reload, whoever asked for it. What is wrong with a file has a line for each problem:
/// so has the log, where one line with all of them could not be read.
fn report_reload(failure: Option<&str>) {
    let Some(failure) = failure else { return tracing::info!("reloaded") };
    tracing::error!("not reloaded, the last configuration stays");
    for line in failure.lines().map(str::trim).filter(|line| !line.is_empty()) {
        tracing::error!("not reloaded: {line}");
    }
}

impl From<MailError> for BuildError {
    fn from(error: MailError) -> Self {
        Self::Mail(error.into())
    }
}

impl Gateway {
    /// Puts a first configuration to work.
    pub(crate) fn new(shared: Shared, config: Config) -> Result<Self, BuildError> {
        let shared = Arc::new(shared);
        let generation = Arc::new(Generation::build(&shared, config, None)?);
        shared.ends.entries.store(Arc::new(generation.credentials().collect()));
        shared.metrics.reload(true, shared.clock.now());
        let view = || ArcSwap::from_pointee(View::new(&shared, &generation));
        Ok(Self {
            views: (0..shared.workers.max(1)).map(|_| view()).collect(),
            generation: ArcSwap::new(generation),
            shared,
            reloading: Mutex::default(),
            reloaded: Notify::new(),
            reload_failure: Mutex::default(),
        })
    }

    /// What a request of `worker` sees, from its beginning to its end.
    pub(crate) fn view(&self, worker: &Worker) -> Arc<View> {
        match self.views.get(worker.index) {
            Some(view) => view.load_full(),
            // There is one for each worker, so it never comes to this.
            None => Arc::new(View::new(&self.shared, &self.generation())),
        }
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
    /// Blocks on the disk and on the first checks of new servers.
    pub(crate) fn reload(
        &self,
        read: impl FnOnce() -> Result<Config, String>,
    ) -> Result<(), ReloadError> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = read().map_err(ReloadError::Read).and_then(|config| self.replace(config));
        let now = self.shared.clock.now();
        self.shared.metrics.reload(reloaded.is_ok(), now);
        let failure = reloaded.as_ref().err().map(|error| error_chain(error));
        report_reload(failure.as_deref());
        let cause = failure.clone().unwrap_or_default();
        *self.reload_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        let actor = Actor { address: None, request_id: "-", login: "-" };
        let event = AuditEvent::Reload { ok: reloaded.is_ok(), cause: &cause };
        self.shared.audit.write(now, &actor, &event);
        reloaded
    }

    /// Why the last reload put nothing to work, for whoever asks how the gateway is.
    pub(crate) fn reload_failure(&self) -> Option<String> {
        self.reload_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, config: Config) -> Result<(), ReloadError> {
        let last = self.generation();
        let sections = needs_restart(&last.config, &config);
        if !sections.is_empty() {
            return Err(ReloadError::NeedsRestart { sections });
        }
        let next = Arc::new(Generation::build(&self.shared, config, Some(&last))?);
        self.await_checks(&next);
        let kept: Arc<HashSet<Digest>> = Arc::new(next.credentials().collect());
        self.shared.ends.entries.store(kept.clone());
        self.generation.store(next.clone());
        for view in &self.views {
            view.store(Arc::new(View::new(&self.shared, &next)));
        }
        // What came in with what is not taken any more does not stay.
        for gone in last.credentials().filter(|digest| !kept.contains(digest)) {
            self.shared.ends.streams.end(StreamOrigin::Entry(gone));
        }
        announce(&last.route_ends, &next.route_ends);
        self.reloaded.notify_one();
        Ok(())
    }

    /// Waits until every upstream of `next` with checks that are new has been asked once, or should
    /// have been: a reload, like a start, sends nobody to a server that is down already.
    fn await_checks(&self, next: &Arc<Generation>) {
        let (done, checked) = mpsc::channel();
        let next = next.clone();
        self.shared.back_room.spawn(async move {
            next.checked_once().await;
            // Whoever waits is gone only with all of this.
            let _ = done.send(());
        });
        // An error when the back room ends first: then there is nobody to serve.
        let _ = checked.recv();
    }
}

impl View {
    fn new(shared: &Arc<Shared>, generation: &Arc<Generation>) -> Self {
        Self { shared: shared.clone(), generation: generation.clone() }
    }
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
