//! The accounts of users in the embedded store, and their second steps, as `AccountStore` has them.

use async_trait::async_trait;

use super::{EmbeddedStore, known_users, second_steps};
use crate::{AccountCounts, AccountKey, AccountStore, KnownAccount, StoreError, TotpSecret};
use tollhouse_core::identity::UserId;

#[async_trait]
impl AccountStore for EmbeddedStore {
    async fn put_account(&self, account: KnownAccount) -> Result<(), StoreError> {
        self.ask(move |tables| known_users::put(tables, &account)).await
    }

    async fn find_account(
        &self,
        source: &str,
        by: AccountKey<'_>,
    ) -> Result<Option<KnownAccount>, StoreError> {
        let source = source.to_owned();
        match by {
            AccountKey::Subject(subject) => {
                let subject = subject.clone();
                self.ask(move |tables| {
                    known_users::find(tables, &source, AccountKey::Subject(&subject))
                })
                .await
            }
            AccountKey::Name(name) => {
                let name = name.to_owned();
                self.ask(move |tables| known_users::find(tables, &source, AccountKey::Name(&name)))
                    .await
            }
        }
    }

    async fn remove_account(&self, source: &str, subject: &UserId) -> Result<(), StoreError> {
        let source = source.to_owned();
        let subject = subject.clone();
        self.ask(move |tables| known_users::remove(tables, &source, &subject)).await
    }

    async fn account_counts(&self, source: &str) -> Result<AccountCounts, StoreError> {
        let source = source.to_owned();
        self.ask(move |tables| known_users::counts(tables, &source)).await
    }

    async fn put_totp(
        &self,
        source: &str,
        id: &UserId,
        totp: Option<TotpSecret>,
    ) -> Result<(), StoreError> {
        let source = source.to_owned();
        let id = id.clone();
        self.ask(move |tables| second_steps::put(tables, (&source, &id), totp.as_ref())).await
    }

    async fn find_totp(&self, source: &str, id: &UserId) -> Result<Option<TotpSecret>, StoreError> {
        let source = source.to_owned();
        let id = id.clone();
        self.ask(move |tables| second_steps::find(tables, (&source, &id))).await
    }

    async fn use_totp_step(
        &self,
        source: &str,
        id: &UserId,
        step: u64,
    ) -> Result<bool, StoreError> {
        let source = source.to_owned();
        let id = id.clone();
        self.ask(move |tables| second_steps::use_step(tables, (&source, &id), step)).await
    }
}
