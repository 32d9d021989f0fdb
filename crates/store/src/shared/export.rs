//! Sends the content of the shared store as rows, for a move to another store.
//!
//! The records are walked over page by page while other nodes may go on. Whatever they change behind
//! the walk is not in the export, so an operator who moves a store stops its gateways first.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::SharedStore;
use super::accounts::NamedUser;
use super::database::{RecordKey, RecordKind};
use super::second_steps::{ANY_SOURCE, SecondStepRecord};
use super::session_record::{AT_ONCE, PAGE, SessionRecord, session_id};
use crate::transfer::{ExportRow, RowCounts, RowSender, TransferError};
use crate::{KnownAccount, SessionMark, StoreError, TokenOwner};
use tollhouse_core::clock::Timestamp;

/// The records that a walk over `RecordKind::Account` finds. Serde tells the variants apart by
/// their fields.
#[derive(Deserialize)]
#[serde(untagged)]
enum AccountRecord {
    User(Box<KnownAccount>),
    SecondStepRecord(SecondStepRecord),
    Name(NamedUser),
}

impl SharedStore {
    /// Sends everything that must survive a move.
    ///
    /// # Errors
    /// When the store cannot be reached or a record cannot be read, or when nobody receives any
    /// more.
    pub async fn export(&self, mut rows: RowSender) -> Result<RowCounts, TransferError> {
        self.records.healthy()?;
        if !self.deferred.lock().is_empty() {
            let why = "revocations wait to be written to it: export once it is reached again";
            return Err(StoreError::Unavailable(why.into()).into());
        }
        let now = self.records.now(self.clock.now()).await?;
        let birth = self.birth.lock().clone();
        let secret = birth.secret();
        rows.send(ExportRow::Birth { made: birth.made, secret, seen: now }).await?;
        self.export_sessions(&mut rows, now).await?;
        // Every node has these in memory.
        for (digest, until) in self.revocations.tokens() {
            self.send(&mut rows, ExportRow::RefusedToken { digest, until }, now).await?;
        }
        for (owner, at) in self.revocations.cutoffs.all() {
            let row = match owner {
                TokenOwner::Subject(subject) => ExportRow::SubjectCutoff { subject, at },
                TokenOwner::Username(name) => {
                    ExportRow::UsernameCutoff { name: name.to_string(), at }
                }
            };
            rows.send(row).await?;
        }
        self.export_accounts(&mut rows).await?;
        rows.end().await
    }

    async fn send(
        &self,
        rows: &mut RowSender,
        row: ExportRow,
        now: Timestamp,
    ) -> Result<(), TransferError> {
        if row.is_needed(now, self.leeway()) { rows.send(row).await } else { Ok(()) }
    }

    async fn export_sessions(
        &self,
        rows: &mut RowSender,
        now: Timestamp,
    ) -> Result<(), TransferError> {
        let mut after = None;
        loop {
            let page: Vec<(Vec<u8>, SessionRecord)> =
                self.page_of(RecordKind::Session, &mut after).await?;
            for (id, record) in page {
                let Some(id) = session_id(&id) else { continue };
                let row = match record {
                    SessionRecord::Ended(until) => ExportRow::EndedSession { id, until },
                    // A revocation that this node knows holds, whatever the record says.
                    SessionRecord::Live(session) => match self.revocations.session(&id) {
                        Some(SessionMark::Revoked(until)) => ExportRow::EndedSession { id, until },
                        _ => ExportRow::Session(session),
                    },
                };
                self.send(rows, row, now).await?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn export_accounts(&self, rows: &mut RowSender) -> Result<(), TransferError> {
        let mut after = None;
        loop {
            let page: Vec<(Vec<u8>, AccountRecord)> =
                self.page_of(RecordKind::Account, &mut after).await?;
            let page = stream::iter(page.into_iter().map(|(_, record)| self.account_row(record)));
            let page: Vec<Option<ExportRow>> = page.buffered(AT_ONCE).try_collect().await?;
            for row in page.into_iter().flatten() {
                rows.send(row).await?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn account_row(&self, record: AccountRecord) -> Result<Option<ExportRow>, StoreError> {
        match record {
            AccountRecord::User(account) => {
                let has_name = self.has_name(&account).await?;
                Ok(Some(ExportRow::Account { account, has_name }))
            }
            AccountRecord::SecondStepRecord(step) => self.second_step_row(step).await,
            // Names are sent with their users.
            AccountRecord::Name(_) => Ok(None),
        }
    }

    async fn second_step_row(
        &self,
        step: SecondStepRecord,
    ) -> Result<Option<ExportRow>, StoreError> {
        let SecondStepRecord { source, id, secret, made, used, owner } = step;
        // A record that is about to move to a source may be there already.
        let source = match owner.filter(|_| source == ANY_SOURCE) {
            Some(owner) if self.own_step(&owner, &id).await?.is_some() => return Ok(None),
            Some(owner) => owner,
            None => source,
        };
        Ok(Some(ExportRow::SecondStep { source, id, secret, made, used }))
    }

    /// Number of sessions, users and second steps.
    pub(super) async fn number_of_records(&self) -> Result<RowCounts, StoreError> {
        let mut found = RowCounts::default();
        let mut after = None;
        loop {
            let page = self.page_of(RecordKind::Session, &mut after).await?;
            for (_, record) in page {
                match record {
                    SessionRecord::Live(_) => found.sessions += 1,
                    SessionRecord::Ended(_) => found.ended_sessions += 1,
                }
            }
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = self.page_of(RecordKind::Account, &mut after).await?;
            for (_, record) in page {
                match record {
                    AccountRecord::User(_) => found.accounts += 1,
                    AccountRecord::SecondStepRecord(_) => found.second_steps += 1,
                    AccountRecord::Name(NamedUser { .. }) => {}
                }
            }
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// The next records of a kind. `after` is where to go on; `None` if these are the last.
    async fn page_of<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        after: &mut Option<Vec<u8>>,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let walk = self.records.database.walk(kind, after.as_deref(), PAGE);
        let page = self.records.step(walk).await?;
        *after = page.last().filter(|_| page.len() >= PAGE).map(|(id, _)| id.clone());
        let mut records = Vec::with_capacity(page.len());
        for (id, record) in page {
            let key = RecordKey { kind, id };
            // A record that was removed is empty for a while.
            if let Some(value) = self.records.open(&key, &record)? {
                records.push((key.id, value));
            }
        }
        Ok(records)
    }
}
