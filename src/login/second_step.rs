//! The second step of a login: a code by mail, or a code of the user's authenticator (TOTP, RFC
//! 6238).
//!
//! To a dialect both are one step. A waiting login is a `OneTimeCode` in the store. It names the
//! user, the address group, the end, and the guesses so far. For a mailed code it has a keyed hash
//! of the code. For an authenticator it has a keyed hash of the authenticator's secret, so that a
//! waiting login ends when the secret is replaced or removed.
//!
//! When a guess arrives, the user's present second step decides how it is verified. Every failure
//! gets the same answer, so that a client cannot learn whether a login was waiting.

use std::time::Duration;

use super::account::account_names;
use super::code::{authenticator_digest, code_digest, new_code};
use super::totp::matching_step;
use super::{Login, LoginError, LoginRequest, LoginResponse, ProvenUser};
use crate::dialect::{
    CredentialForm, Endpoint, EndpointStep, Reason, SecondStep, UserValues, server,
};
use crate::identity::UserId;
use crate::secret::{Digest, SecretString};
use crate::session::{
    AttemptKind, CodeGuess, CodeVerdict, CredentialPlace, LoginProgress, OneTimeCode, PutCode,
    StoreError, TotpSecret,
};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;
use crate::token;
use crate::users::UserRecord;

/// How long the login waits for a code of an authenticator; long enough to fetch a telephone.
const PATIENCE: Duration = Duration::from_secs(300);

/// The second step that a login waits for.
#[derive(Debug)]
pub(super) enum SecondFactor {
    Mail,
    Authenticator(TotpSecret),
}

impl Login {
    /// The second step that is still due for a user whose password was right; `None` if there is
    /// none.
    ///
    /// # Errors
    ///
    /// If the user has an authenticator but this dialect has no step for its code. Letting the user
    /// in without the code would make the authenticator worthless. The client gets "wrong
    /// password".
    pub(super) async fn required_second_factor(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        user: &UserRecord,
    ) -> Result<Option<SecondFactor>, LoginError> {
        match (self.totp_of(&user.source, &user.id).await?, endpoint.second_step) {
            (Some(totp), _) if self.takes_codes(endpoint) => {
                Ok(Some(SecondFactor::Authenticator(totp)))
            }
            (Some(_), _) => {
                let cause = "the user has a second step, which this dialect does not have";
                let source = self.attempt_source(call);
                Err(source.failed(&user.profile.name, Reason::InvalidCredentials, cause))
            }
            (None, SecondStep::Mail) => Ok(Some(SecondFactor::Mail)),
            (None, SecondStep::None) => Ok(None),
        }
    }

    /// The user's authenticator, if the user has one and this login asks for it.
    async fn totp_of(&self, source: &str, id: &UserId) -> Result<Option<TotpSecret>, StoreError> {
        match self.config.totp {
            true => self.services.store.find_totp(source, id).await,
            false => Ok(None),
        }
    }

    /// True if the dialect can answer "a code is needed" and has an endpoint that takes the code.
    fn takes_codes(&self, endpoint: &Endpoint) -> bool {
        let mut endpoints = self.config.dialect.endpoints.iter();
        endpoint.takes_code_beside_password()
            || endpoint.pending_reply.is_some()
                && endpoints.any(|one| one.step == EndpointStep::VerifyCode)
    }

    /// Prepares the login for a code that came beside the password. A code by mail was sent when the
    /// password came without one; a code of an authenticator needs nothing but the waiting login. Returns the ticket of that login
    /// where the dialect has tickets, so that nobody but this request can complete it.
    pub(super) async fn prepare_code(
        &self,
        call: &LoginRequest,
        account: Digest,
        proven: &ProvenUser,
        wait: &SecondFactor,
    ) -> Result<Option<SecretString>, LoginError> {
        let SecondFactor::Authenticator(totp) = wait else { return Ok(None) };
        let key = self.code_key(account);
        let ticket = self.demands_ticket().then(|| SecretString::new(token::new_jti()));
        let kept = self.kept(CredentialPlace::Code(key), proven)?;
        let waiting = waiting(call, &proven.user, key, ticket.as_ref());
        self.await_authenticator(call, OneTimeCode { kept, ..waiting }, totp).await?;
        Ok(ticket)
    }

    /// Stores the waiting login, sends the code if it goes by mail, and answers that a code is
    /// awaited. Where the dialect has a field for it, the answer contains a ticket that the second
    /// step must bring.
    pub(super) async fn start_second_factor(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        account: Digest,
        proven: &ProvenUser,
        wait: SecondFactor,
    ) -> Result<LoginResponse, LoginError> {
        // Without an answer of its own, the missing code is an error, and the client comes back with
        // both.
        let is_refused = endpoint.pending_reply.is_none();
        if is_refused && matches!(wait, SecondFactor::Authenticator(_)) {
            return Err(LoginError::new(Reason::CodeRequired, "no code beside the password"));
        }
        let user = &proven.user;
        let key = self.code_key(account);
        let ticket = self.demands_ticket().then(|| SecretString::new(token::new_jti()));
        let kept = self.kept(CredentialPlace::Code(key), proven)?;
        let waiting = OneTimeCode { kept, ..waiting(call, user, key, ticket.as_ref()) };
        match wait {
            SecondFactor::Authenticator(totp) => {
                self.await_authenticator(call, waiting, &totp).await?
            }
            SecondFactor::Mail => self.send_code(call, waiting, user).await?,
        }
        if is_refused {
            return Err(LoginError::new(Reason::CodeRequired, "a code was sent"));
        }
        let mut facts = self.facts(call.now);
        facts.ticket = ticket;
        facts.request = self.shown(endpoint, call);
        let subject = self.services.subject(user);
        facts.user = Some(UserValues { id: subject.to_string(), profile: user.profile.clone() });
        let reply = endpoint.pending_reply.as_ref().unwrap_or(&endpoint.reply);
        Ok(LoginResponse {
            answer: server::render(reply, &facts, &self.config.dialect),
            subject: Some(subject.to_string()),
            session: None,
        })
    }

    /// True if the dialect's second step presents the ticket that the first step gave.
    fn demands_ticket(&self) -> bool {
        let mut forms = self.config.dialect.endpoints.iter().flat_map(|one| &one.credential);
        forms.any(|form| matches!(form, CredentialForm::Code { ticket: Some(_), .. }))
    }

    async fn send_code(
        &self,
        call: &LoginRequest,
        waiting: OneTimeCode,
        user: &UserRecord,
    ) -> Result<(), LoginError> {
        let Some(mailer) = &self.services.mailer else {
            return Err(LoginError::new(Reason::Unavailable, "no [mail] is configured"));
        };
        let Some(address) = &user.profile.email else {
            return Err(LoginError::new(Reason::Unavailable, "the user has no e-mail address"));
        };
        let store = &self.services.store;
        let code = new_code();
        let waiting = OneTimeCode {
            expires: call.now.plus(mailer.code_ttl()),
            code: code_digest(&store.secret(), &waiting.key, &code),
            ..waiting
        };
        // The code is stored before it is sent. In the other order a quick client could present a
        // code that is not stored yet. If sending fails, the stored code is useless and expires.
        let kept = store.put_code(waiting, mailer.per_hour(), call.now).await?;
        if let PutCode::TooMany { retry_after } = kept {
            self.count_login(LoginResult::Limited);
            return Err(LoginError {
                retry_after: Some(retry_after),
                ..LoginError::new(Reason::TooManyAttempts, "too many codes in an hour")
            });
        }
        mailer.send(address, &user.profile.name, &code, call.address_group()).await?;
        self.audit(call, AuditEvent::CodeSent { subject: &self.services.subject(user) });
        Ok(())
    }

    async fn await_authenticator(
        &self,
        call: &LoginRequest,
        waiting: OneTimeCode,
        totp: &TotpSecret,
    ) -> Result<(), LoginError> {
        let store = &self.services.store;
        let subject = self.services.users.subject(&waiting.source, &waiting.user_id);
        let code = authenticator_digest(&store.secret(), &waiting.key, totp);
        // Nothing is sent, so no number of codes per hour applies; the guesses are limited like
        // those at passwords.
        store.put_code(OneTimeCode { code, ..waiting }, u32::MAX, call.now).await?;
        self.audit(call, AuditEvent::CodeAwaited { subject: &subject });
        Ok(())
    }

    /// Verifies a code and begins the session that the password step prepared. An unknown user and
    /// a wrong code get the same answer.
    pub(super) async fn verify_code(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        name: &str,
        code: &SecretString,
        ticket: Option<&SecretString>,
    ) -> Result<LoginResponse, LoginError> {
        // The same order as in the password step: count by address, look the name up, reserve an
        // attempt, verify.
        let names = account_names(endpoint, name);
        let begun = self.attempt_source(call).begin(&self.config.users, &names).await;
        let begun = begun.map_err(|refused| match refused.reason {
            Reason::UnknownUser => LoginError { reason: Reason::CodeInvalid, ..refused },
            _ => refused,
        })?;
        let account = begun.account();
        let ticket = ticket.map(|ticket| Digest::of(ticket.expose().as_bytes()));
        let counted = self.counted(call, account, ticket).await?;
        let attempt = begun.reserve(counted, AttemptKind::Code).await?;
        let proven = match self.redeem_code(call, account, code, ticket).await {
            Ok(proven) => proven,
            Err(refused) => return Err(attempt.refused(refused).await),
        };
        attempt.passed(LoginProgress::Login).await?;
        self.start_session(endpoint, call, &proven).await
    }

    /// The account that a guess is counted for.
    ///
    /// Where the dialect uses tickets, a guess without the right ticket is counted for another
    /// account: it can never be right, and strangers who know a name must not use up the guesses of
    /// the client that passed the password step.
    async fn counted(
        &self,
        call: &LoginRequest,
        account: Digest,
        ticket: Option<Digest>,
    ) -> Result<Digest, LoginError> {
        if !self.demands_ticket() {
            return Ok(account);
        }
        let waiting = self.services.store.find_code(self.code_key(account), call.now).await?;
        let is_owner = ticket.is_some() && waiting.is_some_and(|waiting| waiting.ticket == ticket);
        Ok(if is_owner { account } else { Digest::of_list(&[b"no ticket", &account.0]) })
    }

    async fn redeem_code(
        &self,
        call: &LoginRequest,
        account: Digest,
        code: &SecretString,
        ticket: Option<Digest>,
    ) -> Result<ProvenUser, LoginError> {
        let key = self.code_key(account);
        let guess = CodeGuess {
            key,
            code: self.guessed(call, &key, code, ticket).await?,
            address: call.address_group(),
            ticket,
        };
        let cause = match self.services.store.use_code(guess, call.now).await? {
            // The user is read again: they may have been disabled, or have a new password, since
            // the password step. A login that waited for minutes must not begin a session that a
            // review has already ended.
            CodeVerdict::Right(stored) => {
                let user = self
                    .services
                    .users
                    .find(&stored.source, &stored.user_id, &stored.username)
                    .await?;
                match user.filter(|user| user.version == stored.user_version) {
                    Some(user) => {
                        let place = CredentialPlace::Code(key);
                        let legacy = self.services.legacy.as_ref().zip(stored.kept.as_ref());
                        let legacy = legacy.and_then(|(legacy, kept)| legacy.open(place, kept));
                        return Ok(ProvenUser { user, legacy: legacy.map(Box::new) });
                    }
                    None => "the user changed since the password",
                }
            }
            CodeVerdict::Wrong => "wrong code",
            CodeVerdict::Gone => "no code is waiting",
        };
        self.count_login(LoginResult::Failed);
        self.audit(call, AuditEvent::CodeRefused { account: &account, cause });
        Err(LoginError::new(Reason::CodeInvalid, cause))
    }

    /// The digest that the waiting code must have for this guess to be right.
    ///
    /// A code of an authenticator is used up here, before the login that it completes. If two
    /// requests with the same code arrive together, the store lets one of them pass; the other gets
    /// a digest that matches nothing.
    async fn guessed(
        &self,
        call: &LoginRequest,
        key: &Digest,
        code: &SecretString,
        ticket: Option<Digest>,
    ) -> Result<Digest, LoginError> {
        let store = &self.services.store;
        let mailed = code_digest(&store.secret(), key, code);
        let Some(waiting) = store.find_code(*key, call.now).await? else { return Ok(mailed) };
        if waiting.ticket.is_some() && waiting.ticket != ticket {
            // Without the right ticket the authenticator's code is not even used up: a stranger who
            // saw a code over somebody's shoulder must not be able to spoil it.
            return Ok(NEVER);
        }
        let Some(totp) = self.totp_of(&waiting.source, &waiting.user_id).await? else {
            return Ok(mailed);
        };
        let fresh = match matching_step(&totp, code, call.now) {
            Some(step) => store.use_totp_step(&waiting.source, &waiting.user_id, step).await?,
            None => false,
        };
        // If the user has an authenticator now, a code that was mailed before does not replace the
        // authenticator's code.
        Ok(if fresh { authenticator_digest(&store.secret(), key, &totp) } else { NEVER })
    }

    /// The name of the login is part of the key: a code that was sent for one login cannot complete
    /// another.
    fn code_key(&self, account: Digest) -> Digest {
        Digest::of_list(&[self.config.name.as_bytes(), &account.0])
    }
}

/// A digest that no stored code has: the placeholder of `waiting` is replaced before it is stored.
const NEVER: Digest = Digest([0; 32]);

/// A login of `user` that waits for a code; the caller still has to set the code's digest.
fn waiting(
    call: &LoginRequest,
    user: &UserRecord,
    key: Digest,
    ticket: Option<&SecretString>,
) -> OneTimeCode {
    OneTimeCode {
        key,
        code: NEVER,
        user_id: user.id.clone(),
        username: user.profile.name.clone(),
        source: user.source.clone(),
        user_version: user.version,
        expires: call.now.plus(PATIENCE),
        address: call.address_group(),
        ticket: ticket.map(|ticket| Digest::of(ticket.expose().as_bytes())),
        kept: None,
    }
}
