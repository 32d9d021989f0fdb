//! Brute force: every try is counted before the password is looked at.
//!
//! Counting first means that a thousand tries at once are a thousand counted tries, not one.
//! Unknown accounts are counted exactly like known ones, or counting would list our users. A try is
//! counted the same whichever door it comes through.

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
    /// Lets a try at `name` begin. It is counted by its address before any source is asked for the
    /// name, or every guess over the limit would still be a search; a name that is longer than
    /// anybody's is counted by the address alone, and not even folded.
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
            let cause = "the name is longer than anybody's";
            return Err(self.failed(trier, "-", Reason::UnknownUser, cause));
        }
        let found = self.users.look_for(sources, name, trier.group).await;
        found.map_err(|error| {
            self.attempts.give_back(trier.group, trier.now);
            self.count(trier, LoginResult::Unavailable);
            error.into()
        })
    }

    /// The refusal of whoever has failed as often as they may: from memory, so that a flood of
    /// guesses is no work for the back room, where others are served.
    ///
    /// Whether it is a flood comes with it: that is told as late as can be borne.
    pub(super) fn refused_already(&self, trier: &Trier<'_>) -> Option<(Refused, bool)> {
        let away = self.attempts.turn_away(trier.group, self.per_address(), trier.now)?;
        Some((self.limited(trier, None, away.retry_after), away.is_flood))
    }

    fn per_address(&self) -> AttemptLimit {
        let limits = self.limits.per_address;
        AttemptLimit { attempts: limits.attempts, per: limits.per }
    }

    /// Reserves a try of this kind for `account`, which `lookup` led to.
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
            // A store that is down is nobody's failure, and where nobody was asked it is as if it
            // had not been tried.
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

    /// The reserved try was right, and brought its user so far.
    pub(super) async fn passed(
        &self,
        attempt: Attempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.attempts.give_back(attempt.address, now);
        Ok(self.store.attempt_succeeded(attempt, progress, now).await?)
    }

    /// Gives a reserved try back where it was never decided.
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
        // Whoever asks for more than their share after a search that was made for them has had it:
        // otherwise the search would cost nothing, and could be asked for without end.
        if !lookup.asked_elsewhere || refused.reason != Reason::TooManyAttempts {
            self.attempts.give_back(attempt.address, now);
        }
        if let Err(error) = self.store.attempt_undecided(attempt, now).await {
            // The client already has a reason; the count stands and expires by itself.
            tracing::warn!(%error, "an undecided attempt could not be given back");
        }
    }

    /// The user whose password this is; the try was reserved before.
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
                    // Sessions under the old hash go on: the password is the same.
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

    /// Whether a guess is refused before it is even read.
    pub(crate) fn refused_already(&self, call: &Call) -> Option<(Refused, bool)> {
        let is_guess = self.work(call.endpoint, &call.head) == Work::Password
            && !serve::has_bearer(&call.head);
        if is_guess { self.services.refused_already(&self.trier(call)) } else { None }
    }

    /// Lets a try at `name` from the caller's address begin.
    pub(super) async fn begin(&self, call: &Call, name: &Name) -> Result<Lookup, Refused> {
        self.services.begin(&self.trier(call), &self.config.users, name).await
    }
}

/// True where the credential was looked at and found wrong, so that the try counts.
fn is_decision(reason: Reason) -> bool {
    matches!(reason, Reason::InvalidCredentials | Reason::UnknownUser | Reason::CodeInvalid)
}
