//! A gateway started in this process: the command line's `run` and every test use it.
//!
//! `start` opens everything in the order that is safe (keys, store, users, sessions compared
//! with their users) and accepts the first connection last. `Running` reloads, drains and tells.

mod announce;
mod background;
mod check;
mod core_dumps;
mod first_user;
mod handover;
mod keys;
mod online;
mod start;
mod state_folder;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::check::check_start;
pub use self::core_dumps::forbid_core_dumps;
pub use self::first_user::{FIRST_PASSWORD, FirstUser};
pub use self::online::{Party, Verdict, ask_network};
pub use self::start::{StartError, start};

use tokio_util::sync::CancellationToken;

pub use crate::admin::ConfigSource;
use crate::admin::Operations;
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::{ReloadError, Reloaded};
use crate::listener::{Address, Descriptors};
use crate::runtime::Threads;
use crate::session::Faults;
use crate::telemetry::log_format::LogFormatSwitch;
use crate::telemetry::sink::Captured;

/// What is not in the configuration.
#[derive(Debug, Default)]
pub struct Options {
    pub clock: Clock,
    /// Start with an empty store although signing keys exist.
    pub new_state: bool,
    /// Keep access and audit lines in memory instead of where `[log]` says.
    pub capture_logs: bool,
    /// Sockets that the process was started with.
    pub descriptors: Descriptors,
    /// Makes the store's disk fail when a test says so.
    pub store_faults: Option<Arc<Faults>>,
    /// How long the start waits for sources that say whether the users of live sessions are as
    /// they were; `None`: ten seconds.
    pub review_for: Option<Duration>,
    /// How to read the configuration again; `None`: it cannot be reloaded.
    pub source: Option<ConfigSource>,
    /// Changes the form of the diagnostics; `None`: a reload leaves it as it is.
    pub log_format: Option<LogFormatSwitch>,
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    threads: Threads,
    operations: Arc<Operations>,
    admin_socket: PathBuf,
    first_user: Option<FirstUser>,
    captured: Option<(Captured, Captured)>,
    stop: CancellationToken,
}

impl Running {
    /// Where clients connect, in the order of the configuration; unix sockets have none.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.operations.listening.addresses().iter().filter_map(Address::tcp).collect()
    }

    /// Where operators connect, if not only on the unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.operations.probes.address()
    }

    /// The operators' unix socket.
    pub fn admin_socket(&self) -> &std::path::Path {
        &self.admin_socket
    }

    /// The user made at this start, if it was the first; once told, nothing here remembers them.
    pub fn take_first_user(&mut self) -> Option<FirstUser> {
        self.first_user.take()
    }

    /// Reads another configuration and puts it to work. Blocks on the disk.
    ///
    /// # Errors
    /// The last good one stays in effect.
    pub fn reload(
        &self,
        read: impl FnOnce() -> Result<Config, String>,
    ) -> Result<Reloaded, ReloadError> {
        self.operations.reload(read)
    }

    /// Opens the log files anew, after a rotation.
    pub fn reopen_logs(&self) {
        for sink in &self.operations.sinks {
            sink.reopen();
        }
    }

    /// Access lines, where they are captured.
    pub fn access_lines(&self) -> String {
        self.captured.as_ref().map(|(access, _)| access.text()).unwrap_or_default()
    }

    /// Audit lines, where they are captured.
    pub fn audit_lines(&self) -> String {
        self.captured.as_ref().map(|(_, audit)| audit.text()).unwrap_or_default()
    }

    /// Returns when the gateway cannot go on by itself.
    pub async fn failed(&self) {
        self.threads.worker_lost().await;
    }

    /// Stops in order: health says 503, then no new connections, then the store is left to a
    /// successor, then a bounded wait for what is open, then the logs are closed.
    pub async fn drain(self) {
        self.drain_until(std::future::pending()).await;
    }

    /// The same, but waits for nothing any more once `cut` returns.
    pub async fn drain_until(self, cut: impl Future<Output = ()>) {
        let process = self.operations.gateway.generation().config.process.clone();
        let (delay, limit) = (process.drain_delay, process.drain_timeout);
        self.operations.gateway.shared.draining.store(true, Ordering::SeqCst);
        let orderly = async {
            tokio::time::sleep(delay).await;
            self.operations.listening.drain().start();
            let idle = async {
                self.operations.listening.drain().stopped_accepting().await;
                self.give_up_store().await;
                self.threads.idle().await;
            };
            if tokio::time::timeout(limit, idle).await.is_err() {
                tracing::warn!(?limit, "requests and tunnels that were still open are cut");
            }
        };
        tokio::select! {
            () = orderly => {}
            () = cut => self.operations.listening.drain().start(),
        }
        let closing = tokio::time::timeout(CLOSE_WITHIN, self.give_up_store());
        if closing.await.is_err() {
            tracing::error!("the store does not close: what it was asked for last may be lost");
        }
        self.stop.cancel();
        for sink in &self.operations.sinks {
            sink.close();
        }
    }

    /// Lets go of the store, and of what only one gateway can have or should do: the admin
    /// address, reviews of sessions, the rotation of keys. From here on whoever needs the store
    /// is told to come back in a second; tokens are verified on, and revocations hold.
    async fn give_up_store(&self) {
        self.operations.given_up.cancel();
        self.operations.gateway.shared.store.close().await;
    }
}

/// A disk that does not answer must not keep a process alive that was told to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
