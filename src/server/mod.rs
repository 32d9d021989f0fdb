//! A gateway started in this process: the command line's `run` and every test use it.
//!
//! `start` opens everything in the order that is safe (keys, store, users, sessions compared
//! with their users) and accepts the first connection last. `Running` reloads, drains and tells.

mod background;
mod keys;
mod start;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::keys::check_keys;
pub use self::start::{StartError, check_users, start};

use tokio_util::sync::CancellationToken;

pub use crate::admin::ConfigSource;
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::{Gateway, ReloadError};
use crate::listener::{Address, Descriptors, Listening};
use crate::runtime::Threads;
use crate::secret::SecretString;
use crate::session::Faults;
use crate::telemetry::sink::{Captured, Sink};

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
    /// How to read the configuration again; `None`: it cannot be reloaded.
    pub source: Option<ConfigSource>,
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    threads: Threads,
    gateway: Arc<Gateway>,
    listening: Arc<Listening>,
    admin: Option<SocketAddr>,
    admin_socket: PathBuf,
    first_user: Option<FirstUser>,
    captured: Option<(Captured, Captured)>,
    sinks: [Sink; 2],
    drain: (Duration, Duration),
    stop: CancellationToken,
}

/// The user made at first start.
#[derive(Debug, Clone)]
pub struct FirstUser {
    pub name: String,
    pub email: String,
    pub password: SecretString,
}

impl Running {
    /// Where clients connect, in the order of the configuration; unix sockets have none.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listening.addresses().iter().filter_map(Address::tcp).collect()
    }

    /// Where operators connect, if not only on the unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The operators' unix socket.
    pub fn admin_socket(&self) -> &std::path::Path {
        &self.admin_socket
    }

    /// The user made at this start, if it was the first.
    pub fn first_user(&self) -> Option<&FirstUser> {
        self.first_user.as_ref()
    }

    /// Reads another configuration and puts it to work. Blocks on the disk.
    ///
    /// # Errors
    /// The last good one stays in effect.
    pub fn reload(&self, read: impl FnOnce() -> Result<Config, String>) -> Result<(), ReloadError> {
        self.gateway.reload(read)
    }

    /// Opens the log files anew, after a rotation.
    pub fn reopen_logs(&self) {
        for sink in &self.sinks {
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

    /// Stops in order: health says 503, then no new connections, then a bounded wait for what is
    /// open, then the store and the logs are closed.
    pub async fn drain(self) {
        let (delay, limit) = self.drain;
        self.gateway.shared.draining.store(true, Ordering::SeqCst);
        tokio::time::sleep(delay).await;
        self.listening.drain().start();
        let idle = async {
            self.listening.drain().stopped_accepting().await;
            self.threads.idle().await;
        };
        if tokio::time::timeout(limit, idle).await.is_err() {
            tracing::warn!(?limit, "requests and tunnels that were still open are cut");
        }
        self.stop.cancel();
        self.gateway.shared.store.close().await;
        for sink in &self.sinks {
            sink.close();
        }
        let _ = std::fs::remove_file(&self.admin_socket);
    }
}
