//! Protection against guessing: every attempt is counted before the password is verified.
//!
//! Counting first makes a thousand attempts in parallel a thousand counted attempts. Unknown
//! accounts are counted like known ones; else the counting would tell which users exist. An attempt
//! is counted in the same way by a login and by Basic authentication on a route.
//!
//! Two counts exist: `Services::attempts` counts addresses in memory and refuses before any work is
//! done; the store counts accounts and addresses durably.

use std::net::IpAddr;
use std::time::Duration;

use super::{Call, Login, Refused, Services};
use crate::admission::AttemptLimit;
use crate::clock::Timestamp;
use crate::dialect::{Reason, serve};
use crate::runtime::Work;
use crate::secret::{Digest, SecretString};
use crate::session::{Admission, Attempt, AttemptKind, LoginProgress, UserRef};
use crate::telemetry::audit::{Actor, AuditEvent};
use crate::telemetry::metrics::LoginResult;
use crate::users::{Checked, Lookup, Name, User};

/// The client that makes an attempt, and where it makes it. Logins and Basic authentication on
/// routes share the counts, so both are described by this type.
#[derive(Debug)]
pub(super) struct Trier<'a> {
    /// `login` names the login; for Basic on a route it is a fixed name.
    pub(super) actor: Actor<'a>,
    /// The address group that attempts of this client are counted for; `None` if addresses are not
    /// counted.
    pub(super) group: Option<IpAddr>,
    pub(super) now: Timestamp,
}

impl Services {
    /// Begins an attempt for `name` and looks the name up in the user sources.
    ///
    /// The attempt is counted by address before any source is asked: else every guess over the
    /// limit would still cost a search in a directory or database. A name longer than any user's
    /// name is refused by its length alone and counted by address only.
    pub(super) async fn begin(
        &self,
        trier: &Trier<'_>,
        sources: &[String],
        name: &Name,
    ) -> Result<Lookup, Refused> {
        let limit = self.per_address();
        if let Err(retry_after) = self.attempts.reserve(trier.group, limit, trier.now) {
            return Err(self.limited(trier, None, retry_after));
        }
        if !name.is_possible() {
            let cause = "the name is longer than any user's name";
            return Err(self.failed(trier, "-", Reason::UnknownUser, cause));
        }
        // If the sources could not answer, nothing was guessed: the attempt is not counted.
        let found = self.users.look_for(sources, name, trier.group).await;
        found.map_err(|error| {
            self.attempts.give_back(trier.group, trier.now);
            self.count(trier, LoginResult::Unavailable);
            error.into()
        })
    }

    /// Refuses a client address that has reached its limit of failures. The answer comes from
    /// memory, so that a flood of guesses costs the background runtime nothing.
    ///
    /// The flag is true for a flood, an address that keeps trying while it is refused; its refusals
    /// may be delayed by the caller.
    pub(super) fn refused_already(&self, trier: &Trier<'_>) -> Option<(Refused, bool)> {
        let away = self.attempts.turn_away(trier.group, self.per_address(), trier.now)?;
        Some((self.limited(trier, None, away.retry_after), away.is_flood))
    }

    fn per_address(&self) -> AttemptLimit {
        let limits = self.limits.per_address;
        AttemptLimit { attempts: limits.attempts, per: limits.per }
    }

    /// Reserves an attempt of this kind for `account` in the store. `lookup` is the result of
    /// `begin` for the same name. Returns the attempt, to be reported as `passed` or `not_passed`.
    pub(super) async fn reserve_attempt(
        &self,
        trier: &Trier<'_>,
        lookup: &Lookup,
        (account, kind): (Digest, AttemptKind),
    ) -> Result<Attempt, Refused> {
        let limits = &self.limits;
        let attempt = Attempt {
            account,
            kind,
            address: trier.group,
            per_account: (limits.per_account.attempts, limits.per_account.per),
            per_address: (limits.per_address.attempts, limits.per_address.per),
        };
        let admitted = self.store.count_attempt(attempt.clone(), trier.now).await;
        let is_limited = matches!(admitted, Ok(Admission::Limited { .. }));
        if admitted.is_err() || is_limited && !lookup.asked_elsewhere {
            // If the store failed, the client has not failed at anything. If the account's limit
            // refused the attempt and no remote source was asked, no work was done. In both cases
            // the count of the address in memory is taken back.
            self.attempts.give_back(trier.group, trier.now);
        }
        match admitted? {
            Admission::Admitted => Ok(attempt),
            Admission::Limited { retry_after, account: by_account } => {
                Err(self.limited(trier, Some((&account, by_account)), retry_after))
            }
        }
    }

    fn limited(
        &self,
        trier: &Trier<'_>,
        counted: Option<(&Digest, bool)>,
        retry_after: Duration,
    ) -> Refused {
        self.count(trier, LoginResult::Limited);
        let (account, by_account) = counted.unzip();
        let by_account = by_account.unwrap_or(false);
        let event = AuditEvent::Lockout { account, by_account };
        self.audit.write(trier.now, &trier.actor, &event);
        Refused {
            retry_after: Some(retry_after),
            ..Refused::new(Reason::TooManyAttempts, "over the limit of attempts")
        }
    }

    /// Reports that the reserved attempt succeeded, and how far it brought the user.
    pub(super) async fn passed(
        &self,
        attempt: Attempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), Refused> {
        // The memory count is given back first; the store decides whether the address now counts as
        // known.
        self.attempts.give_back(attempt.address, now);
        Ok(self.store.attempt_succeeded(attempt, progress, now).await?)
    }

    /// Reports that the reserved attempt did not succeed. It stays counted if the credential was
    /// verified and found wrong; it is given back if nothing was decided, for example because a
    /// source was down.
    pub(super) async fn not_passed(
        &self,
        attempt: Attempt,
        lookup: &Lookup,
        refused: &Refused,
        now: Timestamp,
    ) {
        if is_decision(refused.reason) {
            return;
        }
        // A client that is over its share after a remote source was searched for it keeps the
        // count. If the count were given back, the search would cost the client nothing and could
        // be repeated without end.
        if !lookup.asked_elsewhere || refused.reason != Reason::TooManyAttempts {
            self.attempts.give_back(attempt.address, now);
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
        trier: &Trier<'_>,
        sources: &[String],
        (name, lookup): (&Name, &Lookup),
        password: &SecretString,
    ) -> Result<User, Refused> {
        let checked = self.users.check(sources, (name, lookup), password, trier.group).await;
        let (reason, cause) = match checked {
            Ok(Checked::Right { user, rehashed_from }) => {
                if let Some(old) = rehashed_from {
                    // The password hash was upgraded to stronger parameters. The password is the
                    // same, so the sessions that began under the old hash must not end.
                    let subject = self.subject(&user);
                    let (source, id) = (user.source.as_str(), &user.id);
                    let user_ref = UserRef { source, id, subject: &subject };
                    self.store.rehashed(user_ref, old, user.version).await?;
                }
                return Ok(*user);
            }
            Ok(Checked::Wrong { disabled: true, .. }) => {
                (Reason::InvalidCredentials, "account disabled")
            }
            Ok(Checked::Wrong { .. }) => (Reason::InvalidCredentials, "wrong password"),
            Ok(Checked::Unknown) => (Reason::UnknownUser, "unknown user"),
            Err(error) => {
                self.count(trier, LoginResult::Unavailable);
                return Err(error.into());
            }
        };
        Err(self.failed(trier, name.as_str(), reason, cause))
    }

    /// Counts and audits an attempt whose credential was found wrong; returns the refusal.
    pub(super) fn failed(
        &self,
        trier: &Trier<'_>,
        name: &str,
        reason: Reason,
        cause: &'static str,
    ) -> Refused {
        self.count(trier, LoginResult::Failed);
        self.audit.write(trier.now, &trier.actor, &AuditEvent::LoginFailed { name, cause });
        Refused::new(reason, cause)
    }

    pub(super) fn count(&self, trier: &Trier<'_>, result: LoginResult) {
        self.metrics.login(trier.actor.login, result);
    }
}

impl Login {
    /// The client of one of this login's endpoints, as a `Trier`.
    pub(super) fn trier<'a>(&'a self, call: &'a Call) -> Trier<'a> {
        Trier { actor: self.actor(call), group: call.address_group(), now: call.now }
    }

    /// Refuses a guess before its body is read, if the client's address has reached its limit. A
    /// request with a bearer token is not a guess. The flag is true for a flood.
    pub(crate) fn refused_already(&self, call: &Call) -> Option<(Refused, bool)> {
        let is_guess = self.work(call.endpoint, &call.head) == Work::Password
            && !serve::has_bearer(&call.head);
        if is_guess { self.services.refused_already(&self.trier(call)) } else { None }
    }

    /// Begins an attempt for `name` from the caller's address, in the user sources of this login.
    pub(super) async fn begin(&self, call: &Call, name: &Name) -> Result<Lookup, Refused> {
        self.services.begin(&self.trier(call), &self.config.users, name).await
    }
}

/// True if the credential was verified and found wrong, so that the attempt stays counted.
fn is_decision(reason: Reason) -> bool {
    matches!(reason, Reason::InvalidCredentials | Reason::UnknownUser | Reason::CodeInvalid)
}
