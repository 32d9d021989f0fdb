//! Sends the content of the store as rows, for a move to another store.
//!
//! The rows are those of one read transaction, so they belong together although the store goes on.
//! Rows that have ended are left out, unless the clock is not believed: with a wrong clock, a
//! revocation that is still needed could be lost.
//!
//! Retired refresh tokens of sessions from before schema 4 are left out, too. Such a token is then
//! refused as unknown, where this store would have taken it for a stolen one.

use redb::{ReadTransaction, ReadableTable};
use tokio::sync::oneshot;

use super::file::StoreIdentity;
use super::frozen::table;
use super::job::{WriterMessage, unavailable};
use super::session_rows::session_id;
use super::tables::{DigestBytes, ShortId, StoreFault};
use super::{EmbeddedStore, cutoffs};
use crate::transfer::{ExportRow, RowCounts, RowSender, TransferError, in_thread};
use crate::{KnownAccount, TokenOwner};
use std::time::Duration;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserId;
use tollhouse_core::secret::Digest;

impl EmbeddedStore {
    /// Sends everything that must survive a move.
    ///
    /// # Errors
    /// When the store is unavailable or a row cannot be read, or when nobody receives any more.
    pub async fn export(&self, rows: RowSender) -> Result<RowCounts, TransferError> {
        // The writer writes owed revocations before any operation, so that the snapshot has them.
        self.ask(|_| Ok(())).await?;
        let (sender, answer) = oneshot::channel();
        self.send(WriterMessage::Snapshot(sender))?;
        let snapshot = answer.await.unwrap_or_else(|_| Err(unavailable("it is closed")))?;
        let (seen, is_believed) = self.memory.time(|time| (time.highest(), time.is_believed()));
        let now = if is_believed { self.memory.clock.now() } else { Timestamp::default() };
        let export =
            StoreExport { birth: self.birth, seen, now, leeway: self.memory.leeway(), rows };
        in_thread("export", move || export.run(&snapshot)).await
    }
}

/// An export under way.
struct StoreExport {
    birth: StoreIdentity,
    seen: Timestamp,
    /// Rows that ended before are left out.
    now: Timestamp,
    leeway: Duration,
    rows: RowSender,
}

impl StoreExport {
    fn run(mut self, txn: &ReadTransaction) -> Result<RowCounts, TransferError> {
        let StoreIdentity { created_at: made, secret } = self.birth;
        self.send(ExportRow::Birth { made, secret, seen: self.seen })?;
        self.sessions(txn)?;
        self.revocations(txn)?;
        self.accounts(txn)?;
        self.second_steps(txn)?;
        self.rows.end_blocking()
    }

    fn send(&mut self, row: ExportRow) -> Result<(), TransferError> {
        if row.is_needed(self.now, self.leeway) { self.rows.send_blocking(row) } else { Ok(()) }
    }

    fn sessions(&mut self, txn: &ReadTransaction) -> Result<(), TransferError> {
        let Some(sessions) = table::<&ShortId, &[u8]>(txn, "sessions").map_err(unreadable)? else {
            return Ok(());
        };
        for row in sessions.iter().map_err(unreadable)? {
            let (_, session) = row.map_err(unreadable)?;
            let session = serde_json::from_slice(session.value()).map_err(unreadable)?;
            self.send(ExportRow::Session(session))?;
        }
        Ok(())
    }

    fn revocations(&mut self, txn: &ReadTransaction) -> Result<(), TransferError> {
        if let Some(revoked) = table::<&ShortId, u64>(txn, "revoked").map_err(unreadable)? {
            for row in revoked.iter().map_err(unreadable)? {
                let (id, until) = row.map_err(unreadable)?;
                let until = Timestamp::from_millis(until.value());
                self.send(ExportRow::EndedSession { id: session_id(id.value()), until })?;
            }
        }
        if let Some(outlawed) = table::<&DigestBytes, u64>(txn, "outlawed").map_err(unreadable)? {
            for row in outlawed.iter().map_err(unreadable)? {
                let (digest, until) = row.map_err(unreadable)?;
                let until = Timestamp::from_millis(until.value());
                self.send(ExportRow::RefusedToken { digest: Digest(*digest.value()), until })?;
            }
        }
        if let Some(table) = table::<(&str, &str), u64>(txn, "cutoffs").map_err(unreadable)? {
            for (owner, at) in cutoffs::all(&table).map_err(unreadable)? {
                self.send(match owner {
                    TokenOwner::Subject(subject) => ExportRow::SubjectCutoff { subject, at },
                    TokenOwner::Username(name) => {
                        ExportRow::UsernameCutoff { name: name.to_string(), at }
                    }
                })?;
            }
        }
        Ok(())
    }

    fn accounts(&mut self, txn: &ReadTransaction) -> Result<(), TransferError> {
        let users = table::<(&str, &str), &[u8]>(txn, "users").map_err(unreadable)?;
        let names = table::<(&str, &str), &str>(txn, "user_names").map_err(unreadable)?;
        let (Some(users), Some(names)) = (users, names) else { return Ok(()) };
        for row in users.iter().map_err(unreadable)? {
            let (_, account) = row.map_err(unreadable)?;
            let account: Box<KnownAccount> =
                serde_json::from_slice(account.value()).map_err(unreadable)?;
            let name = (account.source.as_str(), account.key.as_str());
            let named = names.get(name).map_err(unreadable)?;
            let has_name = named.is_some_and(|id| id.value() == account.subject.as_str());
            self.send(ExportRow::Account { account, has_name })?;
        }
        Ok(())
    }

    fn second_steps(&mut self, txn: &ReadTransaction) -> Result<(), TransferError> {
        type SecondStepTable = redb::ReadOnlyTable<(&'static str, &'static str), StepValue>;
        type StepValue = (&'static [u8], u64, u64);
        let steps: Option<SecondStepTable> = table(txn, "second_steps").map_err(unreadable)?;
        if let Some(steps) = steps {
            for row in steps.iter().map_err(unreadable)? {
                let (key, value) = row.map_err(unreadable)?;
                let (source, id) = key.value();
                self.send(second_step(source, id, value.value()))?;
            }
        }
        if let Some(steps) = table::<&str, StepValue>(txn, "totp").map_err(unreadable)? {
            for row in steps.iter().map_err(unreadable)? {
                let (id, value) = row.map_err(unreadable)?;
                self.send(second_step("", id.value(), value.value()))?;
            }
        }
        Ok(())
    }
}

fn second_step(source: &str, id: &str, value: (&[u8], u64, u64)) -> ExportRow {
    let (secret, made, used) = value;
    ExportRow::SecondStep {
        source: source.to_owned(),
        id: UserId::new(id),
        secret: secret.to_vec(),
        made: Timestamp::from_millis(made),
        used,
    }
}

/// A row that cannot be read ends the export: leaving it out could lose a second step or a
/// revocation without anybody noticing.
fn unreadable(error: impl Into<StoreFault>) -> TransferError {
    unavailable(error.into()).into()
}
