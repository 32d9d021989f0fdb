//! Protection against guessing: every attempt is counted before the password is verified.
//!
//! Counting first makes a thousand attempts in parallel a thousand counted attempts. Unknown
//! accounts are counted like known ones; else the counting would tell which users exist. An attempt
//! is counted in the same way by a login and by Basic authentication on a route.
//!
//! The order is given by the types: an `AttemptSource` begins an attempt (`AttemptLookup`), that
//! reserves it for an account (`AttemptGuard`), and only the guard verifies a password.
//!
//! Two counts exist: `LoginServices::attempts` counts addresses in memory and refuses before any
//! work is done; the store counts accounts and addresses durably.

use std::net::IpAddr;
use std::time::Duration;

use super::{Login, LoginError, LoginRequest, LoginServices, ProvenUser};
use crate::admission::AttemptLimit;
use crate::clock::Timestamp;
use crate::dialect::{Reason, server};
use crate::runtime::WorkKind;
use crate::secret::{Digest, SecretString};
use crate::session::{AttemptAdmission, AttemptKind, LoginAttempt, LoginProgress, UserRef};
use crate::telemetry::audit::{AuditActor, AuditEvent};
use crate::telemetry::metrics::LoginResult;
use crate::users::{LoginName, PasswordCheck, SourceError, UserLookup, canonical_account};

/// The client that makes an attempt, and where it makes it. Logins and Basic authentication on
/// routes share the counts, so both are described by this type.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptSource<'a> {
    pub(super) services: &'a LoginServices,
    /// `login` names the login; for Basic on a route it is a fixed name.
    pub(super) actor: AuditActor<'a>,
    /// The address group that attempts of this client are counted for; `None` if addresses are not
    /// counted.
    pub(super) group: Option<IpAddr>,
    pub(super) now: Timestamp,
}

/// An attempt that is counted by address and whose name has been looked up.
#[derive(Debug)]
pub(super) struct AttemptLookup<'a> {
    source: AttemptSource<'a>,
    sources: &'a [String],
    name: &'a LoginName,
    lookup: UserLookup,
}

/// An attempt that is reserved in the store. It is counted from the beginning: a guard that is
/// dropped, because a request was cancelled or a step failed, leaves it counted. Only `passed` and
/// `refused` give an attempt back.
#[derive(Debug)]
#[must_use = "an attempt stays counted unless its result is reported"]
pub(super) struct AttemptGuard<'a> {
    begun: AttemptLookup<'a>,
    reserved: LoginAttempt,
}

impl<'a> AttemptSource<'a> {
    /// Begins an attempt for the first of `names` that a user source knows, else for the first. They
    /// are one text, as different kinds of name.
    ///
    /// The attempt is counted by address before any source is asked: else every guess over the
    /// limit would still cost a search in a directory or database. A name longer than any user's
    /// name is refused by its length alone and counted by address only.
    pub(super) async fn begin(
        self,
        sources: &'a [String],
        names: &'a [LoginName],
    ) -> Result<AttemptLookup<'a>, LoginError> {
        let services = self.services;
        services
            .attempts
            .reserve(self.group, services.per_address(), self.now)
            .map_err(|retry_after| self.limited(None, retry_after))?;
        if names.iter().any(|name| !name.is_possible()) {
            let cause = "the name is longer than any user's name";
            return Err(self.failed("-", Reason::UnknownUser, cause));
        }
        match self.look_for(sources, names).await {
            Ok(begun) => Ok(begun),
            // If the sources could not answer, nothing was guessed: the attempt is not counted.
            Err(error) => {
                self.refund_address();
                self.count(LoginResult::Unavailable);
                Err(error.into())
            }
        }
    }

    /// Looks all the names up in their order; the first that a source knows counts, else the first.
    /// The others are looked up even then: the time of the answer must not tell which names exist.
    pub(super) async fn look_for(
        self,
        sources: &'a [String],
        names: &'a [LoginName],
    ) -> Result<AttemptLookup<'a>, SourceError> {
        let mut found: Option<AttemptLookup<'a>> = None;
        for name in names {
            let lookup = self.services.users.look_for(sources, name, self.group).await?;
            let begun = AttemptLookup { source: self, sources, name, lookup };
            if found.as_ref().is_none_or(|found| begun.is_known() && !found.is_known()) {
                found = Some(begun);
            }
        }
        found.ok_or_else(|| SourceError::Unavailable {
            name: self.actor.login.to_owned(),
            cause: "users are looked up by nothing".to_owned(),
        })
    }

    /// Refuses a client address that has reached its limit of failures. The answer comes from
    /// memory, so that a flood of guesses costs the background runtime nothing.
    pub(super) fn refused_already(&self) -> Option<LoginError> {
        let limit = self.services.per_address();
        let retry_after = self.services.attempts.wait(self.group, limit, self.now)?;
        Some(self.limited(None, retry_after))
    }

    fn limited(&self, counted: Option<(&Digest, bool)>, retry_after: Duration) -> LoginError {
        self.count(LoginResult::Limited);
        let (account, by_account) = counted.unzip();
        let by_account = by_account.unwrap_or(false);
        self.audit(&AuditEvent::Lockout { account, by_account });
        LoginError {
            retry_after: Some(retry_after),
            ..LoginError::new(Reason::TooManyAttempts, "over the limit of attempts")
        }
    }

    /// Counts and audits an attempt whose credential was found wrong; returns the refusal.
    pub(super) fn failed(&self, name: &str, reason: Reason, cause: &'static str) -> LoginError {
        self.count(LoginResult::Failed);
        self.audit(&AuditEvent::LoginFailed { name, cause });
        LoginError::new(reason, cause)
    }

    pub(super) fn count(&self, result: LoginResult) {
        self.services.metrics.login(self.actor.login, result);
    }

    fn audit(&self, event: &AuditEvent<'_>) {
        self.services.audit.write(self.now, &self.actor, event);
    }

    /// Counts an attempt at a program's secret by the client's address. The caller gives it back with
    /// `refund_program` if the secret was right.
    pub(super) fn reserve_program(&self) -> Result<(), LoginError> {
        let services = self.services;
        let reserved =
            services.program_attempts.reserve(self.group, services.per_address(), self.now);
        reserved.map_err(|retry_after| self.limited(None, retry_after))
    }

    /// Takes back the count of an attempt at a program's secret.
    pub(super) fn refund_program(&self) {
        self.services.program_attempts.refund_attempt(self.group, self.now);
    }

    /// Takes back the count of the address in memory.
    fn refund_address(&self) {
        self.services.attempts.refund_attempt(self.group, self.now);
    }
}

impl<'a> AttemptLookup<'a> {
    /// The digest under which the attempts and codes of the name are counted and stored.
    pub(super) fn account(&self) -> Digest {
        canonical_account(self.name, self.lookup.key.as_ref())
    }

    /// True if a source knows whose name it is. Some sources know that only together with the right
    /// password.
    pub(super) fn is_known(&self) -> bool {
        self.lookup.key.is_some()
    }

    /// Reserves an attempt of this kind for `account` in the store.
    pub(super) async fn reserve(
        self,
        account: Digest,
        kind: AttemptKind,
    ) -> Result<AttemptGuard<'a>, LoginError> {
        let source = self.source;
        let limits = &source.services.limits;
        let reserved = LoginAttempt {
            account,
            kind,
            address: source.group,
            per_account: (limits.per_account.attempts, limits.per_account.per),
            per_address: (limits.per_address.attempts, limits.per_address.per),
        };
        let admitted = source.services.store.count_attempt(reserved.clone(), source.now).await;
        let is_limited = matches!(admitted, Ok(AttemptAdmission::Limited { .. }));
        if admitted.is_err() || is_limited && !self.lookup.asked_elsewhere {
            // If the store failed, the client has not failed at anything. If the account's limit
            // refused the attempt and no remote source was asked, no work was done. In both cases
            // the count of the address in memory is taken back.
            source.refund_address();
        }
        match admitted? {
            AttemptAdmission::Admitted => Ok(AttemptGuard { begun: self, reserved }),
            AttemptAdmission::Limited { retry_after, account: by_account } => {
                Err(source.limited(Some((&account, by_account)), retry_after))
            }
        }
    }
}

impl AttemptGuard<'_> {
    /// Verifies the password and returns the user. A refused password is counted in the metrics and
    /// written to the audit log here.
    pub(super) async fn check_password(
        &self,
        password: &SecretString,
    ) -> Result<ProvenUser, LoginError> {
        let AttemptLookup { source, sources, name, lookup } = &self.begun;
        let services = source.services;
        let checked = services.users.check(sources, name, lookup, password, source.group).await;
        let (reason, cause) = match checked {
            Ok(PasswordCheck::Correct { user, rehashed_from, legacy }) => {
                if let Some(old) = rehashed_from {
                    // The password hash was upgraded to stronger parameters. The password is the
                    // same, so the sessions that began under the old hash must not end.
                    let subject = services.subject(&user);
                    let source = user.source.as_str();
                    let id = &user.id;
                    let user_ref = UserRef { source, id, subject: &subject };
                    services.store.rehashed(user_ref, old, user.version).await?;
                }
                return Ok(ProvenUser { user: *user, legacy });
            }
            Ok(PasswordCheck::Wrong { disabled: true, .. }) => {
                (Reason::InvalidCredentials, "account disabled")
            }
            Ok(PasswordCheck::Wrong { .. }) => (Reason::InvalidCredentials, "wrong password"),
            Ok(PasswordCheck::UnknownUser) => (Reason::UnknownUser, "unknown user"),
            Err(error) => {
                source.count(LoginResult::Unavailable);
                return Err(error.into());
            }
        };
        Err(source.failed(name.as_str(), reason, cause))
    }

    /// Gives the attempt back, because it succeeded, and reports how far it brought the user.
    pub(super) async fn passed(self, progress: LoginProgress) -> Result<(), LoginError> {
        let source = self.begun.source;
        // The memory count is given back first; the store decides whether the address now counts as
        // known.
        source.refund_address();
        Ok(source.services.store.attempt_succeeded(self.reserved, progress, source.now).await?)
    }

    /// Reports that the attempt did not succeed, and returns `refused`. The attempt stays counted if
    /// the credential was verified and found wrong; it is given back if nothing was decided, for
    /// example because a source was down.
    pub(super) async fn refused(self, refused: LoginError) -> LoginError {
        if counts_as_attempt(refused.reason) {
            return refused;
        }
        let AttemptLookup { source, lookup, .. } = self.begun;
        // A client that is over its share after a remote source was searched for it keeps the
        // count. If the count were given back, the search would cost the client nothing and could
        // be repeated without end.
        if !lookup.asked_elsewhere || refused.reason != Reason::TooManyAttempts {
            source.refund_address();
        }
        let undecided = source.services.store.attempt_undecided(self.reserved, source.now).await;
        if let Err(error) = undecided {
            // The client gets the refusal that it had before. The attempt stays counted until its
            // window ends.
            tracing::warn!(%error, "an undecided attempt could not be given back");
        }
        refused
    }
}

impl LoginServices {
    /// Counts an attempt that a limit refused. Returns true for a flood: an address that goes on
    /// although it is refused. The caller may delay its refusals.
    pub(crate) fn counts_as_flood(&self, group: Option<IpAddr>, now: Timestamp) -> bool {
        self.attempts.count_refusal(group, self.limits.per_address.per, now)
    }

    fn per_address(&self) -> AttemptLimit {
        let limits = self.limits.per_address;
        AttemptLimit { attempts: limits.attempts, per: limits.per }
    }
}

impl Login {
    /// The client of one of this login's endpoints, as an `AttemptSource`.
    pub(super) fn attempt_source<'a>(&'a self, call: &'a LoginRequest) -> AttemptSource<'a> {
        let services = &*self.services;
        let group = call.address_group();
        AttemptSource { services, actor: self.actor(call), group, now: call.now }
    }

    /// Refuses a guess if the client's address has reached its limit. A request with a bearer token
    /// is not a guess.
    pub(crate) fn refused_already(&self, call: &LoginRequest) -> Option<LoginError> {
        let is_guess = self.work_at(call.endpoint, &call.head) == WorkKind::Password
            && !server::has_bearer(&call.head);
        if is_guess { self.attempt_source(call).refused_already() } else { None }
    }
}

/// True if the credential was verified and found wrong, so that the attempt stays counted.
fn counts_as_attempt(reason: Reason) -> bool {
    matches!(reason, Reason::InvalidCredentials | Reason::UnknownUser | Reason::CodeInvalid)
}
