//! Carries out the commands of operators on the running gateway.
//!
//! Each command either succeeds as a whole or answers with a status and a sentence. Commands that
//! change something are written to the audit log, with the user who gave them.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::AdminCommand;
use super::operations::{AdminOperations, CommandResult, failed, unknown};
use super::report_only::observed;
use super::sessions::keys_of;
use crate::format::error_chain;
use crate::identity::SessionId;
use crate::login::Login;
use crate::session::RevocationTarget;

impl AdminOperations {
    /// Carries out a command. A command that changes something is audited. The answer is a JSON
    /// object; on failure it has the member `error` with a sentence. A command that fails half-way
    /// says so, and what it has done is audited.
    pub(crate) async fn execute(self: &Arc<Self>, command: AdminCommand) -> (StatusCode, Value) {
        let carried = match command {
            AdminCommand::Status => Ok(self.status().await),
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
            AdminCommand::RevokeKey { kid } => self.revoke_key(&kid).await,
            AdminCommand::ImportKey { key, algorithm } => self.import_key(key, algorithm).await,
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
            AdminCommand::Explain(request) => self.explain_by_command(&request).await,
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

    /// Reads the configuration again and puts it into effect.
    async fn reload_by_command(self: &Arc<Self>) -> CommandResult {
        let conflict = |problem| (StatusCode::CONFLICT, problem);
        let source = self.source.ok_or_else(|| conflict("this gateway has no file".to_owned()))?;
        let operations = self.clone();
        let path = self.gateway.generation().config.path.clone();
        // The reload writes a line of its own, about its outcome; this line says who requested it.
        self.audit("reload", &path.display().to_string());
        let reloading = move || operations.reload(|| source(&path));
        let reloaded = self.gateway.shared.background.block_on_thread(reloading).await;
        let reloaded = reloaded.ok_or_else(|| failed("the reload panicked"))?;
        let answer = reloaded.map(|reloaded| {
            json!({ "waiting_for_restart": reloaded.waiting, "not_in_effect": reloaded.failed })
        });
        answer.map_err(|error| conflict(error_chain(&error)))
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
}
