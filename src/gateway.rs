//! Composition: a checked configuration becomes one immutable generation.
//!
//! A reload builds a whole new `Generation` and swaps it in; a request loads its worker's `View` of
//! it once and keeps it to its end. What outlives a reload (store, keys, users, streams, counters,
//! logs) is in `Shared`, which hands each module its part.

mod ends;
mod generation;
mod hosts;
mod keys;
mod reload;
mod sources;
mod table;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};

pub(crate) use self::generation::Generation;
pub(crate) use self::keys::{key_folder, key_options, longest_access};
use self::reload::ReloadReport;
pub(crate) use self::reload::{Commit, ReloadError, Reloaded};
pub(crate) use self::sources::cannot_open;
use crate::admission::{Attempts, ByteBudget, Places};
use crate::authn::{Accept, VerifierError};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::login::{Login, MailError, Proofs};
use crate::routing::{AmbiguousPath, PatternError};
use crate::runtime::{BackRoom, Worker};
use crate::session::{SessionStore, Streams};
use crate::telemetry::audit::AuditLog;
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::telemetry::observed::Observed;
use crate::telemetry::sink::Sink;
use crate::throttle::Limits;
use crate::token::KeyRing;
use crate::upstream::headers::{Protected, RuleError, Rules};
use crate::upstream::{Ends, Pool, PoolError, RouteEnd};
use crate::users::{self, PasswordPool};

/// A gateway at work.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) shared: Arc<Shared>,
    generation: ArcSwap<Generation>,
    /// One for each worker.
    views: Box<[ArcSwap<View>]>,
    /// One reload at a time: the last to be asked for is the one in effect.
    reloading: Mutex<()>,
    /// Notified when another configuration is in effect.
    reloaded: Notify,
    /// The outcome of the last reload; empty before the first.
    last_reload: Mutex<ReloadReport>,
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

    #[error(
        "users `{name}`: `{}` is missing; add a user with `tollhouse user add`, or set bootstrap = \
         true",
        path.display()
    )]
    NoUsers { name: String, path: PathBuf },

    #[error("users `{name}`")]
    Users {
        name: String,
        #[source]
        source: users::OpenError,
    },

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
            last_reload: Mutex::default(),
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
