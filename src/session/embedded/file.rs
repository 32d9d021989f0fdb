//! The store file: made, opened, copied.
//!
//! A new file is made under another name and linked into place when it is whole, so that a crash
//! at the first start leaves either no store or a good one. What cannot be opened is refused with
//! what to do about it; nothing is ever replaced by an empty store.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableTable, StorageError};

use super::cutoffs;
use super::faults::{Faults, Faulty};
use super::memory::{Live, Memory};
use super::seen::{self, RestoredStore};
use super::sessions;
use super::tables::{self, Effects, Fault, META_SCHEMA, SCHEMA, Tables};
use super::time::TimeGuard;
use super::upgrade;
use crate::clock::Timestamp;
use crate::identity::IdRules;
use crate::secret::{self, Digest};

/// Why a store cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "`{}` is missing although there are signing keys: tokens made with them could come back \
         to life; restore the store from a backup, or start with --new-state to end all sessions",
        path.display()
    )]
    Missing { path: PathBuf },

    #[error(
        "`{}` was written by a newer version (schema {found}, this one knows up to {SCHEMA}): \
         run that version, or restore a backup made by this one",
        path.display()
    )]
    Newer { path: PathBuf, found: u64 },

    #[error(
        "`{}` is damaged ({why}): move it away and restore a backup, or move it away and start \
         with --new-state to end all sessions",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },

    #[error("`{}` is in use by another process: one gateway for each state folder", path.display())]
    InUse { path: PathBuf },

    #[error("`{}` cannot be read or written", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where the file is, and how it is reached.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) faults: Option<Arc<Faults>>,
    pub(super) ids: IdRules,
}

/// What a store knows of itself.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Birth {
    pub(super) made: Timestamp,
    pub(super) secret: [u8; 32],
}

/// Pages of the file kept in memory; redb would take 1 GiB.
const CACHE: usize = 64 << 20;
const OWNER_ONLY: u32 = 0o600;
/// A file this short is not worth compacting.
const SMALL: u64 = 4 << 20;
/// Free bytes that a store which failed waits for.
const LEAST_ROOM: u64 = 256 << 10;

/// Names in the `meta` table.
const META_MADE: &str = "made";
const META_SECRET: &str = "secret";
const META_OPENED: &str = "opened";
/// The highest time that was seen and believed.
pub(super) const META_HIGHEST: &str = "highest";
/// Sessions whose rotation the last commit made durable, but perhaps nobody was told.
pub(super) const META_UNTOLD: &str = "untold";

impl Place {
    /// True if there is a file.
    pub(super) fn exists(&self) -> Result<bool, OpenError> {
        self.path.try_exists().map_err(|source| self.io(source))
    }

    pub(super) fn missing(&self) -> OpenError {
        OpenError::Missing { path: self.path.clone() }
    }

    /// Makes an empty store.
    pub(super) fn create(&self, now: Timestamp) -> Result<(), OpenError> {
        // Whole seconds, because that is how tokens say when they were issued.
        let birth = Birth { made: now.whole_secs(), secret: secret::random() };
        install(&self.path, |db| {
            let txn = db.begin_write()?;
            let mut t = Tables::open(&txn, &Arc::default(), std::time::Duration::ZERO)?;
            let meta = &mut t.change().meta;
            meta.insert(META_SCHEMA, SCHEMA.to_be_bytes().as_slice())?;
            meta.insert(META_MADE, birth.made.millis().to_be_bytes().as_slice())?;
            meta.insert(META_SECRET, birth.secret.as_slice())?;
            drop(t);
            txn.commit()?;
            Ok(())
        })
        .map_err(|source| match source.kind() {
            // Another process was quicker; its store is as good, and it holds the lock.
            io::ErrorKind::AlreadyExists => OpenError::InUse { path: self.path.clone() },
            _ => self.io(source),
        })
    }

    /// Opens the file, verifies the whole of it, and reads what it says of itself.
    pub(super) fn open(&self) -> Result<(Database, Birth), OpenError> {
        // Only a damaged file makes redb panic, where its own checks did not foresee the damage.
        let opened = catch_unwind(AssertUnwindSafe(|| self.open_database()));
        let db = opened.unwrap_or_else(|_| Err(self.damaged("its pages contradict each other")))?;
        let fact = |name| tables::fact(&db, name).map_err(|error| self.damaged(error));
        let number = |name| -> Result<Option<u64>, OpenError> {
            Ok(fact(name)?.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes))
        };
        let schema = number(META_SCHEMA)?.ok_or_else(|| self.damaged("it is no session store"))?;
        if schema > SCHEMA {
            return Err(OpenError::Newer { path: self.path.clone(), found: schema });
        }
        if schema < SCHEMA {
            upgrade::run(&db, &self.ids).map_err(|fault| self.unusable(fault))?;
        }
        let made = number(META_MADE)?.map(Timestamp::from_millis);
        let secret = fact(META_SECRET)?.and_then(|value| value.try_into().ok());
        match (made, secret) {
            (Some(made), Some(secret)) => Ok((db, Birth { made, secret })),
            _ => Err(self.damaged("it does not say when it was made")),
        }
    }

    /// Fails while the disk is as good as full: a small commit would find a last page there, and
    /// the store would come and go with every login.
    pub(super) fn room(&self) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.path)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_ROOM {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"));
        }
        Ok(())
    }

    fn open_database(&self) -> Result<Database, OpenError> {
        // Never created here: a file that vanished while we run must not come back empty.
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = file.map_err(|source| self.io(source))?;
        let meta = file.metadata().map_err(|source| self.io(source))?;
        if meta.len() == 0 {
            return Err(self.damaged("it is empty"));
        }
        if meta.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(OWNER_ONLY))
                .map_err(|source| self.io(source))?;
        }
        let file = FileBackend::new(file).map_err(|error| self.refused(error))?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let db = match &self.faults {
            Some(faults) => builder.create_with_backend(Faulty::new(file, faults.clone())),
            None => builder.create_with_backend(file),
        };
        db.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: DatabaseError) -> OpenError {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                OpenError::InUse { path: self.path.clone() }
            }
            DatabaseError::Storage(StorageError::Io(source))
                if !matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                self.io(source)
            }
            damaged => self.damaged(damaged),
        }
    }

    /// What a fault means for a file that is being opened for the first time.
    pub(super) fn unusable(&self, fault: Fault) -> OpenError {
        match fault {
            Fault::Store(redb::Error::Io(source)) => self.io(source),
            damaged => self.damaged(damaged),
        }
    }

    fn damaged(&self, why: impl ToString) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), why: why.to_string() }
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.clone(), source }
    }
}

/// Reads into memory what has to be there before the store is handed out, and proves by a commit
/// that it can be written.
pub(super) fn load(
    db: &Database,
    memory: &Memory,
    (path, birth): (&Path, Birth),
) -> Result<(), Fault> {
    let now = memory.clock.now();
    let txn = db.begin_write()?;
    let mut t = Tables::open(&txn, &memory.revocations, memory.leeway())?;
    let untold = t.rows().meta.get(META_UNTOLD)?.map(|ids| ids.value().to_vec());
    for id in untold.unwrap_or_default().as_chunks().0 {
        sessions::begin_grace_anew(&mut t, sessions::session_id(id), now)?;
    }
    t.change().meta.remove(META_UNTOLD)?;
    t.change().meta.insert(META_OPENED, now.millis().to_be_bytes().as_slice())?;
    let highest = t.rows().meta.get(META_HIGHEST)?.and_then(|row| row.value().try_into().ok());
    let highest = highest.map(u64::from_be_bytes).map(Timestamp::from_millis);
    if let Some(highest) = highest {
        memory.time(|time| time.resume(highest, &memory.clock));
    }
    write_highest(&mut t, memory)?;

    let mut found = Effects::default();
    for row in t.rows().revoked.iter()? {
        let (id, until) = row?;
        found
            .revoked
            .push((sessions::session_id(id.value()), Timestamp::from_millis(until.value())));
    }
    for row in t.rows().outlawed.iter()? {
        let (digest, until) = row?;
        found.outlawed.push((Digest(*digest.value()), Timestamp::from_millis(until.value())));
    }
    found.cutoffs = cutoffs::all(&t)?;
    let mut live = HashMap::new();
    let mut last_end = Timestamp::default();
    for id in sessions::all(&t)? {
        if let Some(session) = sessions::load(&t, id)? {
            last_end = last_end.max(session.expires);
            live.insert(id, Live::of(&session, t.revoked_until(&session)));
        }
    }
    let mut restored = RestoredStore::load(&t)?;
    if let Some(seen) = seen::read(path, &birth.secret).filter(|seen| Some(*seen) > highest) {
        let older = RestoredStore::new(seen, last_end);
        older.save(&mut t)?;
        restored = Some(older);
    }
    drop(t);
    txn.commit()?;
    if let Some(note) = restored.and_then(|restored| restored.note(now)) {
        tracing::warn!("{note}");
    }
    found.restored = Some(restored);
    memory.reload(live);
    memory.apply(found);
    seen::write(path, &birth.secret, memory.time(|time| time.written()));
    Ok(())
}

/// Writes down how late it is, once a minute: a clock that is far beyond that is not believed.
pub(super) fn write_highest(t: &mut Tables<'_>, memory: &Memory) -> Result<(), Fault> {
    if let Some(highest) = memory.time(TimeGuard::take_due) {
        t.change().meta.insert(META_HIGHEST, highest.millis().to_be_bytes().as_slice())?;
    }
    Ok(())
}

/// Gives the disk back what has been freed, where that is most of the file: a redb file never
/// shrinks by itself, and each start verifies the whole of it.
pub(super) fn compact(db: &mut Database, path: &Path) -> Result<(), Fault> {
    let length = fs::metadata(path).map_err(redb::Error::Io)?.len();
    if length < SMALL {
        return Ok(());
    }
    let txn = db.begin_write()?;
    let stats = txn.stats()?;
    txn.abort()?;
    let page = u64::try_from(stats.page_size()).unwrap_or(u64::MAX);
    if stats.allocated_pages().saturating_mul(page) > length / 2 {
        return Ok(());
    }
    match db.compact() {
        Ok(_) => Ok(()),
        Err(redb::CompactionError::Storage(error)) => Err(error.into()),
        // Nobody else has a transaction open yet; if one had, the next start would do it.
        Err(_) => Ok(()),
    }
}

/// Copies what `from` sees into a new file.
pub(super) fn copy(from: &ReadTransaction, to: &Path) -> io::Result<()> {
    install(to, |db| {
        let txn = db.begin_write()?;
        tables::copy(from, &txn)?;
        txn.commit()?;
        Ok(())
    })
}

/// Makes a database under a passing name and links it to `path` once it is whole and durable.
/// Fails if there is something at `path` already.
fn install(path: &Path, fill: impl FnOnce(&Database) -> Result<(), Fault>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", Digest(secret::random()).short()));
    let passing = PathBuf::from(name);
    let installed = write_new(&passing, fill).and_then(|()| fs::hard_link(&passing, path));
    // Of no use any more, whether or not it was linked.
    let removed = fs::remove_file(&passing);
    installed?;
    removed?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(path: &Path, fill: impl FnOnce(&Database) -> Result<(), Fault>) -> io::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    let file = FileBackend::new(file).map_err(io::Error::other)?;
    let db = Builder::new().create_with_backend(file).map_err(io::Error::other)?;
    fill(&db).map_err(io::Error::other)?;
    db.close().map_err(io::Error::other)?;
    File::open(path)?.sync_all()
}
