//! Brute force: every try is counted before the password is looked at.
//!
//! Counting first means that a thousand tries at once are a thousand counted tries, not one.
//! Unknown accounts are counted exactly like known ones, or counting would list our users. A try is
//! counted the same whichever door it comes through.

use std::net::IpAddr;

use super::{Call, Login, Refused, Services};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::secret::{Digest, SecretString};
use crate::session::{Admission, Attempt, AttemptKind, Holder};
use crate::telemetry::audit::{Actor, AuditEvent};
use crate::telemetry::metrics::LoginResult;
use crate::users::{Checked, Name, User, canonical_account};

/// Who tries, and through which door.
#[derive(Debug)]
pub(super) struct Trier<'a> {
    /// `login` names the door: a login, or Basic on a route.
    pub(super) actor: Actor<'a>,
    /// The group of addresses that tries from here are counted for.
    pub(super) group: Option<IpAddr>,
    pub(super) now: Timestamp,
}

impl Services {
    /// Reserves a try of this kind for `account`.
    pub(super) async fn reserve_attempt(
        &self,
        trier: &Trier<'_>,
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
        match self.store.count_attempt(attempt.clone(), trier.now).await? {
            Admission::Admitted => Ok(attempt),
            Admission::Limited { retry_after, account } => {
                self.count(trier, LoginResult::Limited);
                let event = AuditEvent::Lockout { account: &attempt.account, by_account: account };
                self.audit.write(trier.now, &trier.actor, &event);
                Err(Refused {
                    retry_after: Some(retry_after),
                    ..Refused::new(Reason::TooManyAttempts, "over the limit of attempts")
                })
            }
        }
    }

    /// Gives a reserved try back: it was never decided.
    pub(super) async fn give_back(&self, attempt: Attempt, now: Timestamp) {
        if let Err(error) = self.store.attempt_undecided(attempt, now).await {
            // The client already has a reason; the count stands and expires by itself.
            tracing::warn!(%error, "an undecided attempt could not be given back");
        }
    }

    /// What attempts are counted for: the user where there is one, else the folded name.
    pub(super) async fn account(&self, sources: &[String], name: &Name) -> Result<Digest, Refused> {
        let resolved = self.users.resolve(sources, name).await?;
        Ok(canonical_account(name, resolved.as_ref()))
    }

    /// The user whose password this is; the try was reserved before.
    pub(super) async fn check_password(
        &self,
        trier: &Trier<'_>,
        sources: &[String],
        name: &Name,
        password: &SecretString,
    ) -> Result<User, Refused> {
        let checked = self.users.check(sources, name, password, trier.group).await;
        let (reason, cause) = match checked {
            Ok(Checked::Right { user, rehashed_from }) => {
                if let Some(old) = rehashed_from {
                    // Sessions under the old hash go on: the password is the same.
                    let subject = self.subject(&user);
                    let (source, id) = (user.source.as_str(), &user.id);
                    let holder = Holder { source, id, subject: &subject };
                    self.store.rehashed(holder, old, user.version).await?;
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

    /// Counts and writes down a try that was decided against.
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
    /// The caller of one of this login's endpoints.
    pub(super) fn trier<'a>(&'a self, call: &'a Call) -> Trier<'a> {
        Trier { actor: self.actor(call), group: call.address_group(), now: call.now }
    }

    /// Reserves a try of this kind for `account` from the caller's address.
    pub(super) async fn reserve_attempt(
        &self,
        call: &Call,
        account: (Digest, AttemptKind),
    ) -> Result<Attempt, Refused> {
        self.services.reserve_attempt(&self.trier(call), account).await
    }

    /// Gives a reserved try back: it was never decided.
    pub(super) async fn give_back(&self, call: &Call, attempt: Attempt) {
        self.services.give_back(attempt, call.now).await;
    }
}

/// True where the credential was looked at and found wrong, so that the try counts.
pub(super) fn is_decision(reason: Reason) -> bool {
    matches!(reason, Reason::InvalidCredentials | Reason::UnknownUser | Reason::CodeInvalid)
}
