//! A reload as a whole: the generation, and everything beside it that a configuration describes.
//!
//! Sockets, certificates, log files, threads and keys are opened first, each of which may fail;
//! only then the gateway takes the new generation, and what was opened is put to work.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::socket_access::{self, may_give_to};
use super::{Operations, TcpDoor};
use crate::config::{Config, LogTarget};
use crate::gateway::{Commit, ReloadError, Reloaded, key_options, longest_access};
use crate::telemetry::sink::{LogOutput, Sink};

/// The operators' TCP listener of the configuration in effect, if it has one.
#[derive(Debug, Default)]
pub(crate) struct ProbeListener(Mutex<Option<OpenListener>>);

#[derive(Debug)]
struct OpenListener {
    address: Option<SocketAddr>,
    stop: CancellationToken,
}

impl ProbeListener {
    /// Where probes are answered.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.address
    }

    /// Answers probes at `door` from now on, and nowhere else.
    pub(crate) fn replace(
        &self,
        door: Option<TcpDoor>,
        operations: &Arc<Operations>,
    ) -> std::io::Result<()> {
        let opened = match door {
            Some(door) => {
                let stop = operations.given_up.child_token();
                let address = door.address();
                door.serve(operations, &stop)?;
                Some(OpenListener { address, stop })
            }
            None => None,
        };
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = std::mem::replace(&mut *current, opened) {
            last.stop.cancel();
        }
        Ok(())
    }
}

/// An error of a part that the generation does not hold.
fn failed(error: impl Error + Send + Sync + 'static) -> ReloadError {
    ReloadError::Prepare(Box::new(error))
}

/// A part that the system refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("[log] {name}: `{path}` cannot be written")]
    Log {
        name: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },

    #[error("[admin] socket: the gateway's user has to be a member of the group `{group}`")]
    AdminGroup { group: String },

    #[error("[login_limits] hashing: the threads cannot be started")]
    Threads(#[source] std::io::Error),
}

impl Operations {
    /// Reads another configuration and puts it to work. Blocks on the disk and on the first checks
    /// of new servers.
    ///
    /// # Errors
    /// The last good one stays in effect.
    pub(crate) fn reload(
        self: &Arc<Self>,
        read: impl FnOnce() -> Result<Config, String>,
    ) -> Result<Reloaded, ReloadError> {
        self.gateway.reload(read, |last, next| self.prepare(last, next))
    }

    /// Opens what `next` needs. Nothing that is served changes before the commit.
    fn prepare(self: &Arc<Self>, last: &Config, next: &Config) -> Result<Commit, ReloadError> {
        let outputs = [
            open_log("access", &last.log.access, &next.log.access)?,
            open_log("audit", &last.log.audit, &next.log.audit)?,
        ];
        let access = (last.admin.socket != next.admin.socket).then(|| next.admin.socket.clone());
        if let Some(group) = next.admin.socket.group.as_ref().filter(|group| !may_give_to(group)) {
            return Err(failed(Refused::AdminGroup { group: group.name.clone() }));
        }
        let is_moved = last.admin.address != next.admin.address;
        let ours: Vec<u16> = self.probes.address().iter().map(SocketAddr::port).collect();
        let door = if is_moved { TcpDoor::bind(next, &ours).map_err(failed)? } else { None };
        let listeners = self.listening.prepare(&next.listeners).map_err(failed)?;
        let shared = &self.gateway.shared;
        let hashing = &next.login_limits.hashing;
        let resized = shared.hashing.resize(hashing.parallel, hashing.queue);
        resized.map_err(|source| failed(Refused::Threads(source)))?;
        // Last of all that may fail: new keys are published from here on.
        let ring =
            shared.ring.reconfigure(key_options(next, shared.clock.now())).map_err(failed)?;
        let (operations, next) = (self.clone(), next.clone());
        Ok(Box::new(move || {
            ring.iter().for_each(|event| operations.audit_key(event));
            operations.apply(&next, outputs);
            operations.listening.apply(listeners);
            if let Some(access) = access
                && let Err(error) = socket_access::change(&next.state.dir, &access)
            {
                tracing::error!(%error, "the admin socket cannot be given the group and mode that [admin] socket says");
            }
            if is_moved && let Err(error) = operations.probes.replace(door, &operations) {
                tracing::error!(%error, "probes are not answered at the new admin address");
            }
        }))
    }

    fn apply(&self, next: &Config, outputs: [Option<LogOutput>; 2]) {
        let shared = &self.gateway.shared;
        shared.bodies.set_limit(next.process.body_memory);
        self.store.set_lifetimes(next.token.leeway, longest_access(next));
        for (sink, output) in self.sinks.iter().zip(outputs) {
            if let Some(output) = output {
                Sink::switch(sink, output);
            }
        }
        if let Some(switch) = &self.log_format {
            switch.change(next.log.format);
        }
    }
}

/// The place that lines go to from now on, if it is another one.
fn open_log(
    name: &'static str,
    last: &LogTarget,
    next: &LogTarget,
) -> Result<Option<LogOutput>, ReloadError> {
    if last == next {
        return Ok(None);
    }
    let path = match next {
        LogTarget::File(path) => path.display().to_string(),
        LogTarget::Off | LogTarget::Stdout | LogTarget::Stderr => String::new(),
    };
    let opened = LogOutput::open(next);
    opened.map(Some).map_err(|source| failed(Refused::Log { name, path, source }))
}
