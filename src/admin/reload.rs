//! A whole reload: the generation, and everything beside it that a configuration describes.
//!
//! Sockets, certificates, log files, threads and keys are prepared first, and each of these may
//! fail. Only then does the gateway swap the generation, and the prepared parts are put into
//! effect. `gateway::reload` calls the two steps in this order.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::TcpDoor;
use super::operations::{AdminOperations, UnappliedParts};
use super::socket_access::{close_entries, may_give_to};
use crate::gateway::{Commit, ReloadError, Reloaded, key_options, longest_access};
use crate::settings::{Config, LogTarget};
use crate::telemetry::line_writer::{LineWriter, LogOutput};

/// Wraps the error of a part that is not in the generation.
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
        source: io::Error,
    },

    #[error("[admin] socket: the gateway's user has to be a member of the group `{group}`")]
    AdminGroup { group: String },

    #[error("[admin] socket: its group would reach more than the socket")]
    AdminEntries(#[source] io::Error),

    #[error("[login_limits] hashing: the threads cannot be started")]
    Threads(#[source] io::Error),
}

impl AdminOperations {
    /// Reads another configuration and puts it into effect. Blocks on the disk and on the first
    /// health checks of new servers.
    ///
    /// # Errors
    /// If anything fails; the last good configuration stays in effect.
    pub(crate) fn reload(
        self: &Arc<Self>,
        read: impl FnOnce() -> Result<Config, String>,
    ) -> Result<Reloaded, ReloadError> {
        let reloaded = self.gateway.reload(read, |last, next| self.prepare(last, next))?;
        // The configuration names the same files as before, perhaps, and they have other contents.
        self.listening.renew_all();
        Ok(reloaded)
    }

    /// Opens everything that `next` needs in addition. Nothing that is served changes before the
    /// commit. The returned closure puts it into effect. Two of its steps may fail, the last ones:
    /// the admin socket's group and mode, and the probe listener. They concern operators only; the
    /// answer to the reload names those that failed, and the next reload tries them again.
    fn prepare(self: &Arc<Self>, last: &Config, next: &Config) -> Result<Commit, ReloadError> {
        let outputs = [
            open_log("access", &last.log.access, &next.log.access)?,
            open_log("audit", &last.log.audit, &next.log.audit)?,
        ];
        let retry = *self.unapplied.lock();
        let has_other_access = retry.access || last.admin.socket != next.admin.socket;
        let access = has_other_access.then(|| next.admin.socket.clone());
        if let Some(group) = next.admin.socket.group.as_ref().filter(|group| !may_give_to(group)) {
            return Err(failed(Refused::AdminGroup { group: group.name.clone() }));
        }
        if next.admin.socket.group.is_some() {
            let closed = close_entries(&next.state.dir);
            closed.map_err(|source| failed(Refused::AdminEntries(source)))?;
        }
        // A probe listener whose address stays is kept as it is, without a gap.
        let is_moved = last.admin.address != next.admin.address;
        let ours: Vec<u16> = self.probes.address().iter().map(SocketAddr::port).collect();
        let door = (is_moved || retry.probes).then(|| TcpDoor::bind(next, &ours));
        let door = match door {
            Some(Err(error)) if is_moved => return Err(failed(error)),
            // Another program may have taken an address that an earlier reload was refused. That
            // must not keep this reload, which may be urgent, from taking effect.
            door => door.map(|bound| bound.map_err(io::Error::other)),
        };
        let shared = &self.gateway.shared;
        let hashing = &next.login_limits.hashing;
        let size = shared.hashing.prepare(hashing.parallel, hashing.queue);
        let size = size.map_err(|source| failed(Refused::Threads(source)))?;
        // Clients can connect to a new socket from here on. They are cut if the keys fail.
        let listeners = self.listening.prepare(&next.listeners).map_err(failed)?;
        // The signing keys come last of everything that may fail: from here on, new keys are
        // published.
        let options = key_options(next, shared.clock.now());
        let keys = self.signing_keys.reconfigure(options).map_err(failed)?;
        let operations = self.clone();
        let next = next.clone();
        Ok(Box::new(move || {
            keys.iter().for_each(|event| operations.audit_key(event));
            operations.apply(&next, outputs);
            size.apply();
            operations.listening.apply(listeners);
            let access = access.map(|it| operations.access.change(&next.state.dir, &it));
            let probes = door.map(|door| operations.serve_probes(door?));
            operations.report_unapplied(access.and_then(Result::err), probes.and_then(Result::err))
        }))
    }

    /// Records which of the two steps failed, for the next reload, and says so in sentences.
    fn report_unapplied(
        &self,
        access: Option<io::Error>,
        probes: Option<io::Error>,
    ) -> Vec<String> {
        let unapplied = UnappliedParts { access: access.is_some(), probes: probes.is_some() };
        *self.unapplied.lock() = unapplied;
        let access = access.map(|error| format!("[admin] socket: its group and mode: {error}"));
        let probes = probes.map(|error| format!("[admin] address: probes: {error}"));
        access.into_iter().chain(probes).collect()
    }

    /// Puts the values into effect that cannot fail.
    fn apply(&self, next: &Config, outputs: [Option<LogOutput>; 2]) {
        let shared = &self.gateway.shared;
        shared.bodies.set_limit(next.process.body_memory);
        shared.seen_signatures.reconfigure(next);
        shared.store.set_lifetimes(next.token.leeway, longest_access(next));
        for (sink, output) in self.sinks.iter().zip(outputs) {
            if let Some(output) = output {
                LineWriter::switch(sink, output);
            }
        }
        if let Some(switch) = &self.log_format {
            switch.change(next.log.format);
        }
    }
}

/// The output that lines go to from now on, if it is another one than before. The file is created
/// now, so that a missing folder fails the reload and not the switch.
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
