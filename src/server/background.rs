//! The tasks that run without a request: they watch files, rotate keys, review sessions, renew
//! certificates and remove expired entries.
//!
//! Each task is a loop on the background runtime. All of them end when the gateway gives up its
//! store, because the successor does this work from then on. A failure is logged and tried again;
//! no task ends because of one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::acme;
use super::file_watch::{FileWatch, LOOK_EVERY};
use super::first_user::forget_first_password;
use crate::admin::AdminOperations;
use crate::clock::Timestamp;
use crate::login::{RevalidationReport, review_sessions};
use crate::session::StreamOrigin;
use crate::session::shared::NodeNote;
use crate::users::UserSource;

/// How many new ends of opaque tokens are written at once.
const EXTENSIONS: usize = 32;

/// The pause while the store cannot be asked.
const REVIEW_AGAIN: Duration = Duration::from_secs(5);
/// The pause while a source of users cannot be asked.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The longest pause of the tasks about issuers: a reload may bring issuers whose keys are needed
/// at once.
const NEW_ISSUERS: Duration = Duration::from_secs(5);
/// How often idle sessions are looked for. A download may go on for so long after its session has
/// expired.
const IDLED_OUT: Duration = Duration::from_secs(60);
/// How often expired entries and idle upstream connections are removed from memory.
const SWEEP: Duration = Duration::from_secs(10);

/// How often a node tells the others that it is there. They list it for a minute.
const NOTE_NODE: Duration = Duration::from_secs(10);

/// The tasks of a gateway. They end when it gives up its store, and begin anew if it gets the store
/// back.
#[derive(Debug)]
pub(super) struct BackgroundTasks {
    state: Mutex<TaskState>,
    files: Arc<FileWatch>,
}

/// The signal that ends the tasks, and whether they have ended for good.
#[derive(Debug, Default)]
struct TaskState {
    stop: CancellationToken,
    is_over: bool,
}

impl BackgroundTasks {
    /// The tasks of a gateway that watches `files`.
    pub(super) fn new(files: FileWatch) -> Self {
        Self { state: Mutex::default(), files: Arc::new(files) }
    }

    /// Looks once at the files of the configuration; see `FileWatch::look`.
    pub(super) fn look_at_files(&self, operations: &Arc<AdminOperations>) -> bool {
        self.files.look(operations)
    }

    /// Starts the tasks, unless they have ended for good. `reviewed` says which sessions could not be
    /// compared with their users during the start; `None`: all have to be compared. Nothing waits for
    /// the tasks: a gateway that stops drops them together with the runtime.
    pub(super) fn start(
        &self,
        operations: &Arc<AdminOperations>,
        reviewed: Option<RevalidationReport>,
    ) {
        let stop = CancellationToken::new();
        {
            let mut state = self.state.lock();
            if state.is_over {
                return;
            }
            std::mem::replace(&mut state.stop, stop.clone()).cancel();
        }
        start(operations, &stop, reviewed);
        spawn(operations, &stop, watch_files(operations.clone(), self.files.clone()));
    }

    /// Ends the tasks. The successor does this work from then on, or `start` begins it anew.
    pub(super) fn end(&self) {
        self.state.lock().stop.cancel();
    }

    /// Ends the tasks, which do not begin again.
    pub(super) fn end_for_good(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        state.stop.cancel();
    }
}

fn start(
    operations: &Arc<AdminOperations>,
    stop: &CancellationToken,
    reviewed: Option<RevalidationReport>,
) {
    let due = Arc::new(DueReviews::default());
    let reviewed = reviewed.unwrap_or_else(|| {
        due.sessions.notify_one();
        due.basic.notify_one();
        RevalidationReport::default()
    });
    spawn(operations, stop, watch_users(operations.clone(), due.clone()));
    spawn(operations, stop, review(operations.clone(), due.clone(), reviewed));
    spawn(operations, stop, review_basic(operations.clone(), due.clone()));
    spawn(operations, stop, forget_passwords(operations.clone(), due));
    spawn(operations, stop, maintain_keys(operations.clone()));
    spawn(operations, stop, refresh_issuers(operations.clone()));
    spawn(operations, stop, renew_verdicts(operations.clone(), stop.clone()));
    spawn(operations, stop, extend_tokens(operations.clone()));
    spawn(operations, stop, sweep(operations.clone()));
    spawn(operations, stop, end_streams(operations.clone()));
    spawn(operations, stop, note_node(operations.clone()));
    spawn(operations, stop, acme::keep_certificates(operations.clone()));
}

/// Runs `task` on the background runtime until `stop` is cancelled.
fn spawn<F>(operations: &AdminOperations, stop: &CancellationToken, task: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    operations.gateway.shared.background.spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

/// Looks at the files of the configuration again and again. Whether they are watched is asked in every
/// round, because a reload may change it.
async fn watch_files(operations: Arc<AdminOperations>, files: Arc<FileWatch>) {
    let shared = &operations.gateway.shared;
    loop {
        shared.clock.sleep(LOOK_EVERY).await;
        let files = files.clone();
        let looking = operations.clone();
        if shared.background.block_on_thread(move || files.look(&looking)).await.is_none() {
            tracing::error!("looking at the files of the configuration ended by panic");
        }
    }
}

/// The work that is due because users changed. Each kind has a signal of its own, since each may be
/// held up by a source that does not answer; none waits for another.
#[derive(Debug, Default)]
struct DueReviews {
    sessions: Notify,
    basic: Notify,
    first_password: Notify,
}

/// Waits for changes of users: in a source, or by a configuration with other sources. Remembered
/// passwords are forgotten at once, however long the reviews take. A remembered password would
/// otherwise be accepted although the user has another one now.
async fn watch_users(operations: Arc<AdminOperations>, due: Arc<DueReviews>) {
    let shared = &operations.gateway.shared;
    let mut watched = Vec::new();
    loop {
        let users = operations.gateway.generation().services.users.clone();
        // The sources are looked up in every round, because a reload may have replaced them.
        watched = watch_sources(&operations, users.sources(), watched);
        tokio::select! {
            () = users.changed() => {}
            () = operations.gateway.reloaded() => {}
        }
        shared.password_cache.forget();
        due.sessions.notify_one();
        due.basic.notify_one();
        due.first_password.notify_one();
    }
}

/// A source that a task watches. Dropping this value ends the task.
struct WatchedSource {
    source: Arc<dyn UserSource>,
    _ends: DropGuard,
}

/// Watches those of `sources` that are not in `watched` yet, and stops watching all others. A
/// source that a reload has kept goes on being watched without a gap, so no change is missed.
fn watch_sources(
    operations: &AdminOperations,
    sources: &[Arc<dyn UserSource>],
    mut watched: Vec<WatchedSource>,
) -> Vec<WatchedSource> {
    watched.retain(|one| sources.iter().any(|source| Arc::ptr_eq(source, &one.source)));
    for source in sources {
        if watched.iter().any(|one| Arc::ptr_eq(source, &one.source)) {
            continue;
        }
        let end = CancellationToken::new();
        let watching = source.clone();
        let clock = operations.gateway.shared.clock.clone();
        spawn(operations, &end, async move { watching.watch(&clock).await });
        watched.push(WatchedSource { source: source.clone(), _ends: end.drop_guard() });
    }
    watched
}

/// Ends the sessions of users who changed.
async fn review(
    operations: Arc<AdminOperations>,
    due: Arc<DueReviews>,
    reviewed: RevalidationReport,
) {
    let shared = &operations.gateway.shared;
    // Sessions for which there was no time during the start are refused until they have been
    // compared. Their users are waiting, so these come first.
    let RevalidationReport { mut left, late, .. } = reviewed;
    let mut is_urgent = !late.is_empty();
    left.extend(late);
    loop {
        // `biased`: a new change of users asks for a full review, which includes the sessions that
        // were left.
        let only = tokio::select! {
            biased;
            () = due.sessions.notified() => None,
            () = std::future::ready(()), if is_urgent => Some(&left),
            () = shared.clock.sleep(ASK_AGAIN), if !left.is_empty() => Some(&left),
        };
        let services = operations.gateway.generation().services.clone();
        match review_sessions(&services, only, None, shared.clock.now()).await {
            Ok(reviewed) => {
                tell(&reviewed);
                left = reviewed.left;
                is_urgent = false;
            }
            Err(error) => {
                tracing::warn!(%error, "sessions could not be compared with their users");
                tokio::time::sleep(REVIEW_AGAIN).await;
                // The notification was consumed by this attempt, and nobody will send it again.
                due.sessions.notify_one();
            }
        }
    }
}

/// Logs the result of a review.
pub(super) fn tell(reviewed: &RevalidationReport) {
    let RevalidationReport { ended, left, late } = reviewed;
    if *ended > 0 {
        tracing::info!(ended, "sessions ended because their users changed");
    }
    if !left.is_empty() {
        let left = left.len();
        tracing::warn!(left, "sessions could not be compared with their users yet");
    }
    if !late.is_empty() {
        let late = late.len();
        tracing::warn!(late, "sessions are answered 503 until their users have been looked at");
    }
}

/// Ends the streams that changed users have opened with their passwords (Basic).
async fn review_basic(operations: Arc<AdminOperations>, due: Arc<DueReviews>) {
    let shared = &operations.gateway.shared;
    let mut is_done = true;
    loop {
        tokio::select! {
            () = due.basic.notified() => {}
            () = shared.clock.sleep(ASK_AGAIN), if !is_done => {}
        }
        let services = operations.gateway.generation().services.clone();
        is_done = services.review_basic(shared.clock.now()).await;
    }
}

/// Removes the file with the first password when it is of no use. It looks once at the beginning,
/// since users may have changed while no gateway was running, and then after every change.
async fn forget_passwords(operations: Arc<AdminOperations>, due: Arc<DueReviews>) {
    loop {
        forget_first_password(&operations).await;
        due.first_password.notified().await;
    }
}

/// Rotates and removes keys when their time has come, and audits every step.
async fn maintain_keys(operations: Arc<AdminOperations>) {
    loop {
        for event in operations.signing_keys.maintain().await {
            operations.audit_key(&event);
        }
        operations.signing_keys.due().await;
    }
}

/// Fetches the keys of external issuers before they are needed; the first time as soon as the
/// gateway serves. A token is then not delayed by a fetch. The verifier says when the next key set
/// is due.
async fn refresh_issuers(operations: Arc<AdminOperations>) {
    let clock = &operations.gateway.shared.clock;
    loop {
        let verifier = operations.gateway.generation().verifier.clone();
        let due = verifier.refresh(clock.now()).await;
        // The verifier is released during the wait, so that a reload can drop the old one.
        drop(verifier);
        let due = async {
            match due {
                Some(due) => clock.sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(NEW_ISSUERS, due).await;
    }
}

/// Asks again about tokens whose positive verdicts are about to expire. Each is asked on its own: a
/// slow issuer must not delay the questions to another one.
async fn renew_verdicts(operations: Arc<AdminOperations>, stop: CancellationToken) {
    loop {
        let verifier = operations.gateway.generation().verifier.clone();
        // A reload hands the questions on, but may change the issuer that is asked.
        let due = tokio::time::timeout(NEW_ISSUERS, verifier.renewals()).await;
        for renewal in due.unwrap_or_default() {
            let now = operations.gateway.shared.clock.now();
            spawn(&operations, &stop, renewal.run(now));
        }
    }
}

/// Writes the new ends of opaque tokens that were used, a bounded number of them at once.
async fn extend_tokens(operations: Arc<AdminOperations>) {
    loop {
        let verifier = operations.gateway.generation().verifier.clone();
        // A reload hands the queue on, but may change the logins.
        let due = tokio::time::timeout(NEW_ISSUERS, verifier.extensions()).await;
        let writes = futures_util::stream::iter(due.unwrap_or_default()).map(|extension| {
            let now = operations.gateway.shared.clock.now();
            verifier.extend(extension, now)
        });
        writes.buffer_unordered(EXTENSIONS).for_each(|()| std::future::ready(())).await;
    }
}

/// Ends the streams of sessions that have expired because nobody refreshed them. Sessions that
/// somebody ends are handled at that moment.
async fn end_streams(operations: Arc<AdminOperations>) {
    let shared = &operations.gateway.shared;
    loop {
        shared.clock.sleep(IDLED_OUT).await;
        for session in shared.cancellations.streams.sessions() {
            // If the store cannot answer, the streams stay as they are.
            if let Ok(None) = shared.store.find(session, shared.clock.now()).await {
                shared.cancellations.streams.end(session);
            }
        }
    }
}

/// Removes entries that have expired. Without this, each of these memories would grow up to its
/// bound.
async fn sweep(operations: Arc<AdminOperations>) {
    let shared = &operations.gateway.shared;
    loop {
        tokio::time::sleep(SWEEP).await;
        let generation = operations.gateway.generation();
        let now = shared.clock.now();
        generation.verifier.sweep(now);
        generation.upstream_tokens.sweep(now);
        let streams = &shared.cancellations.streams;
        shared.password_cache.sweep(now, |digest| streams.has(StreamOrigin::Credential(*digest)));
        generation.throttle.sweep(now);
        shared.attempts.sweep(now);
        shared.program_attempts.sweep(now);
        shared.seen_signatures.sweep(now);
        generation.services.begun.sweep(now);
        for pool in generation.pools.values() {
            pool.sweep(&shared.background);
        }
    }
}

/// Tells the other nodes of a shared store that this one is there, and by which configuration.
async fn note_node(operations: Arc<AdminOperations>) {
    let Some(store) = operations.store.shared() else { return };
    let clock = &operations.gateway.shared.clock;
    let started = clock.now();
    let name = node_name();
    loop {
        let note = NodeNote {
            name: name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: operations.gateway.generation().config.fingerprint(),
            started,
            seen: Timestamp::default(),
        };
        // If it fails, the store's condition says why.
        let _ = store.note_node(&note).await;
        clock.sleep(NOTE_NODE).await;
    }
}

/// The name of this node: the machine and the process. Two gateways on one machine, and the two of
/// a takeover, are different nodes.
fn node_name() -> String {
    let machine = rustix::system::uname();
    format!("{}/{}", machine.nodename().to_string_lossy(), std::process::id())
}
