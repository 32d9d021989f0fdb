//! The running gateway as its operators see it, and what all their commands share: the usual
//! refusals, the look-up of a user, and the audit log.
//!
//! The commands themselves are in files by subject and are called by `execute`. Requests are parsed
//! by `api` and received by `serve`; who may connect is decided by the socket's permissions.

use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;

use super::probe_listener::ProbeListener;
use super::socket_access::AccessChanges;
use super::takeover_door::TakeoverDoor;
use crate::gateway::Gateway;
use crate::listener::RunningListeners;
use crate::runtime::WorkerProgress;
use crate::session::OpenedStore;
use crate::settings::Config;
use crate::telemetry::audit::{AuditActor, AuditEvent};
use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::log_format::LogFormatSwitch;
use crate::token::{KeyEvent, SigningKeys};
use crate::users::{LoginName, UserKey};

/// A function that reads the configuration again.
pub type ConfigSource = fn(&std::path::Path) -> Result<Config, String>;

/// The running gateway as its operators see it. A copy is made for each connection, with its
/// operator. Everything in it is shared, so a copy costs little.
#[derive(Clone, Debug)]
pub(crate) struct AdminOperations {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) listening: Arc<RunningListeners>,
    pub(crate) store: OpenedStore,
    pub(crate) signing_keys: Arc<SigningKeys>,
    pub(crate) source: Option<ConfigSource>,
    /// The sinks of the access log and of the audit log.
    pub(crate) sinks: [LineWriter; 2],
    pub(crate) progress: Arc<WorkerProgress>,
    pub(crate) log_format: Option<LogFormatSwitch>,
    pub(crate) probes: Arc<ProbeListener>,
    pub(crate) access: Arc<AccessChanges>,
    pub(crate) unapplied: Arc<Mutex<UnappliedParts>>,
    /// Where successors arrive.
    pub(crate) takeovers: TakeoverDoor,
    /// The system user for whom commands are carried out; `None` for the gateway itself.
    pub(crate) operator: Option<u32>,
}

/// The parts of the configuration in effect that the system refused at the last reload.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnappliedParts {
    /// The group and the mode of the admin socket.
    pub(super) access: bool,
    /// The listener for probes.
    pub(super) probes: bool,
}

/// The result of a command: its answer, or a status and a sentence. The status is the one that the
/// client of the admin socket gets. `failed` and `unknown` make the usual ones.
pub(super) type CommandResult = Result<Value, (StatusCode, String)>;

pub(super) fn failed(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

pub(super) fn unknown(what: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("{what} is not known"))
}

impl AdminOperations {
    /// Writes a change of a key to the audit log; a failure goes to the diagnostics.
    pub(crate) fn audit_key(&self, event: &KeyEvent) {
        let (action, kid, algorithm) = match event {
            KeyEvent::Added { kid, algorithm, .. } => ("added", kid, algorithm),
            KeyEvent::Signs { kid, algorithm } => ("signs", kid, algorithm),
            KeyEvent::Removed { kid, algorithm } => ("removed", kid, algorithm),
            KeyEvent::Failed { cause } => {
                tracing::error!(%cause, "signing keys could not be maintained");
                return;
            }
        };
        self.write(&AuditEvent::Key { action, kid, algorithm: algorithm.as_str() });
    }

    /// The user with this name, or with this e-mail address, in one of the sources.
    pub(super) async fn named(
        &self,
        sources: &[String],
        user: &str,
    ) -> Result<Option<UserKey>, (StatusCode, String)> {
        let users = &self.gateway.generation().services.users;
        for name in [LoginName::Username(user.to_owned()), LoginName::Email(user.to_owned())] {
            if let Some(user) = users.resolve(sources, &name).await.map_err(failed)? {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }

    pub(super) fn audit(&self, action: &str, target: &str) {
        self.write(&AuditEvent::Admin { action, target });
    }

    fn write(&self, event: &AuditEvent<'_>) {
        let shared = &self.gateway.shared;
        let operator = self.operator;
        let actor = AuditActor { address: None, request_id: "-", login: "-", operator };
        shared.audit.write(shared.clock.now(), &actor, event);
    }
}
