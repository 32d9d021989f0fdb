//! What a login waits for after the password: a code by mail, or one of the user's authenticator.
//!
//! To a dialect both are one step. What waits is a `Code` in the store, which binds the login:
//! who he was, from where, until when, and how many guesses are left. A mailed code is in it as a
//! keyed hash; for an authenticator it holds a keyed hash of the secret in its stead, so that a
//! login does not survive a secret that was replaced or taken away. Which of both a guess is, the
//! user decides by what he has now. Every failure is answered alike.

use std::time::Duration;

use super::code::{authenticator_digest, code_digest, new_code};
use super::password::{account_name, user_facts};
use super::totp::matching_step;
use super::{Call, Done, Login, Refused};
use crate::dialect::{CredentialForm, Endpoint, Reason, SecondStep, Step, serve};
use crate::identity::UserId;
use crate::secret::{Digest, SecretString};
use crate::session::{
    Attempt, AttemptKind, Code, CodeGuess, CodeVerdict, LoginProgress, PutCode, StoreError, Totp,
};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::token;
use crate::users::{User, canonical_account};

/// How long an authenticator's code is waited for: the telephone is in the other room.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a login waits for.
#[derive(Debug)]
pub(super) enum Wait {
    Mail,
    Authenticator(Totp),
}

impl Login {
    /// What is still due of a user whose password was right, if anything.
    ///
    /// # Errors
    /// When he has an authenticator and this dialect has no step for its code: letting him in
    /// without it would make it worth nothing. Outside that is a wrong password.
    pub(super) async fn wait_for(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        user: &User,
    ) -> Result<Option<Wait>, Refused> {
        match (self.totp_of(&user.source, &user.id).await?, endpoint.second_step) {
            (Some(totp), _) if self.takes_codes(endpoint) => Ok(Some(Wait::Authenticator(totp))),
            (Some(_), _) => {
                let cause = "the user has a second step, which this dialect does not have";
                self.count_login(LoginResult::Failed);
                self.audit(call, AuditEvent::LoginFailed { name: &user.name, cause });
                Err(Refused::new(Reason::InvalidCredentials, cause))
            }
            (None, SecondStep::Mail) => Ok(Some(Wait::Mail)),
            (None, SecondStep::None) => Ok(None),
        }
    }

    /// The user's authenticator, where this login asks for one.
    async fn totp_of(&self, source: &str, id: &UserId) -> Result<Option<Totp>, StoreError> {
        match self.config.totp {
            true => self.services.store.find_totp(source, id).await,
            false => Ok(None),
        }
    }

    /// Whether a login here can be answered with "and now the code", and the code be brought.
    fn takes_codes(&self, endpoint: &Endpoint) -> bool {
        let mut endpoints = self.config.dialect.endpoints.iter();
        endpoint.pending_reply.is_some() && endpoints.any(|one| one.step == Step::VerifyCode)
    }

    /// Has the login wait for its code, which is mailed or read, and answers that it does.
    pub(super) async fn pend(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        account: Digest,
        (user, wait): (&User, Wait),
    ) -> Result<Done, Refused> {
        let key = self.code_key(account);
        let ticket = self.demands_ticket().then(|| SecretString::new(token::new_jti()));
        let waiting = waiting(call, user, key, ticket.as_ref());
        match wait {
            Wait::Authenticator(totp) => self.await_authenticator(call, waiting, &totp).await?,
            Wait::Mail => self.send_code(call, waiting, user).await?,
        }
        let mut facts = self.facts(call.now);
        facts.ticket = ticket;
        let subject = self.services.subject(user);
        facts.user = Some(user_facts(user, &subject));
        let reply = endpoint.pending_reply.as_ref().unwrap_or(&endpoint.reply);
        Ok(Done {
            answer: serve::render(reply, &facts, &self.config.dialect),
            subject: Some(subject.to_string()),
            session: None,
        })
    }

    /// Whether this dialect's second step brings what the first one gave.
    fn demands_ticket(&self) -> bool {
        let mut forms = self.config.dialect.endpoints.iter().flat_map(|one| &one.credential);
        forms.any(|form| matches!(form, CredentialForm::JsonCode { ticket: Some(_), .. }))
    }

    async fn send_code(&self, call: &Call, waiting: Code, user: &User) -> Result<(), Refused> {
        let Some(mailer) = &self.services.mailer else {
            return Err(Refused::new(Reason::Unavailable, "no [mail] is configured"));
        };
        let Some(address) = &user.email else {
            return Err(Refused::new(Reason::Unavailable, "the user has no e-mail address"));
        };
        let (store, code) = (&self.services.store, new_code());
        let waiting = Code {
            expires: call.now.plus(mailer.code_ttl()),
            code: code_digest(store.secret(), &waiting.key, &code),
            ..waiting
        };
        let kept = store.put_code(waiting, mailer.per_hour(), call.now).await?;
        if let PutCode::TooMany { retry_after } = kept {
            self.count_login(LoginResult::Limited);
            return Err(Refused {
                retry_after: Some(retry_after),
                ..Refused::new(Reason::TooManyAttempts, "too many codes in an hour")
            });
        }
        mailer.send((address, &user.name), &code, call.address_group()).await?;
        self.audit(call, AuditEvent::CodeSent { subject: &self.services.subject(user) });
        Ok(())
    }

    async fn await_authenticator(
        &self,
        call: &Call,
        waiting: Code,
        totp: &Totp,
    ) -> Result<(), Refused> {
        let store = &self.services.store;
        let subject = self.services.users.subject(&waiting.source, &waiting.user_id);
        let code = authenticator_digest(store.secret(), &waiting.key, totp);
        // Nothing is sent, so there is nothing to limit but the guesses, which are counted.
        store.put_code(Code { code, ..waiting }, u32::MAX, call.now).await?;
        self.audit(call, AuditEvent::CodeAwaited { subject: &subject });
        Ok(())
    }

    /// A code for the session that the password prepared.
    pub(super) async fn verify_code(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        name: &str,
        (code, ticket): (&SecretString, Option<&SecretString>),
    ) -> Result<Done, Refused> {
        let name = account_name(endpoint, name);
        let lookup = self.begin(call, &name).await.map_err(|refused| match refused.reason {
            Reason::UnknownUser => Refused { reason: Reason::CodeInvalid, ..refused },
            _ => refused,
        })?;
        let account = canonical_account(&name, lookup.key.as_ref());
        let ticket = ticket.map(|ticket| Digest::of(ticket.expose().as_bytes()));
        let counted = self.counted(call, account, ticket).await?;
        let (trier, counted) = (self.trier(call), (counted, AttemptKind::Code));
        let attempt = self.services.reserve_attempt(&trier, &lookup, counted).await?;
        let user = match self.redeem_code(call, account, code, ticket).await {
            Ok(user) => user,
            Err(refused) => {
                self.services.not_passed(attempt, &lookup, &refused, call.now).await;
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
        self.services.passed(attempt, LoginProgress::Login, call.now).await?;
        self.start_session(endpoint, call, user).await
    }

    /// What a guess is counted by. Without the ticket it is none, whatever the code: strangers who
    /// know a name must not use up what whoever passed the password step may guess.
    async fn counted(
        &self,
        call: &Call,
        account: Digest,
        ticket: Option<Digest>,
    ) -> Result<Digest, Refused> {
        if !self.demands_ticket() {
            return Ok(account);
        }
        let waiting = self.services.store.find_code(self.code_key(account), call.now).await?;
        let is_owner = ticket.is_some() && waiting.is_some_and(|waiting| waiting.ticket == ticket);
        Ok(if is_owner { account } else { Digest::of_list(&[b"no ticket", &account.0]) })
    }

    async fn redeem_code(
        &self,
        call: &Call,
        account: Digest,
        code: &SecretString,
        ticket: Option<Digest>,
    ) -> Result<User, Refused> {
        let key = self.code_key(account);
        let guess = CodeGuess {
            key,
            code: self.guessed(call, &key, (code, ticket)).await?,
            address: call.address_group(),
            ticket,
        };
        let cause = match self.services.store.use_code(guess, call.now).await? {
            CodeVerdict::Right(held) => {
                let user =
                    self.services.users.find(&held.source, &held.user_id, &held.username).await?;
                match user.filter(|user| user.version == held.user_version) {
                    Some(user) => return Ok(user),
                    None => "the user changed since the password",
                }
            }
            CodeVerdict::Wrong => "wrong code",
            CodeVerdict::Gone => "no code is waiting",
        };
        self.count_login(LoginResult::Failed);
        self.audit(call, AuditEvent::CodeRefused { account: &account, cause });
        Err(Refused::new(Reason::CodeInvalid, cause))
    }

    /// What the waiting code would have to be for this guess to be right.
    ///
    /// A code of an authenticator is used up here, before the login that it completes: two
    /// requests with the same code cannot both come through.
    async fn guessed(
        &self,
        call: &Call,
        key: &Digest,
        (code, ticket): (&SecretString, Option<Digest>),
    ) -> Result<Digest, Refused> {
        let store = &self.services.store;
        let mailed = code_digest(store.secret(), key, code);
        let Some(waiting) = store.find_code(*key, call.now).await? else { return Ok(mailed) };
        if waiting.ticket.is_some() && waiting.ticket != ticket {
            // Nor does a stranger use up a code that was read over somebody's shoulder.
            return Ok(NEVER);
        }
        let Some(totp) = self.totp_of(&waiting.source, &waiting.user_id).await? else {
            return Ok(mailed);
        };
        let fresh = match matching_step(&totp, code, call.now) {
            Some(step) => store.use_totp_step(&waiting.source, &waiting.user_id, step).await?,
            None => false,
        };
        // A code that was mailed before he had an authenticator does not spare him that.
        Ok(if fresh { authenticator_digest(store.secret(), key, &totp) } else { NEVER })
    }

    fn code_key(&self, account: Digest) -> Digest {
        Digest::of_list(&[self.config.name.as_bytes(), &account.0])
    }
}

/// Is the digest of nothing that waits.
const NEVER: Digest = Digest([0; 32]);

/// A login of `user` that waits for a code that is still to be said.
fn waiting(call: &Call, user: &User, key: Digest, ticket: Option<&SecretString>) -> Code {
    Code {
        key,
        code: NEVER,
        user_id: user.id.clone(),
        username: user.name.clone(),
        source: user.source.clone(),
        user_version: user.version,
        expires: call.now.plus(PATIENCE),
        address: call.address_group(),
        ticket: ticket.map(|ticket| Digest::of(ticket.expose().as_bytes())),
    }
}
