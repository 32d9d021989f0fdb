//! Brute force: every try is counted before the password is looked at.
//!
//! Counting first means that a thousand tries at once are a thousand counted tries, not one.
//! Unknown accounts are counted exactly like known ones, or counting would list our users.

use super::{Call, Login, Refused};
use crate::dialect::Reason;
use crate::secret::Digest;
use crate::session::{Admission, Attempt};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::metrics::LoginResult;

impl Login {
    /// Reserves a try for `account` from the caller's address.
    pub(super) async fn reserve_attempt(
        &self,
        call: &Call,
        account: Digest,
    ) -> Result<Attempt, Refused> {
        let limits = &self.services.limits;
        let attempt = Attempt {
            account,
            address: call.address_group(),
            per_account: (limits.per_account.attempts, limits.per_account.per),
            per_address: (limits.per_address.attempts, limits.per_address.per),
        };
        match self.services.store.count_attempt(attempt.clone(), call.now).await? {
            Admission::Admitted => Ok(attempt),
            Admission::Limited { retry_after, account } => {
                self.count_login(LoginResult::Limited);
                self.audit(
                    call,
                    AuditEvent::Lockout { account: &attempt.account, by_account: account },
                );
                Err(Refused {
                    retry_after: Some(retry_after),
                    ..Refused::new(Reason::TooManyAttempts, "over the limit of attempts")
                })
            }
        }
    }

    /// Gives a reserved try back: it was never decided.
    pub(super) async fn give_back(&self, call: &Call, attempt: Attempt) {
        if let Err(error) = self.services.store.attempt_undecided(attempt, call.now).await {
            // The client already has a reason; the count stands and expires by itself.
            tracing::warn!(%error, "an undecided attempt could not be given back");
        }
    }
}
