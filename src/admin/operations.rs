//! The commands of operators, carried out on the running gateway.
//!
//! Each command either succeeds as a whole or answers with a status and a sentence. Commands that
//! change something are written to the audit log, with the user who gave them. Requests are parsed
//! by `api` and received by `serve`; who may connect is decided by the socket's permissions.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::reload::ProbeListener;
use super::report_only::observed;
use super::sessions::keys_of;
use super::{AdminCommand, ReadinessReport, upstreams};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::format::error_chain;
use crate::gateway::Gateway;
use crate::identity::SessionId;
use crate::listener::{ConnectionEvent, HandshakeFailure, ListenerStats, RunningListeners};
use crate::login::Login;
use crate::session::{EmbeddedStore, RevocationTarget};
use crate::telemetry::audit::{AuditActor, AuditEvent};
use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::log_format::LogFormatSwitch;
use crate::telemetry::metrics::Gauges;
use crate::token::{KeyEvent, KeyState};
use crate::upstream::ServerCondition;
use crate::users::{LoginName, UserKey};

/// A function that reads the configuration again.
pub type ConfigSource = fn(&std::path::Path) -> Result<Config, String>;

/// The running gateway as its operators see it. A copy is made for each connection, with its
/// operator. Everything in it is shared, so a copy costs little.
#[derive(Clone, Debug)]
pub(crate) struct AdminOperations {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) listening: Arc<RunningListeners>,
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) source: Option<ConfigSource>,
    /// The sinks of the access log and of the audit log.
    pub(crate) sinks: [LineWriter; 2],
    pub(crate) log_format: Option<LogFormatSwitch>,
    pub(crate) probes: Arc<ProbeListener>,
    /// Cancelled together with the store. From then on the successor does the work that needs no
    /// request.
    pub(crate) given_up: CancellationToken,
    /// The system user for whom commands are carried out; `None` for the gateway itself.
    pub(crate) operator: Option<u32>,
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
    /// Carries out a command. A command that changes something is audited. The answer is a JSON
    /// object; on failure it has the member `error` with a sentence. A command that fails half-way
    /// says so, and what it has done is audited.
    pub(crate) async fn execute(self: &Arc<Self>, command: AdminCommand) -> (StatusCode, Value) {
        let carried = match command {
            AdminCommand::Status => Ok(self.status()),
            AdminCommand::Observed => Ok(observed(&self.gateway.shared.observed)),
            AdminCommand::ForgetObserved => {
                self.gateway.shared.observed.forget();
                self.audit("observe --forget", "all");
                Ok(json!({}))
            }
            AdminCommand::ListSessions { user, source } => self.list_sessions(user, source).await,
            AdminCommand::RevokeSession { id } => {
                self.revoke(RevocationTarget::Session(id), &id.to_string()).await
            }
            AdminCommand::RevokeUser { user, source } => {
                self.revoke_user(&user, source.as_deref()).await
            }
            AdminCommand::RevokeAll => self.revoke(RevocationTarget::All, "all").await,
            AdminCommand::Reload => self.reload_by_command().await,
            AdminCommand::ListKeys => Ok(self.keys()),
            AdminCommand::RotateKeys { algorithm } => self.rotate_keys(algorithm).await,
            AdminCommand::RevokeKey { kid } => self.revoke_key(kid).await,
            AdminCommand::ImportKey { key, algorithm } => {
                let ring = self.gateway.shared.ring.clone();
                let now = self.gateway.shared.clock.now();
                let algorithm = algorithm_of(algorithm);
                match algorithm {
                    Ok(algorithm) => {
                        self.change_keys(move || ring.import(key.expose(), algorithm, now)).await
                    }
                    Err(error) => Err(error),
                }
            }
            AdminCommand::LiftLimits { name } => self.lift_limits(name).await,
            AdminCommand::MintToken { user, login } => self.mint(&user, &login).await,
            AdminCommand::MakeTotp { user, source, replace } => {
                self.make_totp(&user, source.as_deref(), replace).await
            }
            AdminCommand::RemoveTotp { user, source } => {
                self.remove_totp(&user, source.as_deref()).await
            }
            AdminCommand::ListApiKeys => self.list_api_keys(),
            AdminCommand::RevokeApiKey { id } => self.revoke_api_key(&id).await,
            AdminCommand::ListImported => self.list_imported().await,
            AdminCommand::Backup { path } => match self.store.backup(&path).await {
                Ok(()) => {
                    self.audit("backup", &path.display().to_string());
                    Ok(json!({ "path": path }))
                }
                Err(error) => Err(failed(error_chain(&error))),
            },
        };
        match carried {
            Ok(answer) => (StatusCode::OK, answer),
            Err((status, problem)) => (status, json!({ "error": problem })),
        }
    }

    /// Ends sessions in the store, and then their streams. The streams of a single session end even
    /// if the store does not answer. The number of ended sessions is the answer.
    pub(super) async fn revoke(&self, what: RevocationTarget, target: &str) -> CommandResult {
        let shared = &self.gateway.shared;
        let single = match &what {
            RevocationTarget::Session(id) => Some(*id),
            _ => None,
        };
        let revoked = shared.store.revoke(what, shared.clock.now()).await;
        let ended = revoked.as_deref().unwrap_or(single.as_slice());
        for session in ended {
            shared.cancellations.streams.end(*session);
        }
        self.audit("revoke", target);
        let ended = revoked.map_err(failed)?;
        Ok(json!({ "ended": ended.len() }))
    }

    /// Reads the configuration again and puts it into effect.
    async fn reload_by_command(self: &Arc<Self>) -> CommandResult {
        let conflict = |problem| (StatusCode::CONFLICT, problem);
        let source = self.source.ok_or_else(|| conflict("this gateway has no file".to_owned()))?;
        let operations = self.clone();
        let path = self.gateway.generation().config.path.clone();
        // The reload writes a line of its own, about its outcome; this line says who asked for it.
        self.audit("reload", &path.display().to_string());
        let reloading = move || operations.reload(|| source(&path));
        let reloaded = self.gateway.shared.background.block_on_thread(reloading).await;
        let reloaded = reloaded.ok_or_else(|| failed("the reload panicked"))?;
        let answer = reloaded.map(|reloaded| json!({ "waiting_for_restart": reloaded.waiting }));
        answer.map_err(|error| conflict(error_chain(&error)))
    }

    /// The public facts about each key of the ring.
    fn keys(&self) -> Value {
        let keys = self.gateway.shared.ring.list();
        let listed = keys.iter().map(|key| {
            json!({
                "kid": &*key.kid,
                "algorithm": key.algorithm.as_str(),
                "state": match key.state {
                    KeyState::Pending => "pending",
                    KeyState::Signing => "signing",
                    KeyState::Retired => "retired",
                },
                "created": key.created.to_string(),
                "signs_from": key.signs_from.to_string(),
            })
        });
        json!({ "keys": listed.collect::<Vec<_>>() })
    }

    async fn rotate_keys(&self, algorithm: Option<String>) -> CommandResult {
        let algorithm = algorithm_of(algorithm)?;
        let ring = self.gateway.shared.ring.clone();
        let now = self.gateway.shared.clock.now();
        self.change_keys(move || ring.rotate(algorithm, now)).await
    }

    async fn revoke_key(&self, kid: String) -> CommandResult {
        let ring = self.gateway.shared.ring.clone();
        let now = self.gateway.shared.clock.now();
        self.change_keys(move || ring.revoke(&kid, now)).await
    }

    /// Changes the key ring on a thread that may block, audits each step, and answers with the new
    /// list. Keys are written to disk, so the change must not run on a worker.
    async fn change_keys<F>(&self, change: F) -> CommandResult
    where
        F: FnOnce() -> Result<Vec<KeyEvent>, crate::token::KeyError> + Send + 'static,
    {
        let changed = self.gateway.shared.background.block_on_thread(change).await;
        let changed = changed.ok_or_else(|| failed("the key ring could not be changed"))?;
        for event in changed.map_err(|error| (StatusCode::CONFLICT, error_chain(&error)))? {
            self.audit_key(&event);
        }
        Ok(self.keys())
    }

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

    /// Issues a token for a user without a password, for tests by operators. It is audited.
    async fn mint(&self, user: &str, login: &str) -> CommandResult {
        let generation = self.gateway.generation();
        let settings = generation.config.logins.iter().find(|one| one.name == login);
        let settings = settings.ok_or_else(|| unknown(&format!("login `{login}`")))?;
        let login = Arc::new(Login {
            config: settings.clone(),
            services: generation.services.clone(),
            verifier: generation.verifier.clone(),
        });
        let users = match (self.named(&settings.users, user).await?, SessionId::parse(user)) {
            (Some(user), _) => vec![user],
            (None, Some(_)) => keys_of(&settings.users, user),
            (None, None) => return Err(unknown(&format!("user `{user}`"))),
        };
        let minted = login.mint(&users, user, self.gateway.shared.clock.now()).await;
        let minted = minted.map_err(|refused| failed(refused.cause))?;
        self.audit("mint", user);
        Ok(minted)
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

    /// The state that the readiness report shows. It is computed anew for every probe from what the
    /// parts remember; no other server is asked.
    pub(crate) fn readiness(&self) -> ReadinessReport {
        let shared = &self.gateway.shared;
        let draining = shared.draining.load(std::sync::atomic::Ordering::Relaxed);
        let generation = self.gateway.generation();
        let users = generation.services.users.sources();
        let users = users.iter().filter_map(|source| source.problem());
        let users = users.map(|problem| format!("users: {problem}"));
        let issuers = generation.verifier.remote_issuers(shared.clock.now());
        let unverified = generation.unverified_upstreams();
        let unverified =
            unverified.map(|name| format!("upstream {name} may be anybody: insecure_skip_verify"));
        // Only these three checks make a gateway unready. Everything else is a note, because it
        // would be the same on every other gateway or can wait for an operator.
        ReadinessReport {
            checks: vec![
                ("draining", if draining { Err("draining".to_owned()) } else { Ok(()) }),
                ("store", shared.store.healthy().map_err(|error| error.to_string())),
                ("keys", self.keys_ready()),
            ],
            notes: users
                .chain(issuers.into_iter().filter_map(|issuer| issuer.problem))
                .chain(upstreams::notes(&generation))
                .chain(self.ending_certificates())
                .chain(self.unread_certificates())
                .chain(self.store.notes())
                .chain(unverified)
                .chain(shared.metrics.note())
                .chain(self.gateway.reload_notes())
                .collect(),
            upstreams: upstreams::problems(&generation),
        }
    }

    fn keys_ready(&self) -> Result<(), String> {
        let signing =
            self.gateway.shared.ring.list().iter().any(|key| key.state == KeyState::Signing);
        signing.then_some(()).ok_or_else(|| "no key signs".to_owned())
    }

    /// The values of the gauges at this moment. They are read from the parts where they live and
    /// are not kept here. A scrape of the metrics and the status both ask for them.
    pub(crate) fn gauges(&self) -> Gauges {
        let shared = &self.gateway.shared;
        let generation = self.gateway.generation();
        let weak = shared.hashing.weak_logins().into_iter();
        let stats = self.listening.stats();
        let counted = |what| stats.iter().map(|one| one.count(what)).sum::<u64>();
        let refused = [ConnectionEvent::RefusedFull, ConnectionEvent::RefusedAddress];
        let failed = HandshakeFailure::ALL
            .iter()
            .flat_map(|why| stats.iter().map(|one| one.handshake_failures(*why)));
        Gauges {
            connections: stats.iter().map(ListenerStats::open).sum(),
            refused_connections: refused.iter().map(|what| counted(*what)).sum(),
            handshake_failures: failed.sum(),
            upstreams: upstreams::gauges(&generation),
            upstream_states: &ServerCondition::NAMES,
            retries: upstreams::retries(&generation),
            queues: upstreams::queues(&generation),
            unverified_upstreams: generation.unverified_upstreams().map(str::to_owned).collect(),
            streams: shared.cancellations.streams.open(),
            revocations: shared.store.revocations().len(),
            verified_tokens: generation.verifier.remembered(),
            throttled: generation.throttle.len(),
            body_memory: shared.bodies.used(),
            hashing_waiting: shared.hashing.waiting(),
            weak_logins: weak.map(|(scheme, count)| (scheme.as_str(), count)).collect(),
            log_lines_dropped: shared.access.dropped() + shared.audit.dropped(),
            store_up: shared.store.healthy().is_ok(),
            draining: shared.draining.load(std::sync::atomic::Ordering::Relaxed),
            certificates_not_after: self.certificates(),
            certificates_current: self.certificates_current(),
            issuers: generation
                .verifier
                .remote_issuers(shared.clock.now())
                .into_iter()
                .map(|one| {
                    (one.name.to_string(), one.is_opaque, one.succeeded, one.failed, one.fetched)
                })
                .collect(),
        }
    }

    /// Sentences about certificates that end soon; the log says so once a day.
    fn ending_certificates(&self) -> Vec<String> {
        self.listening
            .certificates()
            .iter()
            .flat_map(|certificates| certificates.problems())
            .collect()
    }

    /// Sentences about listeners whose certificate files cannot be served any more.
    fn unread_certificates(&self) -> Vec<String> {
        let certificates = self.listening.certificates();
        let notes = certificates.iter().filter_map(|one| {
            let listener = one.listener();
            let cause = one.failure()?;
            Some(format!("listener {listener} serves its certificates of before: {cause}"))
        });
        notes.collect()
    }

    /// Each listener with certificates, and whether those in its files are the ones that are
    /// served.
    fn certificates_current(&self) -> Vec<(String, bool)> {
        let certificates = self.listening.certificates();
        let pairs = certificates.iter();
        pairs.map(|one| (one.listener().to_owned(), one.failure().is_none())).collect()
    }

    /// The end of each certificate, by the file of its chain.
    fn certificates(&self) -> Vec<(String, Timestamp)> {
        let certificates = self.listening.certificates();
        let facts = certificates.iter().flat_map(|served| served.facts());
        facts.map(|fact| (fact.chain.display().to_string(), fact.not_after)).collect()
    }
}

fn algorithm_of(name: Option<String>) -> Result<Option<Algorithm>, (StatusCode, String)> {
    match name {
        Some(name) => match Algorithm::parse(&name) {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err((StatusCode::BAD_REQUEST, format!("`{name}` is no algorithm we know"))),
        },
        None => Ok(None),
    }
}
