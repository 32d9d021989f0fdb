//! The password step, and the code that may follow it.

use super::code::{code_digest, new_code};
use super::{Call, Done, Login, Refused};
use crate::dialect::{AccountKey, Endpoint, Reason, SecondStep, UserFacts, serve};
use crate::secret::{Digest, SecretString};
use crate::session::{Attempt, Code, CodeGuess, CodeVerdict, PutCode};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::users::{Checked, Name, User, canonical_account};

impl Login {
    /// A password for a session, or for a code on its way.
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
        let user = match self.check_password(call, &name, password).await {
            Ok(user) => user,
            Err(refused) => {
                if !is_decision(refused.reason) {
                    self.give_back(call, attempt).await;
                }
                return Err(refused);
            }
        };
        match endpoint.second_step {
            SecondStep::None => {
                self.services.store.attempt_succeeded(attempt, call.now).await?;
                self.start_session(endpoint, call, &user).await
            }
            SecondStep::Mail => {
                // Not a success yet: the counts of this account stay until the code is right.
                self.give_back(call, attempt).await;
                self.send_code(endpoint, call, account, &user).await
            }
        }
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
    async fn account(&self, name: &Name) -> Result<Digest, Refused> {
        let resolved = self.services.users.resolve(&self.config.users, name).await?;
        Ok(canonical_account(name, resolved.as_ref()))
    }

    async fn send_code(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        account: Digest,
        user: &User,
    ) -> Result<Done, Refused> {
        let Some(mailer) = &self.services.mailer else {
            return Err(Refused::new(Reason::Unavailable, "no [mail] is configured"));
        };
        let Some(address) = &user.email else {
            return Err(Refused::new(Reason::Unavailable, "the user has no e-mail address"));
        };
        let store = &self.services.store;
        let (key, code) = (self.code_key(account), new_code());
        let kept = store
            .put_code(
                Code {
                    key,
                    code: code_digest(store.secret(), &key, &code),
                    subject: user.id.clone(),
                    username: user.name.clone(),
                    source: user.source.clone(),
                    user_version: user.version,
                    expires: call.now.plus(mailer.code_ttl()),
                    address: call.address_group(),
                },
                mailer.per_hour(),
                call.now,
            )
            .await?;
        if let PutCode::TooMany { retry_after } = kept {
            self.count_login(LoginResult::Limited);
            return Err(Refused {
                retry_after: Some(retry_after),
                ..Refused::new(Reason::TooManyAttempts, "too many codes in an hour")
            });
        }
        mailer.send(address, &user.name, &code).await?;
        self.audit(call, AuditEvent::CodeSent { subject: &user.id });
        let mut facts = self.facts(call.now);
        facts.user = Some(user_facts(user));
        let reply = endpoint.pending_reply.as_ref().unwrap_or(&endpoint.reply);
        Ok(Done {
            answer: serve::render(reply, &facts, &self.config.dialect),
            subject: Some(user.id.to_string()),
            session: None,
        })
    }

    /// A code for the session that the password prepared. Every failure is answered alike.
    pub(super) async fn verify_code(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        name: &str,
        code: &SecretString,
    ) -> Result<Done, Refused> {
        let name = account_name(endpoint, name);
        let account = self.account(&name).await?;
        let attempt = self.reserve_attempt(call, account).await?;
        let user = self.redeem_code(call, account, code).await;
        let user = match user {
            Ok(user) => user,
            Err(refused) => {
                if !is_decision(refused.reason) {
                    self.give_back(call, attempt).await;
                }
                return Err(refused);
            }
        };
        self.finish_code(endpoint, call, attempt, &user).await
    }

    async fn finish_code(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        attempt: Attempt,
        user: &User,
    ) -> Result<Done, Refused> {
        self.services.store.attempt_succeeded(attempt, call.now).await?;
        self.start_session(endpoint, call, user).await
    }

    async fn redeem_code(
        &self,
        call: &Call,
        account: Digest,
        code: &SecretString,
    ) -> Result<User, Refused> {
        let store = &self.services.store;
        let key = self.code_key(account);
        let guess = CodeGuess {
            key,
            code: code_digest(store.secret(), &key, code),
            address: call.address_group(),
        };
        let cause = match store.use_code(guess, call.now).await? {
            CodeVerdict::Right(held) => {
                let user =
                    self.services.users.find(&held.source, &held.subject, &held.username).await?;
                match user.filter(|user| user.version == held.user_version) {
                    Some(user) => return Ok(user),
                    None => "the user changed since the code was sent",
                }
            }
            CodeVerdict::Wrong => "wrong code",
            CodeVerdict::Gone => "no code is waiting",
        };
        self.count_login(LoginResult::Failed);
        self.audit(call, AuditEvent::CodeRefused { account: &account, cause });
        Err(Refused::new(Reason::CodeInvalid, cause))
    }

    fn code_key(&self, account: Digest) -> Digest {
        Digest::of_list(&[self.config.name.as_bytes(), &account.0])
    }
}

/// True where the credential was looked at and found wrong, so that the try counts.
fn is_decision(reason: Reason) -> bool {
    matches!(reason, Reason::InvalidCredentials | Reason::UnknownUser | Reason::CodeInvalid)
}

fn account_name(endpoint: &Endpoint, name: &str) -> Name {
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
