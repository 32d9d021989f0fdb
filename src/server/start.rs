//! Opens everything that a gateway needs, in the safe order.
//!
//! Things that another process may have (addresses, store) come first. The first user, who is made
//! only once, comes when only reading can still fail. Sessions are compared with their users before
//! the first connection is accepted. A start that fails leaves nothing running and nothing half
//! made.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::announce::announce;
use super::background::{self, BackgroundTasks};
use super::file_watch::FileWatch;
use super::first_user::PendingUser;
use super::handover::{ExclusiveHandles, take_over};
use super::state_folder::make_folder;
use super::takeover::{self, Predecessor};
use super::{RunningServer, ServerOptions, ServiceLink, StartError, TakeoverSignals, keys};
use crate::acme::Challenges;
use crate::admin::{self, ArrivedSuccessor, SocketDoor, TakeoverDoor};
use crate::admission::{ByteBudget, WorkLimit};
use crate::authn::SeenSignatures;
use crate::gateway::{self, Gateway, ReadyPools, SharedState};
use crate::listener::{self, BoundListeners, RunningListeners};
use crate::login::{PasswordCache, review_sessions};
use crate::passwords::HashPool;
use crate::pipeline;
use crate::runtime::{GatewayThreads, WorkerProgress};
use crate::session::{OpenStreams, OpenedStore};
use crate::settings::{Config, LogTarget};
use crate::telemetry::audit::AuditLog;
use crate::telemetry::line_writer::{CapturedLines, LineWriter};
use crate::telemetry::metrics::Metrics;
use crate::token::SigningKeys;

/// How long a start waits for the sources of users, while sessions are compared with their users.
/// All clients wait during this time.
const REVIEW_FOR: Duration = Duration::from_secs(10);

/// Upper bound on refusals that are delayed during a flood: more streams than a serious attack has,
/// at a few KiB each. One client may use an eighth.
const HELD_BACK: usize = 32_768;

/// Starts a gateway. The call blocks, on the disk among others, so it must not be made on a thread
/// of a runtime.
///
/// # Errors
/// See `StartError`. Nothing is left running.
pub fn start(config: Config, options: ServerOptions) -> Result<RunningServer, StartError> {
    // The configuration was read just now; what changes from here on is a change.
    let files = FileWatch::new();
    if let Err(error) = listener::raise_nofile() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    // The folder comes first: the lock of the store, the keys and the admin socket are in it.
    make_folder(&config)?;
    let threads = GatewayThreads::start(config.process.workers, config.process.background_threads)
        .map_err(StartError::Threads)?;
    let (sinks, captured) = open_sinks(&config, options.capture_logs)?;
    let challenges: Arc<Challenges> = Arc::default();
    // Things that another process may have are opened first, and the user who is made only once
    // comes last.
    let begun = match options.takeover {
        true => takeover::begin(&config, &options, &threads, &challenges)?,
        false => None,
    };
    let (handles, pools, mut predecessor) = match begun {
        Some(begun) => (begun.handles, begun.pools, Some(begun.predecessor)),
        None => (take_over(&config, &options, &threads, &challenges)?, ReadyPools::default(), None),
    };
    let ExclusiveHandles { bound, admin, store } = handles;
    // The admin socket is bound only after the store is locked. A second gateway, started by
    // mistake, would otherwise take the socket away from the first one. The lock is held for as
    // long as the process lives, so only one gateway gets this far.
    let socket = SocketDoor::bind(&config)?;
    let new_user = PendingUser::make(&config)?;
    let signing_keys = keys::open(&config, &options.clock, threads.background(), &store)?;
    let shared = open(&config, &options, &threads, &store, &signing_keys, &sinks, challenges)?;
    let gateway = Arc::new(Gateway::new(shared, config, pools)?);
    let generation = gateway.generation();
    let config = &generation.config;
    // Users may have changed while no gateway was running. The sessions of changed users end before
    // anyone is let in; otherwise a disabled user could go on with an old session.
    let budget = Some(options.review_for.unwrap_or(REVIEW_FOR));
    let review = review_sessions(&generation.services, None, budget, options.clock.now());
    let reviewed = threads.background().handle().block_on(review)?;
    background::tell(&reviewed);
    // Nor is a request sent to a server that is already known to be down.
    threads.background().handle().block_on(generation.checked_once());
    if let Some(predecessor) = &mut predecessor {
        // Nothing that can fail is left after this, but for serving the socket of the operators.
        bound.listen()?;
        predecessor.dismiss(&threads)?;
        bound.own_files();
    }
    let inherited = predecessor.and_then(|predecessor| predecessor.service);
    let listening = listen(bound, &threads, &gateway);
    let stop = CancellationToken::new();
    let (takeovers, successors) = TakeoverDoor::new();
    let operations = Arc::new(admin::AdminOperations {
        gateway,
        listening: listening.clone(),
        store,
        signing_keys,
        source: options.source,
        sinks,
        progress: Arc::new(WorkerProgress::new(threads.workers())),
        log_format: options.log_format,
        probes: Arc::default(),
        access: Arc::default(),
        unapplied: Arc::default(),
        takeovers,
        operator: None,
    });
    socket.serve(&operations, &stop).map_err(StartError::Threads)?;
    operations.serve_probes(admin).map_err(StartError::Threads)?;
    // Background tasks start when clients are served already: none of them is needed for the first
    // request. A review of sessions that was cut short is continued by one of them.
    let tasks = Arc::new(BackgroundTasks::new(files));
    tasks.start(&operations, Some(reviewed));
    announce(config, &listening, operations.probes.address());
    let running = RunningServer {
        admin_socket: config.state.dir.join(admin::SOCKET),
        threads,
        operations,
        first_user: new_user.keep(),
        captured,
        stop,
        tasks,
        service: options.service.or(inherited),
        takeover: TakeoverSignals::default(),
    };
    running.await_successors(successors, options.report_successor);
    Ok(running)
}

impl RunningServer {
    /// Waits for a successor beside everything else, until the gateway ends.
    fn await_successors(
        &self,
        successors: Receiver<ArrivedSuccessor>,
        report_successor: Option<fn(&ServiceLink, i32)>,
    ) {
        let predecessor = Predecessor {
            operations: self.operations.clone(),
            tasks: self.tasks.clone(),
            service: self.service.clone(),
            report_successor,
            taken_over: self.takeover.done.clone(),
        };
        let ending = self.takeover.ending.clone();
        self.threads.background().spawn(async move {
            ending.run_until_cancelled(predecessor.run(successors)).await;
        });
    }
}

/// Opens the parts that outlive a reload: hashing threads, counters. The store, the keys and the sinks
/// were opened before. If it fails, the caller drops what was opened before.
fn open(
    config: &Config,
    options: &ServerOptions,
    threads: &GatewayThreads,
    store: &OpenedStore,
    signing_keys: &Arc<SigningKeys>,
    sinks: &[LineWriter; 2],
    challenges: Arc<Challenges>,
) -> Result<SharedState, StartError> {
    let [access, audit] = sinks;
    let hashing = &config.login_limits.hashing;
    let hashing = HashPool::start(hashing.parallel, hashing.queue).map_err(StartError::Threads)?;
    let sessions = store.as_store();
    let cancellations = gateway::cancellations(&sessions, OpenStreams::default(), &options.clock);
    if let Some(shared) = store.shared() {
        let cancellations = cancellations.clone();
        let signing_keys = signing_keys.clone();
        shared.on_remote_ends(Box::new(move |ends| {
            signing_keys.note_changes(&ends.documents);
            cancellations.end_remotely(&ends);
        }));
    }
    Ok(SharedState {
        cancellations,
        clock: options.clock.clone(),
        background: threads.background().clone(),
        workers: config.process.workers,
        store: sessions,
        ring: signing_keys.ring().clone(),
        metrics: Arc::new(Metrics::new()),
        access: access.clone(),
        audit: AuditLog::new(audit.clone()),
        observed: Arc::default(),
        draining: AtomicBool::new(false),
        hashing,
        password_cache: Arc::new(PasswordCache::new()),
        services: Arc::default(),
        attempts: Arc::default(),
        program_attempts: Arc::default(),
        held_back: WorkLimit::new(HELD_BACK),
        challenges,
        acme: Arc::default(),
        bodies: ByteBudget::new(config.process.body_memory),
        seen_signatures: Arc::new(SeenSignatures::of(config)),
        dry_run: None,
    })
}

/// Accepts connections from now on, and passes each request to the pipeline.
fn listen(
    bound: BoundListeners,
    threads: &GatewayThreads,
    gateway: &Arc<Gateway>,
) -> Arc<RunningListeners> {
    let gateway = gateway.clone();
    listener::serve(bound, threads, move |worker, client, request| {
        pipeline::handle(gateway.view(&worker), worker, client, request)
    })
}

type LogWriters = ([LineWriter; 2], Option<(CapturedLines, CapturedLines)>);

/// Opens the access log and the audit log, or captures both in memory for a test. The error names
/// the log that cannot be written.
fn open_sinks(config: &Config, capture: bool) -> Result<LogWriters, StartError> {
    if capture {
        let (access, seen) = LineWriter::captured();
        let (audit, audited) = LineWriter::captured();
        return Ok(([access, audit], Some((seen, audited))));
    }
    let open = |name, target: &LogTarget| {
        let path = match target {
            LogTarget::File(path) => path.clone(),
            LogTarget::Off | LogTarget::Stdout | LogTarget::Stderr => PathBuf::new(),
        };
        LineWriter::open(target).map_err(|source| StartError::Log { name, path, source })
    };
    Ok(([open("access", &config.log.access)?, open("audit", &config.log.audit)?], None))
}
