//! Users of remote sources that the nodes remember in the shared store. Their second steps are in
//! `second_steps`.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::SharedStore;
use super::database::{RecordKey, RecordKind};
use super::records::{Change, NO_TIME};
use super::session_record::AT_ONCE;
use crate::{AccountCounts, AccountKey, KnownAccount, StoreError};
use tollhouse_core::identity::UserId;
use tollhouse_core::secret::Digest;

/// The user that a canonical name leads to. Other fields are refused, or an export could take a
/// damaged record of another form for this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedUser {
    pub(super) id: UserId,
}

impl SharedStore {
    /// Stores what is known of a user.
    pub(super) async fn store_account(&self, account: KnownAccount) -> Result<(), StoreError> {
        let key = self.user_key(&account.source, &account.subject);
        let group = self.source_group(&account.source);
        self.records.step(self.records.database.join(group, &key.id, None)).await?;
        // The name leads to the record, and the record says which name is its own. A name that a
        // user had before leads to a record with another name, which counts as nothing.
        let name = self.name_key(&account.source, &account.key);
        let id = NamedUser { id: account.subject.clone() };
        let named = self.records.update(name, NO_TIME, |current: Option<NamedUser>, _| {
            if current.as_ref() == Some(&id) {
                return ((), Change::Keep);
            }
            ((), Change::Write(id.clone(), None))
        });
        named.await?;
        let stored = self.records.update(key, NO_TIME, |_: Option<KnownAccount>, _| {
            ((), Change::Write(account.clone(), None))
        });
        stored.await
    }

    /// The record of the user of `source` with this id or this canonical name.
    pub(super) async fn read_account(
        &self,
        source: &str,
        by: AccountKey<'_>,
    ) -> Result<Option<KnownAccount>, StoreError> {
        match by {
            AccountKey::Subject(id) => {
                Ok(self.records.read(self.user_key(source, id), NO_TIME).await?.0)
            }
            AccountKey::Name(name) => {
                let key = self.name_key(source, name);
                let (named, _): (Option<NamedUser>, _) = self.records.read(key, NO_TIME).await?;
                let Some(named) = named else { return Ok(None) };
                let key = self.user_key(source, &named.id);
                let (account, _): (Option<KnownAccount>, _) =
                    self.records.read(key, NO_TIME).await?;
                Ok(account.filter(|account| account.key == name))
            }
        }
    }

    /// Removes the record of a user of `source`.
    pub(super) async fn forget_account(&self, source: &str, id: &UserId) -> Result<(), StoreError> {
        let key = self.user_key(source, id);
        let member = key.id.clone();
        let removed = self
            .records
            .update(key, NO_TIME, |account: Option<KnownAccount>, _| (account, Change::Remove));
        let Some(account) = removed.await? else { return Ok(()) };
        // The name may belong to another user by now, if the source renamed users.
        let name = self.name_key(source, &account.key);
        let unnamed = self.records.update(name, NO_TIME, |named: Option<NamedUser>, _| {
            let is_theirs = named.is_some_and(|named| named.id == *id);
            ((), if is_theirs { Change::Remove } else { Change::Keep })
        });
        unnamed.await?;
        self.records.step(self.records.database.leave(self.source_group(source), &member)).await
    }

    /// Number of known users of `source`, and number of those with a hash that the gateway made.
    pub(super) async fn count_accounts(&self, source: &str) -> Result<AccountCounts, StoreError> {
        let group = self.source_group(source);
        let members = self.records.step(self.records.database.members(group)).await?;
        let accounts = stream::iter(members.into_iter().map(|id| async move {
            let key = RecordKey { kind: RecordKind::Account, id };
            Ok(self.records.read::<KnownAccount>(key, NO_TIME).await?.0)
        }));
        accounts
            .buffer_unordered(AT_ONCE)
            .try_fold(
                AccountCounts::default(),
                |mut counts, account: Option<KnownAccount>| async move {
                    let Some(account) = account else { return Ok(counts) };
                    counts.known += 1;
                    if let Some(imported) = account.imported.filter(|_| account.hash.is_some()) {
                        counts.imported += 1;
                        counts.first =
                            Some(counts.first.map_or(imported, |first| first.min(imported)));
                        counts.latest = counts.latest.max(Some(imported));
                    }
                    Ok(counts)
                },
            )
            .await
    }

    /// True if the user's canonical name leads to this user.
    pub(super) async fn has_name(&self, account: &KnownAccount) -> Result<bool, StoreError> {
        let name = self.name_key(&account.source, &account.key);
        let (named, _): (Option<NamedUser>, _) = self.records.read(name, NO_TIME).await?;
        Ok(named.is_some_and(|named| named.id == account.subject))
    }

    pub(super) fn user_key(&self, source: &str, id: &UserId) -> RecordKey {
        self.account_record(&[b"user", source.as_bytes(), id.as_str().as_bytes()])
    }

    pub(super) fn name_key(&self, source: &str, name: &str) -> RecordKey {
        self.account_record(&[b"name", source.as_bytes(), name.as_bytes()])
    }

    pub(super) fn account_record(&self, parts: &[&[u8]]) -> RecordKey {
        self.records.key(RecordKind::Account, parts)
    }

    pub(super) fn source_group(&self, source: &str) -> Digest {
        self.records.seal.name(&[b"users of", source.as_bytes()])
    }
}
