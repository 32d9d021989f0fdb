//! The password step.

use super::{Call, Done, Login, Refused};
use crate::dialect::{AccountKey, Endpoint, Reason, UserFacts};
use crate::secret::{Digest, SecretString};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::users::{Checked, Name, User, canonical_account};

impl Login {
    /// A password for a session, or for a code that is to follow.
    pub(super) async fn log_in(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        name: &str,
        password: &SecretString,
    ) -> Result<Done, Refused> {
        let name = account_name(endpoint, name);
        let account = self.account(&name).await?;
        let attempt = self.reserve_attempt(call, account).await?;
        let checked = match self.check_password(call, &name, password).await {
            Ok(user) => self.wait_for(endpoint, call, &user).await.map(|wait| (user, wait)),
            Err(refused) => Err(refused),
        };
        let (user, wait) = match checked {
            Ok(checked) => checked,
            Err(refused) => {
                if !is_decision(refused.reason) {
                    self.give_back(call, attempt).await;
                }
                return Err(refused);
            }
        };
        let Some(wait) = wait else {
            self.services.store.attempt_succeeded(attempt, call.now).await?;
            return self.start_session(endpoint, call, &user).await;
        };
        // Not a success yet: the counts of this account stay until the code is right.
        self.give_back(call, attempt).await;
        // Some sources know a name only once its password was right; the code comes after that.
        let account = self.account(&name).await?;
        self.pend(endpoint, call, account, (&user, wait)).await
    }

    async fn check_password(
        &self,
        call: &Call,
        name: &Name,
        password: &SecretString,
    ) -> Result<User, Refused> {
        let users = &self.services.users;
        let checked = users.check(&self.config.users, name, password, call.address_group()).await;
        let (reason, cause) = match checked {
            Ok(Checked::Right { user, rehashed_from }) => {
                if let Some(old) = rehashed_from {
                    // Sessions under the old hash go on: the password is the same.
                    self.services.store.rehashed(&user.id, old, user.version).await?;
                }
                return Ok(*user);
            }
            Ok(Checked::Wrong { disabled: true, .. }) => {
                (Reason::InvalidCredentials, "account disabled")
            }
            Ok(Checked::Wrong { .. }) => (Reason::InvalidCredentials, "wrong password"),
            Ok(Checked::Unknown) => (self.unknown_user(), "unknown user"),
            Err(error) => {
                self.count_login(LoginResult::Unavailable);
                return Err(error.into());
            }
        };
        self.count_login(LoginResult::Failed);
        self.audit(call, AuditEvent::LoginFailed { name: name.as_str(), cause });
        Err(Refused::new(reason, cause))
    }

    /// An unknown user is told from a wrong password only where the dialect has two answers and
    /// the operator lets it.
    fn unknown_user(&self) -> Reason {
        if self.config.dialect.tells_unknown_user && self.config.reveal_unknown_user {
            Reason::UnknownUser
        } else {
            Reason::InvalidCredentials
        }
    }

    /// What attempts are counted for: the user where there is one, else the folded name.
    pub(super) async fn account(&self, name: &Name) -> Result<Digest, Refused> {
        let resolved = self.services.users.resolve(&self.config.users, name).await?;
        Ok(canonical_account(name, resolved.as_ref()))
    }
}

/// True where the credential was looked at and found wrong, so that the try counts.
pub(super) fn is_decision(reason: Reason) -> bool {
    matches!(reason, Reason::InvalidCredentials | Reason::UnknownUser | Reason::CodeInvalid)
}

/// What an endpoint calls a user by.
pub(super) fn account_name(endpoint: &Endpoint, name: &str) -> Name {
    match endpoint.account {
        AccountKey::Username => Name::Username(name.to_owned()),
        AccountKey::Email => Name::Email(name.to_owned()),
    }
}

/// A user as templates see him.
pub(super) fn user_facts(user: &User) -> UserFacts {
    UserFacts {
        id: user.id.to_string(),
        name: user.name.clone(),
        email: user.email.clone(),
        roles: user.roles.clone(),
        scopes: user.scopes.clone(),
        claims: user.claims.clone(),
    }
}
