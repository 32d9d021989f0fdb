//! Opening everything in the order that is safe: what another may have (addresses, store) first,
//! whoever is made once (the first user) when only reading is left, sessions compared with their
//! users before the first connection is accepted.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::announce::announce;
use super::background;
use super::first_user::NewUser;
use super::handover::{Possessions, take_over};
use super::state_folder::make_folder;
use super::{Options, Running, keys};
use crate::admin::{self, SocketDoor};
use crate::admission::{ByteBudget, Places};
use crate::algorithm::Algorithm;
use crate::config::{self, Config, LogTarget, Store};
use crate::gateway::{self, BuildError, Gateway, Shared};
use crate::identity::IdRules;
use crate::listener::{self, BindError, Bound, Listening};
use crate::login::{Proofs, review_sessions};
use crate::pipeline;
use crate::runtime::Threads;
use crate::session::{
    EmbeddedOptions, EmbeddedStore, OpenError, SessionStore, StoreError, Streams,
};
use crate::telemetry::audit::AuditLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::{Captured, Sink};
use crate::token::KeyError;
use crate::users::{self, BootstrapError, PasswordPool};

/// So long everybody waits at a start for those whose users are still to be looked at.
const REVIEW_FOR: Duration = Duration::from_secs(10);

/// Refusals that floods wait for: more streams than an attack has that is worth the name, a few
/// KiB each. One client may have an eighth.
const HELD_BACK: usize = 32_768;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the state folder `{}` cannot be used: `[state] dir` names another, which this user may \
         write to",
        path.display()
    )]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error(
        "[admin] socket: the state folder `{}` cannot be given to the group `{group}`: the \
         gateway's user has to be a member of it",
        path.display()
    )]
    AdminGroup {
        path: PathBuf,
        group: String,
        #[source]
        source: io::Error,
    },

    #[error("the threads cannot be started")]
    Threads(#[source] io::Error),

    #[error("[log] {name}: `{}` cannot be written", path.display())]
    Log {
        name: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("signing keys")]
    Keys(#[from] KeyError),

    #[error("{}", keys::remedy(needed_by, *algorithm, folder))]
    NoKey { needed_by: String, algorithm: Algorithm, folder: PathBuf },

    #[error(transparent)]
    Store(#[from] OpenError),

    #[error("sessions cannot be compared with their users")]
    Review(#[from] StoreError),

    #[error("the first user cannot be made")]
    FirstUser(#[from] BootstrapError),

    #[error(transparent)]
    Build(#[from] BuildError),

    #[error(transparent)]
    Bind(#[from] BindError),
}

impl StartError {
    /// True where the configuration, or a file it names, has to be changed first.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::State { .. }
                | Self::AdminGroup { .. }
                | Self::Log { .. }
                | Self::Bind(BindError::Certificates { .. })
                | Self::Keys(_)
                | Self::NoKey { .. }
                | Self::FirstUser(_)
                | Self::Build(_)
        )
    }
}

/// Starts a gateway. Blocks, on the disk among others: not to be called on a runtime's thread.
///
/// # Errors
/// Nothing is left running.
pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
    if let Err(error) = listener::raise_nofile() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    make_folder(&config)?;
    let threads = Threads::start(config.process.workers, config.process.back_room)
        .map_err(StartError::Threads)?;
    let (sinks, captured) = open_sinks(&config, options.capture_logs)?;
    // Whatever somebody else may have comes first, and whoever is made once comes last.
    let Possessions { bound, admin, store } = take_over(&config, &options, &threads)?;
    let socket = SocketDoor::bind(&config)?;
    let new_user = NewUser::make(&config)?;
    let shared = open(&config, &options, &threads, (&store, &sinks))?;
    let gateway = Arc::new(Gateway::new(shared, config)?);
    let generation = gateway.generation();
    let config = &generation.config;
    // Users may have changed while nobody looked: their sessions end before anyone is let in.
    let budget = Some(options.review_for.unwrap_or(REVIEW_FOR));
    let review = review_sessions(&generation.services, None, budget, options.clock.now());
    let reviewed = threads.back_room().handle().block_on(review)?;
    background::tell(&reviewed);
    // Nor is anyone sent to a server that is known to be down.
    threads.back_room().handle().block_on(generation.checked_once());
    let listening = listen(bound, &threads, &gateway);
    let (given_up, stop) = (CancellationToken::new(), CancellationToken::new());
    let operations = Arc::new(admin::Operations {
        gateway,
        listening: listening.clone(),
        store,
        source: options.source,
        sinks,
        log_format: options.log_format,
        probes: Arc::default(),
        given_up,
        operator: None,
    });
    socket.serve(&operations, &stop).map_err(StartError::Threads)?;
    operations.probes.replace(admin, &operations).map_err(StartError::Threads)?;
    background::start(&operations, reviewed);
    announce(config, &listening, operations.probes.address());
    Ok(Running {
        admin_socket: config.state.dir.join(admin::SOCKET),
        threads,
        operations,
        first_user: new_user.keep(),
        captured,
        stop,
    })
}

fn open(
    config: &Config,
    options: &Options,
    threads: &Threads,
    (store, [access, audit]): (&Arc<EmbeddedStore>, &[Sink; 2]),
) -> Result<Shared, StartError> {
    let ring = keys::open(config, &options.clock)?;
    let hashing = &config.login_limits.hashing;
    let hashing =
        PasswordPool::start(hashing.parallel, hashing.queue).map_err(StartError::Threads)?;
    let sessions: Arc<dyn SessionStore> = store.clone();
    Ok(Shared {
        ends: gateway::ends(&sessions, Streams::default(), &options.clock),
        clock: options.clock.clone(),
        back_room: threads.back_room().clone(),
        workers: config.process.workers,
        store: sessions,
        ring,
        metrics: Arc::new(Metrics::new()),
        access: access.clone(),
        audit: AuditLog::new(audit.clone()),
        observed: Arc::default(),
        draining: AtomicBool::new(false),
        hashing,
        proofs: Arc::new(Proofs::new()),
        attempts: Arc::default(),
        held_back: Places::new(HELD_BACK),
        bodies: ByteBudget::new(config.process.body_memory),
    })
}

fn listen(bound: Bound, threads: &Threads, gateway: &Arc<Gateway>) -> Arc<Listening> {
    let gateway = gateway.clone();
    listener::serve(bound, threads, move |worker, client, request| {
        pipeline::handle(gateway.view(&worker), worker, client, request)
    })
}

type Sinks = ([Sink; 2], Option<(Captured, Captured)>);

fn open_sinks(config: &Config, capture: bool) -> Result<Sinks, StartError> {
    if capture {
        let ((access, seen), (audit, audited)) = (Sink::captured(), Sink::captured());
        return Ok(([access, audit], Some((seen, audited))));
    }
    let open = |name, target: &LogTarget| {
        let path = match target {
            LogTarget::File(path) => path.clone(),
            LogTarget::Off | LogTarget::Stdout | LogTarget::Stderr => PathBuf::new(),
        };
        Sink::open(target).map_err(|source| StartError::Log { name, path, source })
    };
    Ok(([open("access", &config.log.access)?, open("audit", &config.log.audit)?], None))
}

/// Opened before the keys are made: a store that is missing while there are keys is refused.
pub(super) fn open_store(
    config: &Config,
    options: &Options,
) -> Result<Arc<EmbeddedStore>, StartError> {
    let Store::Embedded = config.store;
    let keys = gateway::key_folder(config);
    let keys_exist = fs::read_dir(keys).is_ok_and(|mut entries| entries.next().is_some());
    Ok(EmbeddedStore::open(EmbeddedOptions {
        path: store_path(config),
        clock: options.clock.clone(),
        leeway: config.token.leeway,
        longest_access: gateway::longest_access(config),
        ids: id_rules(config),
        // Keys that the operator manages say nothing of an earlier start.
        keys_exist: keys_exist && config.token.keys.is_none(),
        new_state: options.new_state,
        backend_faults: options.store_faults.clone(),
    })?)
}

pub(super) fn store_path(config: &Config) -> PathBuf {
    config.state.dir.join("store.redb")
}

fn id_rules(config: &Config) -> IdRules {
    IdRules::new(config.users.iter().map(|source| (source.name.clone(), source.id_rule())))
}

/// What a start would say of a source of users.
pub(super) fn check_users(source: &config::UserSource) -> Result<(), BuildError> {
    users::check(source).map_err(|error| gateway::cannot_open(source, error))
}
