//! The traits of a store, for the shared one: each operation within its time limit.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use super::records::OPERATION;
use super::{SharedStore, millis};
use crate::{
    AccountCounts, AccountKey, AccountStore, AttemptAdmission, AttemptStore, CodeGuess, CodeStore,
    CodeVerdict, KnownAccount, LoginAttempt, LoginProgress, OneTimeCode, OpaqueToken, PutCode,
    RefreshRotation, RevocationTarget, Revocations, RotationOutcome, SealedCredential, Session,
    SessionPage, SessionStore, Store, StoreError, TotpSecret, UserRef,
};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject, UserId};
use tollhouse_core::secret::Digest;

/// How long an operation that an operator asks for may take.
const ADMINISTRATION: Duration = Duration::from_secs(10);

#[async_trait]
impl SessionStore for SharedStore {
    async fn put(
        &self,
        session: Session,
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.records.operation(OPERATION, self.put_session(session, limit, now)).await
    }

    async fn find(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
        self.records.operation(OPERATION, self.find_session(id, now)).await
    }

    async fn find_by_token(
        &self,
        token: Digest,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        self.records.operation(OPERATION, self.session_of_token(token, now)).await
    }

    async fn list(
        &self,
        subject: Option<&Subject>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        self.records.operation(ADMINISTRATION, self.list_sessions(subject, limit, now)).await
    }

    async fn page(
        &self,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<SessionPage, StoreError> {
        self.records.operation(ADMINISTRATION, self.page_of_sessions(after, now)).await
    }

    async fn rotate(
        &self,
        id: SessionId,
        rotation: RefreshRotation,
        now: Timestamp,
    ) -> Result<RotationOutcome, StoreError> {
        let rotated =
            self.records.operation(OPERATION, self.rotate_session(id, &rotation, now)).await;
        if rotated.is_err() {
            // The rotation may have found a stolen token and ended the session, without getting to
            // tell the nodes.
            self.look_again_at(id);
        }
        rotated
    }

    async fn renew(
        &self,
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        issued: Option<OpaqueToken>,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let renewing = self.renew_session(id, presented, access_until, issued, now);
        self.records.operation(OPERATION, renewing).await
    }

    async fn move_token(
        &self,
        id: SessionId,
        token: Digest,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        self.records.operation(OPERATION, self.move_session_token(id, token, until, now)).await
    }

    async fn keep_credential(
        &self,
        id: SessionId,
        credential: SealedCredential,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let keeping = self.keep_session_credential(id, credential, now);
        self.records.operation(OPERATION, keeping).await
    }

    async fn revoke(
        &self,
        what: RevocationTarget,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ended = self.carry_out_revocation(&what, now).await;
        if ended.is_err() {
            self.defer(what, now);
        }
        ended
    }

    async fn rehashed(
        &self,
        user: UserRef<'_>,
        old: Digest,
        new: Digest,
    ) -> Result<(), StoreError> {
        let replacing = self.replace_version(user, old, new, self.clock.now());
        self.records.operation(OPERATION, replacing).await
    }
}

#[async_trait]
impl CodeStore for SharedStore {
    async fn put_code(
        &self,
        code: OneTimeCode,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<PutCode, StoreError> {
        self.records.operation(OPERATION, self.store_code(code, per_hour, now)).await
    }

    async fn find_code(
        &self,
        key: Digest,
        now: Timestamp,
    ) -> Result<Option<OneTimeCode>, StoreError> {
        self.records.operation(OPERATION, self.read_code(key, now)).await
    }

    async fn use_code(&self, guess: CodeGuess, now: Timestamp) -> Result<CodeVerdict, StoreError> {
        self.records.operation(OPERATION, self.guess_code(&guess, now)).await
    }
}

#[async_trait]
impl AttemptStore for SharedStore {
    async fn count_attempt(
        &self,
        attempt: LoginAttempt,
        now: Timestamp,
    ) -> Result<AttemptAdmission, StoreError> {
        self.records.operation(OPERATION, self.reserve_attempt(&attempt, now)).await
    }

    async fn attempt_succeeded(
        &self,
        attempt: LoginAttempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let refunding = self.refund_attempt(&attempt, u32::MAX, Some(progress), now);
        self.records.operation(OPERATION, refunding).await
    }

    async fn attempt_undecided(
        &self,
        attempt: LoginAttempt,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.records.operation(OPERATION, self.refund_attempt(&attempt, 1, None, now)).await
    }

    async fn lift_limits(&self, account: Digest, now: Timestamp) -> Result<bool, StoreError> {
        self.records.operation(OPERATION, self.lift_account(account, now)).await
    }
}

#[async_trait]
impl AccountStore for SharedStore {
    async fn put_account(&self, account: KnownAccount) -> Result<(), StoreError> {
        self.records.operation(OPERATION, self.store_account(account)).await
    }

    async fn find_account(
        &self,
        source: &str,
        by: AccountKey<'_>,
    ) -> Result<Option<KnownAccount>, StoreError> {
        self.records.operation(OPERATION, self.read_account(source, by)).await
    }

    async fn remove_account(&self, source: &str, subject: &UserId) -> Result<(), StoreError> {
        self.records.operation(OPERATION, self.forget_account(source, subject)).await
    }

    async fn account_counts(&self, source: &str) -> Result<AccountCounts, StoreError> {
        self.records.operation(ADMINISTRATION, self.count_accounts(source)).await
    }

    async fn put_totp(
        &self,
        source: &str,
        id: &UserId,
        totp: Option<TotpSecret>,
    ) -> Result<(), StoreError> {
        self.records.operation(OPERATION, self.store_totp(source, id, totp)).await
    }

    async fn find_totp(&self, source: &str, id: &UserId) -> Result<Option<TotpSecret>, StoreError> {
        self.records.operation(OPERATION, self.read_totp(source, id)).await
    }

    async fn use_totp_step(
        &self,
        source: &str,
        id: &UserId,
        step: u64,
    ) -> Result<bool, StoreError> {
        self.records.operation(OPERATION, self.spend_totp_step(source, id, step)).await
    }
}

#[async_trait]
impl Store for SharedStore {
    fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    fn secret(&self) -> [u8; 32] {
        self.birth.lock().secret()
    }

    fn healthy(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() {
            return Err(StoreError::Unavailable("it is closed".into()));
        }
        // A node that still verifies tokens is of use while the database is away. If it were taken
        // out of service, so would be all nodes, for the same reason.
        if self.revocations.is_stale(&self.clock) {
            return Err(StoreError::Unavailable("it cannot be reached for too long".into()));
        }
        Ok(())
    }

    fn is_stale(&self) -> bool {
        self.revocations.is_stale(&self.clock)
    }

    fn has_unwritten_end(&self, session: SessionId) -> bool {
        self.deferred.lock().iter().any(|(what, _)| what.names(session))
    }

    fn notes(&self) -> Vec<String> {
        let status = self.status();
        let mut notes = Vec::new();
        if let Some((since, why)) = status.degraded {
            notes.push(format!(
                "the shared store cannot be reached since {since} ({why}): revocations are known \
                 as of {}",
                status.revocations_as_of
            ));
        }
        if status.deferred > 0 {
            notes.push(format!(
                "{} revocations wait to be written to the shared store",
                status.deferred
            ));
        }
        notes
    }

    fn set_lifetimes(&self, leeway: Duration, longest_access: Duration) {
        self.leeway.store(millis(leeway), Ordering::Relaxed);
        self.longest_access.store(millis(longest_access), Ordering::Relaxed);
    }

    async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
        self.records.database.close().await;
        self.records.failed("it is closed");
    }
}
