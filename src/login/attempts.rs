//! Protection against guessing: every attempt is counted before the password is verified.
//!
//! Counting first makes a thousand attempts in parallel a thousand counted attempts. Unknown
//! accounts are counted like known ones; else the counting would tell which users exist. An attempt
//! is counted in the same way by a login and by Basic authentication on a route.
//!
//! Two counts exist: `LoginServices::attempts` counts addresses in memory and refuses before any
//! work is done; the store counts accounts and addresses durably.

use std::net::IpAddr;
use std::time::Duration;

use super::{Login, LoginError, LoginRequest, LoginServices};
use crate::admission::AttemptLimit;
use crate::clock::Timestamp;
use crate::dialect::{Reason, server};
use crate::runtime::WorkKind;
use crate::secret::{Digest, SecretString};
use crate::session::{AttemptAdmission, AttemptKind, LoginAttempt, LoginProgress, UserRef};
use crate::telemetry::audit::{AuditActor, AuditEvent};
use crate::telemetry::metrics::LoginResult;
use crate::users::{LoginName, PasswordCheck, UserLookup, UserRecord};

/// The client that makes an attempt, and where it makes it. Logins and Basic authentication on
/// routes share the counts, so both are described by this type.
#[derive(Debug)]
pub(super) struct AttemptSource<'a> {
    /// `login` names the login; for Basic on a route it is a fixed name.
    pub(super) actor: AuditActor<'a>,
    /// The address group that attempts of this client are counted for; `None` if addresses are not
    /// counted.
    pub(super) group: Option<IpAddr>,
    pub(super) now: Timestamp,
}

impl LoginServices {
    /// Begins an attempt for `name` and looks the name up in the user sources.
    ///
    /// The attempt is counted by address before any source is asked: else every guess over the
    /// limit would still cost a search in a directory or database. A name longer than any user's
    /// name is refused by its length alone and counted by address only.
    pub(super) async fn begin(
        &self,
        attempt_source: &AttemptSource<'_>,
        sources: &[String],
        name: &LoginName,
    ) -> Result<UserLookup, LoginError> {
        let limit = self.per_address();
        if let Err(retry_after) =
            self.attempts.reserve(attempt_source.group, limit, attempt_source.now)
        {
            return Err(self.limited(attempt_source, None, retry_after));
        }
        if !name.is_possible() {
            let cause = "the name is longer than any user's name";
            return Err(self.failed(attempt_source, "-", Reason::UnknownUser, cause));
        }
        // If the sources could not answer, nothing was guessed: the attempt is not counted.
        let found = self.users.look_for(sources, name, attempt_source.group).await;
        found.map_err(|error| {
            self.attempts.refund_attempt(attempt_source.group, attempt_source.now);
            self.count(attempt_source, LoginResult::Unavailable);
            error.into()
        })
    }

    /// Refuses a client address that has reached its limit of failures. The answer comes from
    /// memory, so that a flood of guesses costs the background runtime nothing.
    ///
    /// The flag is true for a flood, an address that keeps trying while it is refused; its refusals
    /// may be delayed by the caller.
    pub(super) fn refused_already(
        &self,
        attempt_source: &AttemptSource<'_>,
    ) -> Option<(LoginError, bool)> {
        let away = self.attempts.turn_away(
            attempt_source.group,
            self.per_address(),
            attempt_source.now,
        )?;
        Some((self.limited(attempt_source, None, away.retry_after), away.is_flood))
    }

    fn per_address(&self) -> AttemptLimit {
        let limits = self.limits.per_address;
        AttemptLimit { attempts: limits.attempts, per: limits.per }
    }

    /// Reserves an attempt of this kind for `account` in the store. `lookup` is the result of
    /// `begin` for the same name. Returns the attempt, to be reported as `passed` or `not_passed`.
    pub(super) async fn reserve_attempt(
        &self,
        attempt_source: &AttemptSource<'_>,
        lookup: &UserLookup,
        account: Digest,
        kind: AttemptKind,
    ) -> Result<LoginAttempt, LoginError> {
        let limits = &self.limits;
        let attempt = LoginAttempt {
            account,
            kind,
            address: attempt_source.group,
            per_account: (limits.per_account.attempts, limits.per_account.per),
            per_address: (limits.per_address.attempts, limits.per_address.per),
        };
        let admitted = self.store.count_attempt(attempt.clone(), attempt_source.now).await;
        let is_limited = matches!(admitted, Ok(AttemptAdmission::Limited { .. }));
        if admitted.is_err() || is_limited && !lookup.asked_elsewhere {
            // If the store failed, the client has not failed at anything. If the account's limit
            // refused the attempt and no remote source was asked, no work was done. In both cases
            // the count of the address in memory is taken back.
            self.attempts.refund_attempt(attempt_source.group, attempt_source.now);
        }
        match admitted? {
            AttemptAdmission::Admitted => Ok(attempt),
            AttemptAdmission::Limited { retry_after, account: by_account } => {
                Err(self.limited(attempt_source, Some((&account, by_account)), retry_after))
            }
        }
    }

    fn limited(
        &self,
        attempt_source: &AttemptSource<'_>,
        counted: Option<(&Digest, bool)>,
        retry_after: Duration,
    ) -> LoginError {
        self.count(attempt_source, LoginResult::Limited);
        let (account, by_account) = counted.unzip();
        let by_account = by_account.unwrap_or(false);
        let event = AuditEvent::Lockout { account, by_account };
        self.audit.write(attempt_source.now, &attempt_source.actor, &event);
        LoginError {
            retry_after: Some(retry_after),
            ..LoginError::new(Reason::TooManyAttempts, "over the limit of attempts")
        }
    }

    /// Reports that the reserved attempt succeeded, and how far it brought the user.
    pub(super) async fn passed(
        &self,
        attempt: LoginAttempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), LoginError> {
        // The memory count is given back first; the store decides whether the address now counts as
        // known.
        self.attempts.refund_attempt(attempt.address, now);
        Ok(self.store.attempt_succeeded(attempt, progress, now).await?)
    }

    /// Reports that the reserved attempt did not succeed. It stays counted if the credential was
    /// verified and found wrong; it is given back if nothing was decided, for example because a
    /// source was down.
    pub(super) async fn not_passed(
        &self,
        attempt: LoginAttempt,
        lookup: &UserLookup,
        refused: &LoginError,
        now: Timestamp,
    ) {
        if counts_as_attempt(refused.reason) {
            return;
        }
        // A client that is over its share after a remote source was searched for it keeps the
        // count. If the count were given back, the search would cost the client nothing and could
        // be repeated without end.
        if !lookup.asked_elsewhere || refused.reason != Reason::TooManyAttempts {
            self.attempts.refund_attempt(attempt.address, now);
        }
        if let Err(error) = self.store.attempt_undecided(attempt, now).await {
            // The client gets the refusal that it had before. The attempt stays counted until its
            // window ends.
            tracing::warn!(%error, "an undecided attempt could not be given back");
        }
    }

    /// Verifies the password and returns the user. The attempt must have been reserved before. A
    /// refused password is counted in the metrics and written to the audit log here.
    pub(super) async fn check_password(
        &self,
        attempt_source: &AttemptSource<'_>,
        sources: &[String],
        name: &LoginName,
        lookup: &UserLookup,
        password: &SecretString,
    ) -> Result<UserRecord, LoginError> {
        let checked = self.users.check(sources, name, lookup, password, attempt_source.group).await;
        let (reason, cause) = match checked {
            Ok(PasswordCheck::Correct { user, rehashed_from }) => {
                if let Some(old) = rehashed_from {
                    // The password hash was upgraded to stronger parameters. The password is the
                    // same, so the sessions that began under the old hash must not end.
                    let subject = self.subject(&user);
                    let source = user.source.as_str();
                    let id = &user.id;
                    let user_ref = UserRef { source, id, subject: &subject };
                    self.store.rehashed(user_ref, old, user.version).await?;
                }
                return Ok(*user);
            }
            Ok(PasswordCheck::Wrong { disabled: true, .. }) => {
                (Reason::InvalidCredentials, "account disabled")
            }
            Ok(PasswordCheck::Wrong { .. }) => (Reason::InvalidCredentials, "wrong password"),
            Ok(PasswordCheck::UnknownUser) => (Reason::UnknownUser, "unknown user"),
            Err(error) => {
                self.count(attempt_source, LoginResult::Unavailable);
                return Err(error.into());
            }
        };
        Err(self.failed(attempt_source, name.as_str(), reason, cause))
    }

    /// Counts and audits an attempt whose credential was found wrong; returns the refusal.
    pub(super) fn failed(
        &self,
        attempt_source: &AttemptSource<'_>,
        name: &str,
        reason: Reason,
        cause: &'static str,
    ) -> LoginError {
        self.count(attempt_source, LoginResult::Failed);
        self.audit.write(
            attempt_source.now,
            &attempt_source.actor,
            &AuditEvent::LoginFailed { name, cause },
        );
        LoginError::new(reason, cause)
    }

    pub(super) fn count(&self, attempt_source: &AttemptSource<'_>, result: LoginResult) {
        self.metrics.login(attempt_source.actor.login, result);
    }
}

impl Login {
    /// The client of one of this login's endpoints, as an `AttemptSource`.
    pub(super) fn attempt_source<'a>(&'a self, call: &'a LoginRequest) -> AttemptSource<'a> {
        AttemptSource { actor: self.actor(call), group: call.address_group(), now: call.now }
    }

    /// Refuses a guess before its body is read, if the client's address has reached its limit. A
    /// request with a bearer token is not a guess. The flag is true for a flood.
    pub(crate) fn refused_already(&self, call: &LoginRequest) -> Option<(LoginError, bool)> {
        let is_guess = self.work(call.endpoint, &call.head) == WorkKind::Password
            && !server::has_bearer(&call.head);
        if is_guess { self.services.refused_already(&self.attempt_source(call)) } else { None }
    }

    /// Begins an attempt for `name` from the caller's address, in the user sources of this login.
    pub(super) async fn begin(
        &self,
        call: &LoginRequest,
        name: &LoginName,
    ) -> Result<UserLookup, LoginError> {
        self.services.begin(&self.attempt_source(call), &self.config.users, name).await
    }
}

/// True if the credential was verified and found wrong, so that the attempt stays counted.
fn counts_as_attempt(reason: Reason) -> bool {
    matches!(reason, Reason::InvalidCredentials | Reason::UnknownUser | Reason::CodeInvalid)
}
