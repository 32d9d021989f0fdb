//! Makes a store file of the rows of another store.
//!
//! The file is written under a passing name and gets its own when it is complete. An import that is
//! cut off therefore leaves no store behind, and may simply be repeated. A store that exists is
//! replaced only if it is empty and nobody has it open.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTableMetadata};

use super::file::{CACHE, META_HIGHEST, META_MADE, META_SECRET, StoreFile, StoreIdentity};
use super::frozen::table;
use super::tables::{ExpiryKind, META_SCHEMA, SCHEMA, StoreFault, Tables};
use super::{EmbeddedOptions, EmbeddedStore, cutoffs, opaque_tokens, session_rows};
use crate::transfer::{ExportRow, RowCounts, RowPage, RowReceiver, TransferError, in_thread};
use crate::{Session, TokenOwner};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::{self, Digest};

const OWNER_ONLY: u32 = 0o600;
/// How the passing name of a file ends.
const PASSING: &str = ".import";
/// Number of pages of rows in one transaction.
const PAGES_AT_ONCE: usize = 40;

impl EmbeddedStore {
    /// Makes the store file of these rows. The folder must exist.
    ///
    /// # Errors
    /// When there is a store that is not empty or in use, when the rows are incomplete, or when the
    /// file cannot be written. No store is left then, or the empty one that was there.
    pub async fn import(
        options: EmbeddedOptions,
        rows: RowReceiver,
    ) -> Result<RowCounts, TransferError> {
        let place =
            StoreFile { path: options.path, faults: options.backend_faults, ids: options.ids };
        in_thread("import", move || import(&place, rows)).await
    }
}

fn import(place: &StoreFile, rows: RowReceiver) -> Result<RowCounts, TransferError> {
    let failed = |source| TransferError::Write { path: place.path.clone(), source };
    // The empty store stays open, and with it locked, until it is replaced.
    let replaced = open_empty(place)?;
    remove_leftovers(&place.path).map_err(failed)?;
    let mut passing = place.path.as_os_str().to_owned();
    passing.push(format!(".{}{PASSING}", Digest(secret::random()).short()));
    let passing = PathBuf::from(passing);
    let counts = write_file(place, &passing, rows).and_then(|counts| {
        install(&passing, &place.path, replaced.is_some()).map_err(failed)?;
        Ok(counts)
    });
    if counts.is_err() {
        // A file that stays all the same is removed by the next import.
        let _ = fs::remove_file(&passing);
    }
    counts
}

/// The store that is there, if there is one: it must be empty.
fn open_empty(place: &StoreFile) -> Result<Option<Database>, TransferError> {
    if !place.exists()? {
        return Ok(None);
    }
    let (db, _) = place.open()?;
    let found = rows_of(&db).map_err(|fault| place.unusable(fault))?;
    if found.is_empty() {
        return Ok(Some(db));
    }
    Err(TransferError::NotEmpty {
        at: format!("`{}`", place.path.display()),
        found: found.to_string(),
    })
}

/// Number of rows of each kind in a store.
fn rows_of(db: &Database) -> Result<RowCounts, StoreFault> {
    let txn = db.begin_read()?;
    macro_rules! rows {
        ($key:ty => $value:ty, $name:expr) => {
            match table::<$key, $value>(&txn, $name)? {
                Some(table) => table.len()?,
                None => 0,
            }
        };
    }
    Ok(RowCounts {
        sessions: rows!(&[u8; 16] => &[u8], "sessions"),
        ended_sessions: rows!(&[u8; 16] => u64, "revoked"),
        refused_tokens: rows!(&[u8; 32] => u64, "outlawed"),
        cutoffs: rows!((&str, &str) => u64, "cutoffs"),
        accounts: rows!((&str, &str) => &[u8], "users"),
        second_steps: rows!((&str, &str) => (&[u8], u64, u64), "second_steps")
            + rows!(&str => (&[u8], u64, u64), "totp"),
        signing_keys: 0,
    })
}

/// Removes what imports left behind that were cut off. A file that another import is writing is
/// locked.
fn remove_leftovers(store: &Path) -> io::Result<()> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(name) = store.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let other = entry.file_name();
        let is_leftover = other
            .to_str()
            .and_then(|other| other.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('.') && rest.ends_with(PASSING));
        if is_leftover && File::open(entry.path())?.try_lock().is_ok() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write_file(
    place: &StoreFile,
    passing: &Path,
    rows: RowReceiver,
) -> Result<RowCounts, TransferError> {
    let failed = |source| TransferError::Write { path: place.path.clone(), source };
    let options =
        OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).clone();
    let file = options.open(passing).map_err(failed)?;
    let synced = file.try_clone().map_err(failed)?;
    let database = |error: redb::Error| failed(io::Error::other(error));
    let file = FileBackend::new(file).map_err(|error| database(error.into()))?;
    let mut builder = Builder::new();
    let db = builder.set_cache_size(CACHE).create_with_backend(file);
    let db = db.map_err(|error| database(error.into()))?;
    let counts = StoreImport::new(rows).run(&db)?;
    db.close().map_err(|error| database(error.into()))?;
    synced.sync_all().map_err(failed)?;
    Ok(counts)
}

/// Gives the file its name. A link never replaces a store that somebody has made meanwhile.
fn install(passing: &Path, path: &Path, replaces: bool) -> io::Result<()> {
    if replaces {
        fs::rename(passing, path)?;
    } else {
        fs::hard_link(passing, path)?;
        fs::remove_file(passing)?;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// An import under way.
struct StoreImport {
    rows: RowReceiver,
    birth: Option<(StoreIdentity, Timestamp)>,
    counts: RowCounts,
}

impl StoreImport {
    fn new(rows: RowReceiver) -> Self {
        Self { rows, birth: None, counts: RowCounts::default() }
    }

    fn run(mut self, db: &Database) -> Result<RowCounts, TransferError> {
        while self.transact(db).map_err(|fault| match fault {
            ImportFault::Transfer(error) => error,
            ImportFault::Store(fault) => super::job::unavailable(fault).into(),
        })? {}
        Ok(self.counts)
    }

    /// Writes some pages in one transaction. True if there are more.
    fn transact(&mut self, db: &Database) -> Result<bool, ImportFault> {
        let txn = db.begin_write().map_err(StoreFault::from)?;
        let mut tables = Tables::open(&txn, &Arc::default(), std::time::Duration::ZERO)?;
        let mut is_more = true;
        for _ in 0..PAGES_AT_ONCE {
            match self.rows.blocking_recv() {
                Some(RowPage::Rows(rows)) => {
                    for row in rows {
                        self.write(&mut tables, row)?;
                    }
                }
                Some(RowPage::End(counts)) => {
                    if counts != self.counts {
                        return Err(
                            TransferError::BadRows("some rows of the export are missing").into()
                        );
                    }
                    self.write_identity(&mut tables)?;
                    is_more = false;
                    break;
                }
                None => return Err(TransferError::Stopped.into()),
            }
        }
        drop(tables);
        txn.commit().map_err(StoreFault::from)?;
        Ok(is_more)
    }

    /// Makes a store of the file. This comes last: until then the file is none.
    fn write_identity(&self, tables: &mut Tables<'_>) -> Result<(), ImportFault> {
        let Some((birth, seen)) = self.birth else {
            return Err(
                TransferError::BadRows("the export does not begin with a store's birth").into()
            );
        };
        let meta = &mut tables.change().meta;
        let made = birth.created_at.millis().to_be_bytes();
        for (name, value) in [
            (META_SCHEMA, &SCHEMA.to_be_bytes()[..]),
            (META_MADE, &made),
            (META_SECRET, &birth.secret),
            // A clock far beyond this time is not believed, as after a restart.
            (META_HIGHEST, &seen.millis().to_be_bytes()),
        ] {
            meta.insert(name, value).map_err(StoreFault::from)?;
        }
        Ok(())
    }

    fn write(&mut self, tables: &mut Tables<'_>, row: ExportRow) -> Result<(), StoreFault> {
        self.counts.count(&row);
        match row {
            ExportRow::Birth { made, secret, seen } => {
                self.birth = Some((StoreIdentity { created_at: made, secret }, seen));
            }
            ExportRow::Session(session) => write_session(tables, &session)?,
            ExportRow::EndedSession { id, until } => {
                let id = id.0.as_bytes();
                tables.change().revoked.insert(id, until.millis())?;
                tables.expire(ExpiryKind::Revoked, until, id)?;
            }
            ExportRow::RefusedToken { digest, until } => {
                tables.change().outlawed.insert(&digest.0, until.millis())?;
                tables.expire(ExpiryKind::Outlawed, until, &digest.0)?;
            }
            ExportRow::SubjectCutoff { subject, at } => {
                cutoffs::keep(tables, &TokenOwner::Subject(subject), at)?;
            }
            ExportRow::UsernameCutoff { name, at } => {
                cutoffs::keep(tables, &TokenOwner::Username(name.into()), at)?;
            }
            ExportRow::Account { account, has_name } => {
                let source = account.source.as_str();
                let id = account.subject.as_str();
                let row = serde_json::to_vec(&account)?;
                tables.change().users.insert((source, id), row.as_slice())?;
                if has_name {
                    tables.change().user_names.insert((source, account.key.as_str()), id)?;
                }
            }
            ExportRow::SecondStep { source, id, secret, made, used } => {
                let row = (secret.as_slice(), made.millis(), used);
                if source.is_empty() {
                    tables.change().totp.insert(id.as_str(), row)?;
                } else {
                    tables.change().second_steps.insert((source.as_str(), id.as_str()), row)?;
                }
            }
            // They are kept in a folder, which is not this store's.
            ExportRow::SigningKeys { .. } => {}
        }
        Ok(())
    }
}

fn write_session(tables: &mut Tables<'_>, session: &Session) -> Result<(), StoreFault> {
    let id = session.id.0.as_bytes();
    session_rows::save(tables, session)?;
    tables.change().by_user.insert(session_rows::user_key(session), ())?;
    if let Some(token) = &session.traded {
        tables.change().by_token.insert((&token.0, id), ())?;
    }
    opaque_tokens::index(tables, session)?;
    tables.expire(ExpiryKind::Session, tables.outlived(session), id)
}

/// The reason why a transaction of an import ended.
enum ImportFault {
    Transfer(TransferError),
    Store(StoreFault),
}

impl From<TransferError> for ImportFault {
    fn from(error: TransferError) -> Self {
        Self::Transfer(error)
    }
}

impl From<StoreFault> for ImportFault {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault)
    }
}
