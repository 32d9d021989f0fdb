//! Replaces one configuration by another while the gateway serves.
//!
//! A reload is all or nothing: everything that can fail is done before the first change becomes
//! visible. Values that the kernel or the store cannot change in a running process are kept until a
//! restart, and are named in the answer, in the readiness report and in the log. Everything else
//! takes effect.

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Arc, mpsc};

use super::route_cancellation::announce;
use super::{BuildError, Gateway, Generation, ReadyPools, WorkerView};
use crate::format::error_chain;
use crate::secret::Digest;
use crate::session::StreamOrigin;
use crate::settings::{Config, SigningKeyStorage};
use crate::telemetry::audit::{AuditActor, AuditEvent};

/// The result of a successful reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The keys that differ in the file and take effect only after a restart.
    pub waiting: Vec<&'static str>,

    /// Sentences about the parts that the system refused after the swap. The next reload tries
    /// them again.
    pub failed: Vec<String>,
}

/// The reason why a configuration did not replace the last one.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Read(String),

    #[error("a successor is taking this gateway over: it has read the configuration itself")]
    Frozen,

    #[error(transparent)]
    Build(#[from] BuildError),

    /// Listeners, logs, keys and threads: the parts that are not in the generation.
    #[error(transparent)]
    Prepare(Box<dyn Error + Send + Sync>),
}

/// The outcome of a reload, as the readiness report shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct ReloadReport {
    failure: Option<String>,
    waiting: Vec<&'static str>,
    failed: Vec<String>,
}

/// Puts the changes outside of the generation into effect. Invariant: a step of it that may fail
/// concerns operators only. The result has a sentence about each step that failed.
pub(crate) type Commit = Box<dyn FnOnce() -> Vec<String>>;

/// Keeps the values of `last` that only a restart can change, and returns the keys that differ.
fn keep_until_restart(last: &Config, next: &mut Config) -> Vec<&'static str> {
    let mut waiting = Vec::new();
    let was = &last.process;
    let process = &mut next.process;
    // Threads, and the sockets that belong to them, are made at the start.
    keep("process.workers", &was.workers, &mut process.workers, &mut waiting);
    keep(
        "process.background_threads",
        &was.background_threads,
        &mut process.background_threads,
        &mut waiting,
    );
    // A process can lower this limit, but never raise it again.
    keep("process.core_dumps", &was.core_dumps, &mut process.core_dumps, &mut waiting);
    // The store is open, and locked, in the folder that the start has found.
    keep("state", &last.state, &mut next.state, &mut waiting);
    keep("store", &last.store, &mut next.store, &mut waiting);
    // A start takes keys over into the store, or leaves them there.
    if [&last.token.keys, &next.token.keys].contains(&&SigningKeyStorage::Store) {
        keep("token.keys", &last.token.keys, &mut next.token.keys, &mut waiting);
    }
    waiting
}

/// Sets `next` back to `last` if they differ, and records the key.
fn keep<T: Clone + PartialEq>(
    key: &'static str,
    last: &T,
    next: &mut T,
    waiting: &mut Vec<&'static str>,
) {
    if next != last {
        next.clone_from(last);
        waiting.push(key);
    }
}

impl Gateway {
    /// Returns when another configuration has come into effect since the last call.
    pub(crate) async fn reloaded(&self) {
        self.reloaded.notified().await;
    }

    /// Reads another configuration and puts it into effect. If anything fails, the last good one
    /// stays. `prepare` does the same for the parts outside of the generation (listeners, logs,
    /// keys); it gets the configuration in effect and the next one. The call blocks on the disk and
    /// on the first health checks of new servers. The error says which step failed; nothing has
    /// changed then.
    pub(crate) fn reload(
        &self,
        read: impl FnOnce() -> Result<Config, String>,
        prepare: impl FnOnce(&Config, &Config) -> Result<Commit, ReloadError>,
    ) -> Result<Reloaded, ReloadError> {
        // Reading happens under the lock. If two reloads ran at once, the older text could
        // otherwise come into effect last. The other reload waits, and then reads the newer text.
        let is_frozen = self.reloading.lock();
        let config =
            if *is_frozen { Err(ReloadError::Frozen) } else { read().map_err(ReloadError::Read) };
        let reloaded = config.and_then(|config| self.replace(config, prepare));
        self.report(&reloaded);
        reloaded
    }

    /// Refuses reloads from now on, if `generation` is in effect and no reload runs; else false. The
    /// successor of this gateway has compared its own configuration with that of `generation`.
    pub(crate) fn freeze(&self, generation: &Arc<Generation>) -> bool {
        let Some(mut is_frozen) = self.reloading.try_lock() else { return false };
        *is_frozen = Arc::ptr_eq(generation, &self.generation());
        *is_frozen
    }

    /// Allows reloads again.
    pub(crate) fn unfreeze(&self) {
        *self.reloading.lock() = false;
    }

    /// Sentences about the last reload, for the status of the gateway.
    pub(crate) fn reload_notes(&self) -> Vec<String> {
        let last = self.last_reload.lock();
        let failure = last.failure.iter().map(|cause| format!("not reloaded: {cause}"));
        let waiting = last.waiting.iter().map(|key| format!("waits for a restart: {key}"));
        let failed = last.failed.iter().map(|part| format!("not in effect: {part}"));
        failure.chain(waiting).chain(failed).collect()
    }

    /// The order: build everything, wait for health checks, open sockets; then swap, which cannot
    /// fail; then end streams that are not allowed any more.
    fn replace(
        &self,
        mut config: Config,
        prepare: impl FnOnce(&Config, &Config) -> Result<Commit, ReloadError>,
    ) -> Result<Reloaded, ReloadError> {
        let last = self.generation();
        let waiting = keep_until_restart(&last.config, &mut config);
        let next =
            Arc::new(Generation::build(&self.shared, config, Some(&last), ReadyPools::default())?);
        self.await_checks(&next);
        // The sockets are opened after the wait, because clients can connect to them at once.
        let commit = prepare(&last.config, &next.config)?;
        // The list of accepted credentials is swapped first, and streams are ended last. A stream
        // is added before it looks at the list; therefore it either sees the new list or is ended
        // below.
        let kept: Arc<HashSet<Digest>> = Arc::new(next.credentials().collect());
        self.shared.cancellations.entries.store(kept.clone());
        // Logins that began under the last generation compare their users under this one, before
        // the review that follows this reload.
        self.shared.services.replace(&next.services);
        self.generation.store(next.clone());
        // Each worker gets its own view. A request that began under the old view keeps it.
        for view in &self.views {
            view.store(Arc::new(WorkerView::new(&self.shared, &next)));
        }
        let failed = commit();
        // Ends the streams of credentials that are not accepted any more.
        for gone in last.credentials().filter(|digest| !kept.contains(digest)) {
            self.shared.cancellations.streams.end(StreamOrigin::Entry(gone));
        }
        announce(&last.route_ends, &next.route_ends);
        self.reloaded.notify_one();
        Ok(Reloaded { waiting, failed })
    }

    /// Waits until every upstream of `next` with new health checks was checked once, or its time
    /// for that is over. Thus neither a reload nor a start sends requests to a server that is
    /// already down.
    fn await_checks(&self, next: &Arc<Generation>) {
        let (done, checked) = mpsc::channel();
        let next = next.clone();
        self.shared.background.spawn(async move {
            next.checked_once().await;
            // The send fails if the waiting reload is gone; then nobody needs the answer.
            let _ = done.send(());
        });
        // The receive fails if the background runtime has ended; then the gateway is stopping.
        let _ = checked.recv();
    }

    /// Records a reload in metrics, readiness report, audit log and diagnostics, whoever requested
    /// it. The reasons for a failure are written to the log line by line.
    fn report(&self, reloaded: &Result<Reloaded, ReloadError>) {
        let now = self.shared.clock.now();
        let failure = reloaded.as_ref().err().map(|error| error_chain(error));
        self.shared.metrics.reload(failure.is_none(), now);
        let cause = failure.as_deref().unwrap_or_default();
        let event = AuditEvent::Reload { ok: failure.is_none(), cause };
        let actor = AuditActor { address: None, request_id: "-", login: "-", operator: None };
        self.shared.audit.write(now, &actor, &event);
        log(reloaded, cause);
        let mut last = self.last_reload.lock();
        if let Ok(reloaded) = reloaded {
            last.waiting.clone_from(&reloaded.waiting);
            last.failed.clone_from(&reloaded.failed);
        }
        last.failure = failure;
    }
}

/// Logs the outcome. A file with several problems has a line for each of them, and so has the log:
/// all of them in one line could not be read.
fn log(reloaded: &Result<Reloaded, ReloadError>, cause: &str) {
    match reloaded {
        Ok(reloaded) => {
            tracing::info!("reloaded");
            if !reloaded.waiting.is_empty() {
                tracing::warn!("changed, which needs a restart: {}", reloaded.waiting.join(", "));
            }
            for part in &reloaded.failed {
                tracing::error!("not in effect: {part}");
            }
        }
        Err(_) => {
            tracing::error!("not reloaded, the last configuration stays");
            for line in cause.lines().map(str::trim).filter(|line| !line.is_empty()) {
                tracing::error!("not reloaded: {line}");
            }
        }
    }
}
