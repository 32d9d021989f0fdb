//! Fills an empty shared store with the rows of another store.
//!
//! The birth mark says that an import is under way, from before the first row is written until after
//! the last one. No gateway uses such a store. Every row is written in a way that may be repeated,
//! so an import that was cut off is begun again with the same file.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::accounts::NamedUser;
use super::birth::{BirthMark, mark_key};
use super::database::SharedDatabase;
use super::documents::SIGNING_KEYS;
use super::feed::Message;
use super::follow::FollowTask;
use super::records::{Change, Records};
use super::second_steps::SecondStepRecord;
use super::session_record::{AT_ONCE, SessionRecord, session_key};
use super::{PUBLISHED_AT_ONCE, SharedOptions, SharedStore};
use crate::transfer::{ExportRow, RowCounts, RowPage, RowReceiver, TransferError};
use crate::{KnownAccount, Session, StoreError, TokenOwner};
use tollhouse_core::clock::Timestamp;

/// How often a step is tried before the import gives up.
const TRIES: u32 = 6;
/// The pause after the first failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

impl SharedStore {
    /// Fills the database with these rows. `file` identifies the export that they come from.
    ///
    /// # Errors
    /// When the database is not empty, is used by a gateway, cannot be reached, or was half filled
    /// from another file; and when the rows are incomplete. A database that was half filled stays
    /// so, and may be filled again with the same file.
    pub async fn import(
        database: Arc<dyn SharedDatabase>,
        options: SharedOptions,
        file: &str,
        mut rows: RowReceiver,
    ) -> Result<RowCounts, TransferError> {
        let Some(RowPage::Rows(first)) = rows.recv().await else {
            return Err(TransferError::Stopped);
        };
        let Some(ExportRow::Birth { made, secret, .. }) = first.first() else {
            return Err(TransferError::BadRows("the export does not begin with a store's birth"));
        };
        let records = Records::new(database, options.seal.clone(), options.time);
        let now = records.now(options.clock.now()).await?;
        // A store whose birth is still to come was made by a wrong clock. A gateway with a store of
        // its own then accepts tokens of any age; one with a shared store would refuse all.
        let is_to_come = *made > now.plus(options.leeway);
        let made = if is_to_come { Timestamp::default() } else { *made };
        let mark = BirthMark::imported(made, *secret, file);
        let store = Arc::new(Self::new(records, mark.clone(), options));
        store.begin_import(&mark).await?;
        let mut counts = RowCounts::default();
        let mut page = first;
        loop {
            page.iter().for_each(|row| counts.count(row));
            store.import_rows(page).await?;
            page = match rows.recv().await {
                Some(RowPage::Rows(rows)) => rows,
                Some(RowPage::End(all)) if all == counts => break,
                Some(RowPage::End(_)) => {
                    return Err(TransferError::BadRows("some rows of the export are missing"));
                }
                None => return Err(TransferError::Stopped),
            };
        }
        store.end_import(&mark).await?;
        store.records.database.close().await;
        Ok(counts)
    }

    /// Marks the store as being filled, if it is empty or was being filled from the same file.
    async fn begin_import(self: &Arc<Self>, mark: &BirthMark) -> Result<(), TransferError> {
        let now = self.clock.now();
        let (found, _): (Option<BirthMark>, _) =
            self.records.read(mark_key(&self.records), now).await?;
        match found.as_ref().map(|found| found.importing.as_ref()) {
            Some(Some(file)) if Some(file) != mark.importing.as_ref() => {
                return Err(TransferError::OtherImport);
            }
            Some(None) => self.refuse_used().await?,
            Some(Some(_)) | None => {}
        }
        let marked = self.records.update(mark_key(&self.records), now, |current, _| {
            // Somebody else may have made a store here, or have begun an import, since the look.
            if current == found {
                (true, Change::Write(mark.clone(), None))
            } else {
                (false, Change::Keep)
            }
        });
        if marked.await? { Ok(()) } else { Err(TransferError::OtherImport) }
    }

    /// Fails if the store has any content, or a gateway uses it.
    async fn refuse_used(self: &Arc<Self>) -> Result<(), TransferError> {
        let nodes = self.nodes().await?;
        if let Some(node) = nodes.into_iter().next() {
            return Err(TransferError::NodeRuns { name: node.name });
        }
        FollowTask::new(self.clone()).load_feed().await?;
        let mut found = self.number_of_records().await?;
        found.refused_tokens = self.revocations.tokens().len() as u64;
        found.cutoffs = self.revocations.cutoffs.all().len() as u64;
        if found.is_empty() {
            return Ok(());
        }
        Err(TransferError::NotEmpty { at: "the store".to_owned(), found: found.to_string() })
    }

    async fn end_import(&self, mark: &BirthMark) -> Result<(), TransferError> {
        let complete = mark.complete();
        let now = self.clock.now();
        let ended = self.records.update(mark_key(&self.records), now, |current, _| {
            if current.as_ref() == Some(mark) {
                (true, Change::Write(complete.clone(), None))
            } else {
                (current.as_ref() == Some(&complete), Change::Keep)
            }
        });
        if ended.await? { Ok(()) } else { Err(TransferError::OtherImport) }
    }

    async fn import_rows(&self, rows: Vec<ExportRow>) -> Result<(), TransferError> {
        let now = retried(async || self.records.now(self.clock.now()).await).await?;
        let rows: Vec<ExportRow> =
            rows.into_iter().filter(|row| row.is_needed(now, self.leeway())).collect();
        let writing = stream::iter(
            rows.iter()
                .map(|row| async move { retried(async || self.import_row(row, now).await).await }),
        );
        writing.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        // The records come first: a node that knows of an end must not find the session alive.
        let news = rows.iter().filter_map(news_of);
        let entries: Vec<_> =
            news.filter_map(|message| message.entry(&self.records.seal, now)).collect();
        for piece in entries.chunks(PUBLISHED_AT_ONCE) {
            let publish = async || self.records.step(self.records.database.publish(piece)).await;
            retried(publish).await?;
        }
        Ok(())
    }

    async fn import_row(&self, row: &ExportRow, now: Timestamp) -> Result<(), StoreError> {
        match row {
            ExportRow::Session(session) => self.import_session(session, now).await,
            ExportRow::EndedSession { id, until } => {
                let record = SessionRecord::Ended(*until);
                self.records.put(session_key(*id), &record, Some(until.since(now))).await
            }
            ExportRow::Account { account, has_name } => {
                self.import_account(account, *has_name).await
            }
            ExportRow::SecondStep { source, id, secret, made, used } => {
                let key = self.totp_key(source, id);
                let step = SecondStepRecord {
                    source: source.clone(),
                    id: id.clone(),
                    secret: secret.clone(),
                    made: *made,
                    used: *used,
                    owner: None,
                };
                self.records.put(key, &step, None).await
            }
            ExportRow::SigningKeys { document } => {
                self.records.put(self.document_key(SIGNING_KEYS), document, None).await
            }
            ExportRow::Birth { .. }
            | ExportRow::RefusedToken { .. }
            | ExportRow::SubjectCutoff { .. }
            | ExportRow::UsernameCutoff { .. } => Ok(()),
        }
    }

    async fn import_session(&self, session: &Session, now: Timestamp) -> Result<(), StoreError> {
        self.join_groups(session, now).await?;
        match self.live(session.clone(), now) {
            Change::Write(record, keep) => {
                self.records.put(session_key(session.id), &record, keep).await
            }
            Change::Keep | Change::Remove => Ok(()),
        }
    }

    async fn import_account(
        &self,
        account: &KnownAccount,
        has_name: bool,
    ) -> Result<(), StoreError> {
        let key = self.user_key(&account.source, &account.subject);
        let group = self.source_group(&account.source);
        self.records.step(self.records.database.join(group, &key.id, None)).await?;
        if has_name {
            let name = self.name_key(&account.source, &account.key);
            self.records.put(name, &NamedUser { id: account.subject.clone() }, None).await?;
        }
        self.records.put(key, account, None).await
    }
}

/// The message that publishes a row to every node; `None` if the record of the row is enough.
fn news_of(row: &ExportRow) -> Option<Message> {
    match row {
        ExportRow::EndedSession { id, until } => Some(Message::Session(*id, *until)),
        ExportRow::RefusedToken { digest, until } => Some(Message::Token(*digest, *until)),
        ExportRow::SubjectCutoff { subject, at } => {
            Some(Message::cutoff(&TokenOwner::Subject(subject.clone()), *at))
        }
        ExportRow::UsernameCutoff { name, at } => {
            Some(Message::cutoff(&TokenOwner::Username(name.as_str().into()), *at))
        }
        ExportRow::Birth { .. }
        | ExportRow::Session(_)
        | ExportRow::Account { .. }
        | ExportRow::SecondStep { .. }
        | ExportRow::SigningKeys { .. } => None,
    }
}

/// Runs a step again if it fails: a database that is slow for a moment must not end an import.
async fn retried<T>(mut step: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        if let Ok(answer) = step().await {
            return Ok(answer);
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    step().await
}
