//! A gateway in this process. The command `run` and every test start one in the same way.
//!
//! `start` opens everything in the safe order (keys, store, users, sessions compared with their
//! users) and accepts the first connection last. `RunningServer` is the handle to the gateway: it
//! reloads it, drains it and answers questions about it. Nothing here is global, so a process may
//! run several.

mod acme;
mod announce;
mod background;
mod check;
mod core_dumps;
mod error;
mod explain;
mod file_watch;
mod first_user;
mod handover;
mod keys;
mod online;
mod shared_store;
mod start;
mod state_folder;
mod store;
mod takeover;
mod transfer;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::check::check_start;
pub use self::core_dumps::forbid_core_dumps;
pub use self::error::StartError;
pub use self::explain::explain_offline;
pub use self::first_user::{FIRST_PASSWORD, InitialUser};
pub use self::online::{Party, Verdict, ask_network};
pub use self::start::start;
pub use self::takeover::{ServiceLink, TakeoverError};
pub use self::transfer::{MoveError, MovedStore, export_store, import_store};

use tokio_util::sync::CancellationToken;

use self::background::BackgroundTasks;
use crate::admin::AdminOperations;
pub use crate::admin::ConfigSource;
use crate::clock::Clock;
use crate::gateway::{ReloadError, Reloaded};
use crate::listener::{BoundAddress, InheritedSockets};
pub use crate::pipeline::{ExplainError, ExplainRequest};
use crate::runtime::GatewayThreads;
use crate::session::InjectedFaults;
use crate::settings::Config;
use crate::telemetry::line_writer::CapturedLines;
use crate::telemetry::log_format::LogFormatSwitch;

/// The parameters of a start that are not in the configuration. `Default` is a gateway with the
/// system's clock, which cannot be reloaded.
#[derive(Debug, Default)]
pub struct ServerOptions {
    pub clock: Clock,
    /// Start with an empty store although signing keys exist, which would otherwise be refused.
    pub new_state: bool,
    /// Keep access and audit lines in memory, instead of writing them where `[log]` says. For
    /// tests.
    pub capture_logs: bool,
    /// Sockets that the process was started with.
    pub descriptors: InheritedSockets,
    /// Makes the disk of the store fail at the command of a test.
    pub store_faults: Option<Arc<InjectedFaults>>,
    /// How long the start waits for sources, to compare the users of live sessions; `None`: ten
    /// seconds.
    pub review_for: Option<Duration>,
    /// How the configuration is read again; `None`: it cannot be reloaded.
    pub source: Option<ConfigSource>,
    /// Changes the format of the diagnostics; `None`: a reload leaves it as it is.
    pub log_format: Option<LogFormatSwitch>,
    /// Take over from the gateway that has the state folder, if there is one.
    pub takeover: bool,
    /// How this process speaks to the service manager that has started it.
    pub service: Option<ServiceLink>,
    /// Tells the service manager that another process is the main process from now on.
    pub report_successor: Option<fn(&ServiceLink, i32)>,
}

/// A running gateway. Dropping it without `drain` cuts everything that is open.
#[derive(Debug)]
pub struct RunningServer {
    threads: GatewayThreads,
    operations: Arc<AdminOperations>,
    admin_socket: PathBuf,
    first_user: Option<InitialUser>,
    captured: Option<(CapturedLines, CapturedLines)>,
    stop: CancellationToken,
    tasks: Arc<BackgroundTasks>,
    service: Option<ServiceLink>,
    takeover: TakeoverSignals,
}

/// The signals between a gateway and the task that waits for its successor.
#[derive(Clone, Debug, Default)]
struct TakeoverSignals {
    /// Cancelled when the gateway ends: nobody can take it over any more.
    ending: CancellationToken,
    /// Cancelled when a successor has taken over.
    done: CancellationToken,
}

impl RunningServer {
    /// The addresses of the listeners, in the order of the configuration; unix sockets are left
    /// out.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.operations.listening.addresses().iter().filter_map(BoundAddress::tcp).collect()
    }

    /// The TCP address for probes and metrics, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.operations.probes.address()
    }

    /// The path of the admin socket.
    pub fn admin_socket(&self) -> &std::path::Path {
        &self.admin_socket
    }

    /// The first user, if this start has made one. After this call the password is not remembered
    /// here any more.
    pub fn take_first_user(&mut self) -> Option<InitialUser> {
        self.first_user.take()
    }

    /// Reads another configuration and puts it into effect. Blocks on the disk. `read` is called
    /// once, on the calling thread. The answer names the keys that wait for a restart.
    ///
    /// # Errors
    /// If anything fails; the last good configuration stays in effect.
    pub fn reload(
        &self,
        read: impl FnOnce() -> Result<Config, String>,
    ) -> Result<Reloaded, ReloadError> {
        self.operations.reload(read)
    }

    /// Looks once at the files of the configuration, as the gateway itself does every two seconds where
    /// `[reload] watch` is set. True if a change had settled, and was reloaded or refused. Blocks on
    /// the disk. For tests, which need not wait.
    pub fn look_at_files(&self) -> bool {
        self.tasks.look_at_files(&self.operations)
    }

    /// Explains what the gateway would do with a request, without doing it.
    ///
    /// # Errors
    /// The request cannot be written as HTTP, or the user that it is made for is not known.
    pub async fn explain(
        &self,
        request: &ExplainRequest,
    ) -> Result<serde_json::Value, ExplainError> {
        self.operations.explain(request).await
    }

    /// Opens the log files again, after a rotation.
    pub fn reopen_logs(&self) {
        for sink in &self.operations.sinks {
            sink.reopen();
        }
    }

    /// The access log, if it is captured; else empty.
    pub fn access_lines(&self) -> String {
        self.captured.as_ref().map(|(access, _)| access.text()).unwrap_or_default()
    }

    /// The audit log, if it is captured; else empty.
    pub fn audit_lines(&self) -> String {
        self.captured.as_ref().map(|(_, audit)| audit.text()).unwrap_or_default()
    }

    /// Returns when the gateway cannot go on, because a worker thread has ended. The caller should
    /// end the process; a service manager then starts another one.
    pub async fn failed(&self) {
        self.threads.worker_lost().await;
    }

    /// Returns when a successor has taken over the sockets and the store. The caller should drain the
    /// gateway.
    pub async fn taken_over(&self) {
        self.takeover.done.cancelled().await;
    }

    /// How this process speaks to its service manager: as it was started, or as its predecessor was.
    pub fn service(&self) -> Option<&ServiceLink> {
        self.service.as_ref()
    }

    /// Calls `alive` every `period` for as long as all threads make progress, until the gateway has
    /// stopped. For the watchdog of a service manager.
    pub fn while_in_progress(&self, period: Duration, alive: impl Fn() + Send + 'static) {
        let progress = self.operations.progress.clone();
        let stop = self.stop.clone();
        self.threads.background().spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
                if progress.is_made() {
                    alive();
                } else {
                    tracing::error!("a worker thread makes no progress");
                }
            }
        });
    }

    /// Stops the gateway in order: the health path answers 503; then no new connections are
    /// accepted; then the store is given up, so that a successor can have it; then open requests
    /// get a bounded time; then the logs are closed.
    pub async fn drain(self) {
        self.drain_until(std::future::pending()).await;
    }

    /// Stops the gateway in the same order, but waits for nothing any more once `cut` has
    /// completed. A gateway that was taken over tells no load balancer: its addresses are served on.
    pub async fn drain_until(self, cut: impl Future<Output = ()>) {
        let process = self.operations.gateway.generation().config.process.clone();
        let is_taken_over = self.takeover.done.is_cancelled();
        let delay = if is_taken_over { Duration::ZERO } else { process.drain_delay };
        let limit = process.drain_timeout;
        self.operations.gateway.shared.draining.store(!is_taken_over, Ordering::SeqCst);
        // A takeover that is under way ends, and everything that was lent to the successor is here
        // again.
        self.takeover.ending.cancel();
        let orderly = async {
            tokio::time::sleep(delay).await;
            self.operations.listening.drain().start();
            let idle = async {
                self.operations.listening.drain().stopped_accepting().await;
                self.give_up_store().await;
                // The store is given up before open requests are awaited: a download of an hour
                // must not keep the successor from starting. Such a request that needs the store is
                // answered 503.
                self.threads.idle().await;
            };
            if tokio::time::timeout(limit, idle).await.is_err() {
                tracing::warn!(?limit, "requests and tunnels that were still open are cut");
            }
        };
        // When `cut` comes first, the listeners still stop accepting. Requests in progress are cut
        // with the threads.
        tokio::select! {
            () = orderly => {}
            () = cut => self.operations.listening.drain().start(),
        }
        let closing = async {
            self.give_up_store().await;
            self.close_store().await;
        };
        let closing = tokio::time::timeout(CLOSE_WITHIN, closing);
        if closing.await.is_err() {
            tracing::error!("the store does not close: what it was asked for last may be lost");
        }
        // The admin socket is the last to close, so that a successor can see until the end that
        // this gateway drains. After it the logs are closed, since nothing writes to them any more.
        self.stop.cancel();
        for sink in &self.operations.sinks {
            sink.close();
        }
    }

    /// Gives up the store and everything that only one gateway can have or should do: the admin
    /// address, reviews of sessions, the rotation of keys. From now on, requests that need the
    /// store are told to come back in a second. Tokens are still verified, and revocations still
    /// hold. A store that other nodes share is nobody's alone: it is kept to the end, so that what
    /// they revoke ends requests and tunnels that are still open here.
    async fn give_up_store(&self) {
        self.tasks.end_for_good();
        self.operations.probes.close();
        if self.operations.store.shared().is_none() {
            self.close_store().await;
        }
    }

    async fn close_store(&self) {
        self.operations.gateway.shared.store.close().await;
    }
}

/// A disk that does not answer must not keep a process alive that was ordered to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
