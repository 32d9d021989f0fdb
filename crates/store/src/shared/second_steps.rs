//! Secrets of second steps (TOTP) in the shared store. They do not expire.
//!
//! A record is found by the source and the user's id in it. An imported record may have the id alone
//! (see `SecondStepRecord::source`); it moves to the user who first presents a valid code. A record that
//! is on its way is never out of reach: if a node dies meanwhile, the user is still asked for a
//! code, and the next one completes the move.

use serde::{Deserialize, Serialize};

use super::SharedStore;
use super::database::RecordKey;
use super::records::{Change, NO_TIME};
use crate::{StoreError, TotpSecret};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserId;
use tollhouse_core::secret::Secret;

/// The record of a second step. The names are part of what is stored. Source and id are in it
/// because an export must be able to say whose it is: the address of a record cannot be read back.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SecondStepRecord {
    /// The source; empty in a record that was imported from a store from before sources were noted.
    /// Such a record applies to every user with this id, until one of them presents a valid code.
    pub(super) source: String,
    pub(super) id: UserId,
    pub(super) secret: Vec<u8>,
    pub(super) made: Timestamp,
    /// The last time step whose code was used.
    pub(super) used: u64,
    /// The source whose user has presented a valid code, in a record without a source. The record is
    /// about to move there, and applies to nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

impl SecondStepRecord {
    /// True if a record without a source applies to the user of `source` with its id.
    fn is_for(&self, source: &str) -> bool {
        self.owner.as_deref().is_none_or(|owner| owner == source)
    }
}

/// The source of records that name none.
pub(super) const ANY_SOURCE: &str = "";

impl SharedStore {
    /// Stores the secret of a user's second step, or removes it.
    pub(super) async fn store_totp(
        &self,
        source: &str,
        id: &UserId,
        totp: Option<TotpSecret>,
    ) -> Result<(), StoreError> {
        let key = self.totp_key(source, id);
        let Some(totp) = totp else { return self.remove_totp(source, id).await };
        let step = SecondStepRecord {
            source: source.to_owned(),
            id: id.clone(),
            secret: totp.secret.expose().clone(),
            made: totp.made,
            // The codes of an earlier secret say nothing about those of this one.
            used: 0,
            owner: None,
        };
        let stored = self.records.update(key, NO_TIME, |_: Option<SecondStepRecord>, _| {
            ((), Change::Write(step.clone(), None))
        });
        stored.await
    }

    async fn remove_totp(&self, source: &str, id: &UserId) -> Result<(), StoreError> {
        let removed = self.records.update(
            self.totp_key(source, id),
            NO_TIME,
            |current: Option<SecondStepRecord>, _| (current.is_some(), Change::Remove),
        );
        if removed.await? {
            return Ok(());
        }
        self.remove_sourceless(source, id).await
    }

    /// Removes the record without a source, if it applies to the user of this one.
    async fn remove_sourceless(&self, source: &str, id: &UserId) -> Result<(), StoreError> {
        let key = self.totp_key(ANY_SOURCE, id);
        let removed = self.records.update(key, NO_TIME, |current: Option<SecondStepRecord>, _| {
            let is_theirs = current.is_some_and(|current| current.is_for(source));
            ((), if is_theirs { Change::Remove } else { Change::Keep })
        });
        removed.await
    }

    /// The secret of the user's second step, if the user has one.
    pub(super) async fn read_totp(
        &self,
        source: &str,
        id: &UserId,
    ) -> Result<Option<TotpSecret>, StoreError> {
        let step = match self.own_step(source, id).await? {
            Some(step) => Some(step),
            None => {
                let key = self.totp_key(ANY_SOURCE, id);
                let (step, _): (Option<SecondStepRecord>, _) =
                    self.records.read(key, NO_TIME).await?;
                step.filter(|step| step.is_for(source))
            }
        };
        Ok(step.map(|step| TotpSecret { secret: Secret::new(step.secret), made: step.made }))
    }

    /// The record under the user's source.
    pub(super) async fn own_step(
        &self,
        source: &str,
        id: &UserId,
    ) -> Result<Option<SecondStepRecord>, StoreError> {
        Ok(self.records.read(self.totp_key(source, id), NO_TIME).await?.0)
    }

    /// Marks the codes of all time steps up to `step` as used.
    pub(super) async fn spend_totp_step(
        &self,
        source: &str,
        id: &UserId,
        step: u64,
    ) -> Result<bool, StoreError> {
        if let Some(is_first) = self.spend_own_step(source, id, step, None).await? {
            return Ok(is_first);
        }
        // The user who presents a valid code first owns the record from now on. Only then is it
        // copied: of two users with the same id, one gets it.
        let key = self.totp_key(ANY_SOURCE, id);
        let claimed =
            self.records.update(key, NO_TIME, |current: Option<SecondStepRecord>, _| match current
                .filter(|current| current.is_for(source) && current.used < step)
            {
                Some(current) => {
                    let owned = SecondStepRecord { owner: Some(source.to_owned()), ..current };
                    (Some(owned.clone()), Change::Write(owned, None))
                }
                None => (None, Change::Keep),
            });
        let Some(claimed) = claimed.await? else { return Ok(false) };
        let own = SecondStepRecord { source: source.to_owned(), owner: None, ..claimed };
        // The record under the source decides whether the code is a replay: every node that moves
        // the record at the same time decides by it.
        let is_first = self.spend_own_step(source, id, step, Some(own)).await?.unwrap_or(false);
        self.remove_sourceless(source, id).await?;
        Ok(is_first)
    }

    /// Marks a time step as used in the record under the source, which begins as `initial` if there
    /// is none. `None` if there is no record.
    async fn spend_own_step(
        &self,
        source: &str,
        id: &UserId,
        step: u64,
        initial: Option<SecondStepRecord>,
    ) -> Result<Option<bool>, StoreError> {
        let key = self.totp_key(source, id);
        let spent =
            self.records.update(key, NO_TIME, |current: Option<SecondStepRecord>, _| match current
                .or_else(|| initial.clone())
            {
                Some(current) if current.used < step => {
                    (Some(true), Change::Write(SecondStepRecord { used: step, ..current }, None))
                }
                Some(_) => (Some(false), Change::Keep),
                None => (None, Change::Keep),
            });
        spent.await
    }

    pub(super) fn totp_key(&self, source: &str, id: &UserId) -> RecordKey {
        self.account_record(&[b"second step", source.as_bytes(), id.as_str().as_bytes()])
    }
}
