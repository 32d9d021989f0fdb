//! One configuration in the place of another, while the gateway serves.
//!
//! A reload is all or nothing: everything that can fail is done before the first change is seen.
//! What the kernel or the store cannot change in a running process keeps its value until a restart,
//! and is named in the answer, in readiness and in the log; the rest takes effect.

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Arc, PoisonError, mpsc};

use super::ends::announce;
use super::{BuildError, Gateway, Generation, View};
use crate::config::Config;
use crate::secret::Digest;
use crate::session::StreamOrigin;
use crate::telemetry::audit::{Actor, AuditEvent};
use crate::text::error_chain;

/// A configuration that is in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The keys that differ in the file and keep their value until a restart.
    pub waiting: Vec<&'static str>,
}

/// Why a configuration was not put to work in the place of the last one.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Read(String),

    #[error(transparent)]
    Build(#[from] BuildError),

    /// Listeners, logs, keys and threads: the parts that the generation does not hold.
    #[error(transparent)]
    Prepare(Box<dyn Error + Send + Sync>),
}

/// The outcome of a reload, as readiness reports it.
#[derive(Clone, Debug, Default)]
pub(super) struct ReloadReport {
    failure: Option<String>,
    waiting: Vec<&'static str>,
}

/// Puts the changes outside the generation to work; cannot fail any more.
pub(crate) type Commit = Box<dyn FnOnce()>;

/// Leaves the values of `last` where only a restart can change them, and names those that differ.
fn keep_until_restart(last: &Config, next: &mut Config) -> Vec<&'static str> {
    let mut waiting = Vec::new();
    let (was, process) = (&last.process, &mut next.process);
    // Threads and their sockets are made at the start.
    keep("process.workers", &was.workers, &mut process.workers, &mut waiting);
    keep("process.back_room", &was.back_room, &mut process.back_room, &mut waiting);
    // The kernel lets a process lower its limit for good only.
    keep("process.core_dumps", &was.core_dumps, &mut process.core_dumps, &mut waiting);
    // The store is open, and locked, in the folder that the start found.
    keep("state", &last.state, &mut next.state, &mut waiting);
    keep("store", &last.store, &mut next.store, &mut waiting);
    waiting
}

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

    /// Reads another configuration and puts it to work; the last good one stays if anything fails.
    /// `prepare` does the same for what is outside the generation (listeners, logs, keys): it gets
    /// the configuration in effect and the next one. Blocks on the disk and on the first checks of
    /// new servers.
    pub(crate) fn reload(
        &self,
        read: impl FnOnce() -> Result<Config, String>,
        prepare: impl FnOnce(&Config, &Config) -> Result<Commit, ReloadError>,
    ) -> Result<Reloaded, ReloadError> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let config = read().map_err(ReloadError::Read);
        let reloaded = config.and_then(|config| self.replace(config, prepare));
        self.report(&reloaded);
        reloaded
    }

    /// Sentences on the last reload for an operator who asks about the gateway.
    pub(crate) fn reload_notes(&self) -> Vec<String> {
        let last = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = last.failure.iter().map(|cause| format!("not reloaded: {cause}"));
        let waiting = last.waiting.iter().map(|key| format!("waits for a restart: {key}"));
        failure.chain(waiting).collect()
    }

    fn replace(
        &self,
        mut config: Config,
        prepare: impl FnOnce(&Config, &Config) -> Result<Commit, ReloadError>,
    ) -> Result<Reloaded, ReloadError> {
        let last = self.generation();
        let waiting = keep_until_restart(&last.config, &mut config);
        let next = Arc::new(Generation::build(&self.shared, config, Some(&last))?);
        self.await_checks(&next);
        // After the wait: the sockets that are opened here let clients connect already.
        let commit = prepare(&last.config, &next.config)?;
        let kept: Arc<HashSet<Digest>> = Arc::new(next.credentials().collect());
        self.shared.ends.entries.store(kept.clone());
        self.generation.store(next.clone());
        for view in &self.views {
            view.store(Arc::new(View::new(&self.shared, &next)));
        }
        commit();
        // Streams that were opened with a credential that is not accepted any more end.
        for gone in last.credentials().filter(|digest| !kept.contains(digest)) {
            self.shared.ends.streams.end(StreamOrigin::Entry(gone));
        }
        announce(&last.route_ends, &next.route_ends);
        self.reloaded.notify_one();
        Ok(Reloaded { waiting })
    }

    /// Waits until every upstream of `next` with checks that are new has been asked once, or should
    /// have been: a reload, like a start, sends nobody to a server that is down already.
    fn await_checks(&self, next: &Arc<Generation>) {
        let (done, checked) = mpsc::channel();
        let next = next.clone();
        self.shared.back_room.spawn(async move {
            next.checked_once().await;
            // An error means that the waiting reload is gone, and with it the whole gateway.
            let _ = done.send(());
        });
        // An error when the back room ends first: then there is nobody to serve.
        let _ = checked.recv();
    }

    /// Records a reload in metrics, readiness, log and audit, whoever asked for it.
    fn report(&self, reloaded: &Result<Reloaded, ReloadError>) {
        let now = self.shared.clock.now();
        let failure = reloaded.as_ref().err().map(|error| error_chain(error));
        self.shared.metrics.reload(failure.is_none(), now);
        let cause = failure.as_deref().unwrap_or_default();
        let event = AuditEvent::Reload { ok: failure.is_none(), cause };
        let actor = Actor { address: None, request_id: "-", login: "-", operator: None };
        self.shared.audit.write(now, &actor, &event);
        log(reloaded, cause);
        let mut last = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(reloaded) = reloaded {
            last.waiting.clone_from(&reloaded.waiting);
        }
        last.failure = failure;
    }
}

/// A file with several problems has a line for each of them: the log, too, has one for each, since
/// all of them in one line could not be read.
fn log(reloaded: &Result<Reloaded, ReloadError>, cause: &str) {
    match reloaded {
        Ok(reloaded) => {
            tracing::info!("reloaded");
            if !reloaded.waiting.is_empty() {
                tracing::warn!("changed, which needs a restart: {}", reloaded.waiting.join(", "));
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
