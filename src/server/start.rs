//! Opening everything in the order that is safe: keys and store before users, sessions compared
//! with their users before the first connection is accepted.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::background;
use super::{FirstUser, Options, Running, keys};
use crate::admin;
use crate::admission::ByteBudget;
use crate::algorithm::Algorithm;
use crate::config::{self, Config, Store, UserSourceKind};
use crate::gateway::{self, BuildError, Gateway, Shared};
use crate::identity::IdRules;
use crate::listener::{self, BindError, BindOptions, Listening};
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
use crate::users::{self, BootstrapError, Means, PasswordPool, Users};

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the state folder `{}` cannot be used", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("the threads cannot be started")]
    Threads(#[source] io::Error),

    #[error("the log `{}` cannot be written", name)]
    Log {
        name: String,
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

    #[error("users `{name}`: `{}` is missing; add a user with `tollhouse user add`, or set bootstrap = true", path.display())]
    NoUsers { name: String, path: PathBuf },

    #[error("users `{name}`")]
    Users {
        name: String,
        #[source]
        source: users::OpenError,
    },

    #[error(transparent)]
    Build(#[from] BuildError),

    #[error(transparent)]
    Bind(#[from] BindError),

    #[error("the admin listener `{name}` cannot be opened")]
    Admin {
        name: String,
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// True where the configuration, or a file it names, has to be changed first.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Keys(_)
                | Self::NoKey { .. }
                | Self::NoUsers { .. }
                | Self::Users { .. }
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
    make_folder(&config.state.dir)?;
    let threads = Threads::start(config.process.workers, config.process.back_room)
        .map_err(StartError::Threads)?;
    let (sinks, captured) = open_sinks(&config, options.capture_logs)?;
    let opened = open(&config, &options, &threads, &sinks)?;
    let gateway = Arc::new(Gateway::new(opened.shared, config)?);
    let generation = gateway.generation();
    let config = &generation.config;
    // Users may have changed while nobody looked: their sessions end before anyone is let in.
    let review = review_sessions(&generation.services, None, options.clock.now());
    let reviewed = threads.back_room().handle().block_on(review)?;
    background::tell(&reviewed);
    // Nor is anyone sent to a server that is known to be down.
    threads.back_room().handle().block_on(generation.checked_once());
    let listening = listen(config, &options, &threads, &gateway)?;
    let stop = CancellationToken::new();
    let operations = Arc::new(admin::Operations {
        gateway: gateway.clone(),
        listening: listening.clone(),
        store: opened.store,
        source: options.source,
    });
    let admin = admin::serve(&operations, config, threads.back_room(), &stop)
        .map_err(|(name, source)| StartError::Admin { name, source })?;
    background::start(&operations, &stop, reviewed.left);
    Ok(Running {
        drain: (config.process.drain_delay, config.process.drain_timeout),
        admin_socket: config.state.dir.join(admin::SOCKET),
        threads,
        gateway,
        listening,
        admin,
        first_user: opened.first_user,
        captured,
        sinks,
        stop,
    })
}

/// What is opened before there is a gateway.
struct Opened {
    shared: Shared,
    store: Arc<EmbeddedStore>,
    first_user: Option<FirstUser>,
}

fn open(
    config: &Config,
    options: &Options,
    threads: &Threads,
    [access, audit]: &[Sink; 2],
) -> Result<Opened, StartError> {
    let store = open_store(config, options)?;
    let ring = keys::open(config, &options.clock)?;
    let hashing = &config.login_limits.hashing;
    let hashing =
        PasswordPool::start(hashing.parallel, hashing.queue).map_err(StartError::Threads)?;
    let first_user = bootstrap(config)?;
    let sessions: Arc<dyn SessionStore> = store.clone();
    let clock = options.clock.clone();
    let means = Means { hashing: hashing.clone(), store: sessions.clone(), clock };
    let users = open_users(config, &means)?;
    let shared = Shared {
        ends: gateway::ends(&sessions, Streams::default(), &options.clock),
        clock: options.clock.clone(),
        back_room: threads.back_room().clone(),
        workers: config.process.workers,
        users: Arc::new(users),
        store: sessions,
        ring,
        metrics: Arc::new(Metrics::new()),
        access: access.clone(),
        audit: AuditLog::new(audit.clone()),
        observed: Arc::default(),
        draining: AtomicBool::new(false),
        hashing,
        proofs: Arc::new(Proofs::new()),
        bodies: ByteBudget::new(config.process.body_memory),
    };
    Ok(Opened { shared, store, first_user })
}

fn listen(
    config: &Config,
    options: &Options,
    threads: &Threads,
    gateway: &Arc<Gateway>,
) -> Result<Arc<Listening>, StartError> {
    let bound = listener::bind(
        &config.listeners,
        &BindOptions {
            workers: threads.workers().len(),
            state: config.state.dir.clone(),
            clock: options.clock.clone(),
            descriptors: options.descriptors.clone(),
        },
    )?;
    let gateway = gateway.clone();
    Ok(Arc::new(listener::serve(bound, threads, move |worker, client, request| {
        pipeline::handle(gateway.view(&worker), worker, client, request)
    })))
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::State { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}

type Sinks = ([Sink; 2], Option<(Captured, Captured)>);

fn open_sinks(config: &Config, capture: bool) -> Result<Sinks, StartError> {
    if capture {
        let ((access, seen), (audit, audited)) = (Sink::captured(), Sink::captured());
        return Ok(([access, audit], Some((seen, audited))));
    }
    let open = |name: &str, target| {
        Sink::open(target).map_err(|source| StartError::Log { name: name.to_owned(), source })
    };
    Ok(([open("access", &config.log.access)?, open("audit", &config.log.audit)?], None))
}

/// Opened before the keys are made: a store that is missing while there are keys is refused.
fn open_store(config: &Config, options: &Options) -> Result<Arc<EmbeddedStore>, StartError> {
    let Store::Embedded = config.store;
    let keys = keys::folder(config);
    let keys_exist = fs::read_dir(keys).is_ok_and(|mut entries| entries.next().is_some());
    Ok(EmbeddedStore::open(EmbeddedOptions {
        path: config.state.dir.join("store.redb"),
        clock: options.clock.clone(),
        leeway: config.token.leeway,
        longest_access: config
            .logins
            .iter()
            .map(|login| login.access_ttl)
            .max()
            .unwrap_or_default(),
        ids: id_rules(config),
        // Keys that the operator manages say nothing of an earlier start.
        keys_exist: keys_exist && config.token.keys.is_none(),
        new_state: options.new_state,
        backend_faults: options.store_faults.clone(),
    })?)
}

fn bootstrap(config: &Config) -> Result<Option<FirstUser>, StartError> {
    for source in &config.users {
        let UserSourceKind::File { path, bootstrap: true, .. } = &source.kind else { continue };
        if let Some(user) = users::first_user(path)? {
            return Ok(Some(FirstUser {
                name: user.name,
                email: user.email,
                password: user.password,
            }));
        }
    }
    Ok(None)
}

fn open_users(config: &Config, means: &Means) -> Result<Users, StartError> {
    let open = |source: &config::UserSource| {
        users::open(source, means).map_err(|error| cannot_open(source, error))
    };
    let sources = config.users.iter().map(open).collect::<Result<_, _>>()?;
    let optional = config.users.iter().filter(|source| source.passed_over);
    let optional = optional.map(|source| source.name.clone()).collect();
    Ok(Users::new(sources, optional, id_rules(config)))
}

fn id_rules(config: &Config) -> IdRules {
    IdRules::new(config.users.iter().map(|source| (source.name.clone(), source.id_rule())))
}

fn cannot_open(source: &config::UserSource, error: users::OpenError) -> StartError {
    let name = source.name.clone();
    match &source.kind {
        UserSourceKind::File { path, .. } if error.is_missing() => {
            StartError::NoUsers { name, path: path.clone() }
        }
        _ => StartError::Users { name, source: error },
    }
}

/// What a start would say of the files of users.
pub fn check_users(config: &Config) -> Vec<StartError> {
    let refused = config.users.iter().map(|source| (source, users::check(source)));
    refused.filter_map(|(source, found)| Some(cannot_open(source, found.err()?))).collect()
}
