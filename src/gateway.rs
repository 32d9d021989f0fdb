//! Composition: a checked configuration becomes one immutable generation.
//!
//! A reload builds a whole new `Generation` and swaps it in. A request loads its worker's
//! `WorkerView` of it once, and keeps it to its end, so no request ever sees two configurations.
//! Everything that outlives a reload (store, keys, users, streams, counters, logs) is in
//! `SharedState`, which gives each module its part.

mod dry_run;
mod generation;
mod hosts;
mod keys;
mod reload;
mod route_cancellation;
mod sources;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

pub(crate) use self::dry_run::{DryRunNotes, DryRunParts, OmittedStep, dry_run_view};
pub(crate) use self::generation::{Generation, ReadyPools};
pub(crate) use self::keys::{key_options, longest_access, managed_keys};
use self::reload::ReloadReport;
pub(crate) use self::reload::{Commit, ReloadError, Reloaded};
pub(crate) use self::sources::{cannot_open, readable_users};
use crate::acme::{AcmeConditions, Challenges};
use crate::admission::{ByteBudget, FailedAttempts, WorkLimit};
use crate::authn::{AcceptedKinds, AuthorityError, CallCarriers, SeenSignatures, VerifierError};
use crate::clock::Clock;
use crate::headers::{HeaderEdits, ReservedHeaders, RuleError};
use crate::login::{Login, MailError, PasswordCache, ServicesInEffect};
use crate::passwords::HashPool;
use crate::routing::{PathConflict, PatternError};
use crate::runtime::{BackgroundRuntime, Worker};
use crate::session::{OpenStreams, Store};
use crate::settings::{self, Config};
use crate::telemetry::audit::AuditLog;
use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::telemetry::report_only::ReportOnly;
use crate::throttle::RouteLimits;
use crate::token::KeyRing;
use crate::upstream::{CancellationSources, PoolBuildError, RouteCancellation, UpstreamPool};
use crate::users;

/// A running gateway. `server` makes one; listeners, the admin interface and background tasks share
/// it. Tests start several in one process, so nothing in it is global.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) shared: Arc<SharedState>,
    generation: ArcSwap<Generation>,
    /// One view for each worker.
    views: Box<[ArcSwap<WorkerView>]>,
    /// Only one reload runs at a time, so the last one that was requested is the one in effect.
    /// True while reloads are refused.
    reloading: Mutex<bool>,
    /// Notified when another configuration has come into effect.
    reloaded: Notify,
    /// The outcome of the last reload; empty before the first one.
    last_reload: Mutex<ReloadReport>,
}

/// The gateway as the requests of one worker see it. Each worker has its own reference counts, on
/// cache lines of its own: shared counts would move from processor to processor with every request.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct WorkerView {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) generation: Arc<Generation>,
}

/// Everything that survives a reload. A part that depends on the configuration is changed in place.
#[derive(Debug)]
pub(crate) struct SharedState {
    pub(crate) clock: Clock,
    pub(crate) background: BackgroundRuntime,
    pub(crate) workers: usize,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) cancellations: Arc<CancellationSources>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: LineWriter,
    pub(crate) audit: AuditLog,
    pub(crate) observed: Arc<ReportOnly>,
    pub(crate) draining: AtomicBool,
    pub(crate) hashing: Arc<HashPool>,
    pub(crate) password_cache: Arc<PasswordCache>,
    /// The services of the generation in effect, for the steps of older generations.
    pub(crate) services: Arc<ServicesInEffect>,
    /// Recent failures of addresses with passwords and codes.
    pub(crate) attempts: Arc<FailedAttempts>,
    pub(crate) program_attempts: Arc<FailedAttempts>,
    /// Places for refusals that are delayed during a flood.
    pub(crate) held_back: WorkLimit,
    /// The answers to the challenges of certificate authorities that are pending.
    pub(crate) challenges: Arc<Challenges>,
    /// The conditions of the certificates that authorities issue.
    pub(crate) acme: Arc<AcmeConditions>,
    /// The budget for request bodies in memory.
    pub(crate) bodies: ByteBudget,
    /// The signed requests that were accepted and must not be again.
    pub(crate) seen_signatures: Arc<SeenSignatures>,
    /// Present in a dry run: the steps that it leaves out are noted here.
    pub(crate) dry_run: Option<DryRunNotes>,
}

/// An endpoint of a login, as the route table finds it.
#[derive(Clone, Debug)]
pub(crate) struct LoginEndpoint {
    pub(crate) login: Arc<Login>,
    /// The number of the endpoint in its dialect.
    pub(crate) number: usize,
    /// Metrics under the name `login:` followed by the name of the login.
    pub(crate) metrics: Arc<RouteMetrics>,
}

/// A `[[route]]` that is ready to serve: names are resolved, and rules are compiled.
#[derive(Debug)]
pub(crate) struct ServedRoute {
    pub(crate) name: Arc<str>,
    pub(crate) config: settings::RouteSettings,
    pub(crate) action: RouteTarget,
    pub(crate) protected: Arc<ReservedHeaders>,
    pub(crate) request_rules: HeaderEdits,
    pub(crate) response_rules: HeaderEdits,
    pub(crate) accept: AcceptedKinds,
    /// The places where its logins carry tokens, and those that no upstream may see.
    pub(crate) carriers: CallCarriers,
    pub(crate) limits: RouteLimits,
    pub(crate) mirror: Option<Arc<RouteMirror>>,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// Announced when a reload removes the route or changes its rule, so that open streams end.
    pub(crate) end: Arc<RouteCancellation>,
}

/// The action of a route for a permitted request.
#[derive(Debug)]
pub(crate) enum RouteTarget {
    Forward(Arc<UpstreamPool>),
    Redirect(settings::RedirectAction),
    Respond(settings::RespondAction),
}

/// The mirror of a route: an upstream that gets copies of its requests.
#[derive(Debug)]
pub(crate) struct RouteMirror {
    pub(crate) config: settings::MirrorSettings,
    pub(crate) pool: Arc<UpstreamPool>,
    /// A place for each copy that may be in progress at the same time.
    pub(crate) places: Arc<Semaphore>,
}

/// The reason why a checked configuration could not be put to work. These are faults that only
/// opening files, databases and sockets can show. `check` finds most of them without a start. Each
/// message names the section of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Verifier(#[from] VerifierError),

    #[error(transparent)]
    Pool(#[from] PoolBuildError),

    #[error("route `{route}`")]
    Rules {
        route: String,
        #[source]
        source: RuleError,
    },

    #[error(transparent)]
    KeptCredentials(#[from] users::SealKeyError),

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
        source: users::SourceOpenError,
    },

    #[error("route `{route}` names an upstream that is not there")]
    Upstream { route: String },

    #[error("listener `{listener}`: forwarded_certificate.ca")]
    ClientAuthority {
        listener: String,
        #[source]
        source: AuthorityError,
    },

    #[error(transparent)]
    Pattern(#[from] PatternError),

    #[error("route `{route}`")]
    Ambiguous {
        route: String,
        #[source]
        source: PathConflict,
    },
}

impl From<MailError> for BuildError {
    fn from(error: MailError) -> Self {
        Self::Mail(error.into())
    }
}

impl Gateway {
    /// Puts the first configuration to work. `pools` are those that were built before. The error
    /// names the section at fault.
    pub(crate) fn new(
        shared: SharedState,
        config: Config,
        pools: ReadyPools,
    ) -> Result<Self, BuildError> {
        let shared = Arc::new(shared);
        let generation = Arc::new(Generation::build(&shared, config, None, pools)?);
        // Entries are stored before anything is served: a stream that is not in the list would be
        // ended at once.
        shared.cancellations.entries.store(Arc::new(generation.credentials().collect()));
        shared.services.replace(&generation.services);
        shared.metrics.reload(true, shared.clock.now());
        let view = || ArcSwap::from_pointee(WorkerView::new(&shared, &generation));
        Ok(Self {
            views: (0..shared.workers.max(1)).map(|_| view()).collect(),
            generation: ArcSwap::new(generation),
            shared,
            reloading: Mutex::default(),
            reloaded: Notify::new(),
            last_reload: Mutex::default(),
        })
    }

    /// The view of a request of `worker`, to be kept from its beginning to its end.
    pub(crate) fn view(&self, worker: &Worker) -> Arc<WorkerView> {
        match self.views.get(worker.index) {
            Some(view) => view.load_full(),
            // Not reached, since there is a view for each worker. A new view is right all the same.
            None => Arc::new(WorkerView::new(&self.shared, &self.generation())),
        }
    }

    /// The generation in effect. A request uses `view` instead.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }
}

impl WorkerView {
    fn new(shared: &Arc<SharedState>, generation: &Arc<Generation>) -> Self {
        Self { shared: shared.clone(), generation: generation.clone() }
    }
}

/// The place where ends of streams are announced. It shares the store's revocations; with a list of
/// its own, a stream could outlive a revocation. It is shared by all generations.
pub(crate) fn cancellations(
    store: &Arc<dyn Store>,
    streams: OpenStreams,
    clock: &Clock,
) -> Arc<CancellationSources> {
    Arc::new(CancellationSources {
        streams,
        revocations: store.revocations().clone(),
        entries: ArcSwap::default(),
        clock: clock.clone(),
    })
}
