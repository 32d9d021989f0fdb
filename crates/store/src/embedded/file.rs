//! The store file: creating, opening, loading, compacting and copying it.
//!
//! A new file is written under a temporary name and linked into place when it is complete. A crash
//! at the first start therefore leaves either no store or a complete one. A file that cannot be
//! opened is refused, and the error says what to do. Nothing here ever replaces an existing file by
//! an empty store: that would bring revoked sessions back to life.

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
use super::effects::{CommitEffects, LiveSession, RestoredStore};
use super::fault_injection::{FaultyFile, InjectedFaults};
use super::memory::SharedMemory;
use super::seen;
use super::session_rows;
use super::sessions;
use super::tables::{self, META_SCHEMA, SCHEMA, StoreFault, Tables};
use super::time::TimeGuard;
use super::upgrade;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::IdRules;
use tollhouse_core::secret::{self, Digest};

/// The reasons why a store cannot be opened. Each message tells the operator what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
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

/// The location of the store file, and what is needed to open it.
#[derive(Clone, Debug)]
pub(super) struct StoreFile {
    pub(super) path: PathBuf,
    pub(super) faults: Option<Arc<InjectedFaults>>,
    pub(super) ids: IdRules,
}

/// Facts that were fixed when the store was made. They tell one store from another.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct StoreIdentity {
    pub(super) created_at: Timestamp,
    pub(super) secret: [u8; 32],
}

/// Bytes of the file's pages kept in memory. The default of redb is 1 GiB.
pub(super) const CACHE: usize = 64 << 20;
const OWNER_ONLY: u32 = 0o600;
/// Files shorter than this (in bytes) are not compacted: there is little to gain.
const SMALL: u64 = 4 << 20;
/// Free bytes on the disk that a failed store needs before it is opened again.
const LEAST_ROOM: u64 = 256 << 10;

/// The names of the facts in the table `meta`.
pub(super) const META_MADE: &str = "made";
pub(super) const META_SECRET: &str = "secret";
const META_OPENED: &str = "opened";
/// The highest wall-clock time that was seen and believed (see `time`).
pub(super) const META_HIGHEST: &str = "highest";
/// Sessions whose rotation is durable since the last commit, but whose client may not have got the
/// answer. Their grace period begins again at the next start, see `load`.
pub(super) const META_UNTOLD: &str = "untold";

impl StoreFile {
    /// True if the store file exists.
    pub(super) fn exists(&self) -> Result<bool, StoreOpenError> {
        self.path.try_exists().map_err(|source| self.io(source))
    }

    pub(super) fn missing(&self) -> StoreOpenError {
        StoreOpenError::Missing { path: self.path.clone() }
    }

    /// Creates an empty store. Fails if a file is there already.
    pub(super) fn create(&self, now: Timestamp) -> Result<(), StoreOpenError> {
        // Whole seconds, because the time of issue in a token has whole seconds. With milliseconds,
        // a token issued in the store's first second would look older than the store.
        let birth = StoreIdentity { created_at: now.whole_secs(), secret: secret::random() };
        install(&self.path, |db| {
            let txn = db.begin_write()?;
            let mut tables = Tables::open(&txn, &Arc::default(), std::time::Duration::ZERO)?;
            let meta = &mut tables.change().meta;
            meta.insert(META_SCHEMA, SCHEMA.to_be_bytes().as_slice())?;
            meta.insert(META_MADE, birth.created_at.millis().to_be_bytes().as_slice())?;
            meta.insert(META_SECRET, birth.secret.as_slice())?;
            drop(tables);
            txn.commit()?;
            Ok(())
        })
        .map_err(|source| match source.kind() {
            // Another process created the store at the same moment. Its store is as good as ours,
            // and that process holds the lock on it.
            io::ErrorKind::AlreadyExists => StoreOpenError::InUse { path: self.path.clone() },
            _ => self.io(source),
        })
    }

    /// Opens the file, verifies all of its pages, upgrades an older schema, and reads the facts in
    /// it. Verifying all pages at the start finds damage before a session is lost to it.
    pub(super) fn open(&self) -> Result<(Database, StoreIdentity), StoreOpenError> {
        // redb panics only on a damaged file, where its own checks did not foresee the damage. The
        // panic is caught and reported like every other damage.
        let opened = catch_unwind(AssertUnwindSafe(|| self.open_database()));
        let db = opened.unwrap_or_else(|_| Err(self.damaged("its pages contradict each other")))?;
        let fact = |name| tables::fact(&db, name).map_err(|error| self.damaged(error));
        let number = |name| -> Result<Option<u64>, StoreOpenError> {
            Ok(fact(name)?.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes))
        };
        let schema = number(META_SCHEMA)?.ok_or_else(|| self.damaged("it is no session store"))?;
        if schema > SCHEMA {
            return Err(StoreOpenError::Newer { path: self.path.clone(), found: schema });
        }
        if schema < SCHEMA {
            upgrade::run(&db, schema, &self.ids).map_err(|fault| self.unusable(fault))?;
        }
        let made = number(META_MADE)?.map(Timestamp::from_millis);
        let secret = fact(META_SECRET)?.and_then(|value| value.try_into().ok());
        match (made, secret) {
            (Some(made), Some(secret)) => Ok((db, StoreIdentity { created_at: made, secret })),
            _ => Err(self.damaged("it does not say when it was made")),
        }
    }

    /// Fails while the disk is nearly full. Without this check a small commit might find a last
    /// free page, the store would count as working, and it would fail again at the next login. The
    /// writer checks it before each attempt to open the store again.
    pub(super) fn room(&self) -> io::Result<()> {
        let disk = rustix::fs::statvfs(&self.path)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < LEAST_ROOM {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"));
        }
        Ok(())
    }

    fn open_database(&self) -> Result<Database, StoreOpenError> {
        // The file is never created here. If it is deleted while the gateway runs, an empty store
        // in its place would bring revoked sessions back to life.
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = file.map_err(|source| self.io(source))?;
        let meta = file.metadata().map_err(|source| self.io(source))?;
        if meta.len() == 0 {
            return Err(self.damaged("it is empty"));
        }
        // The file holds the secret of the store and of second steps. Permissions for group and
        // others are removed, for example after a careless restore.
        if meta.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(OWNER_ONLY))
                .map_err(|source| self.io(source))?;
        }
        let file = FileBackend::new(file).map_err(|error| self.refused(error))?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let db = match &self.faults {
            Some(faults) => builder.create_with_backend(FaultyFile::new(file, faults.clone())),
            None => builder.create_with_backend(file),
        };
        db.map_err(|error| self.refused(error))
    }

    pub(super) fn refused(&self, error: DatabaseError) -> StoreOpenError {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                StoreOpenError::InUse { path: self.path.clone() }
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

    /// The meaning of a fault while a file is being opened for the first time.
    pub(super) fn unusable(&self, fault: StoreFault) -> StoreOpenError {
        match fault {
            StoreFault::Store(redb::Error::Io(source)) => self.io(source),
            damaged => self.damaged(damaged),
        }
    }

    pub(super) fn damaged(&self, why: impl ToString) -> StoreOpenError {
        StoreOpenError::Damaged { path: self.path.clone(), why: why.to_string() }
    }

    fn io(&self, source: io::Error) -> StoreOpenError {
        StoreOpenError::Io { path: self.path.clone(), source }
    }
}

/// Loads into memory everything that must be there before the store is handed out, and commits
/// once. The commit proves that the file can be written: a read-only disk is found at the start,
/// not at the first login.
pub(super) fn load(
    db: &Database,
    memory: &SharedMemory,
    path: &Path,
    birth: StoreIdentity,
) -> Result<(), StoreFault> {
    memory.revocations.set_store_made(birth.created_at);
    let now = memory.clock.now();
    let txn = db.begin_write()?;
    let mut tables = Tables::open(&txn, &memory.revocations, memory.leeway())?;
    let untold = tables.rows().meta.get(META_UNTOLD)?.map(|ids| ids.value().to_vec());
    // These rotations were durable when the process ended, but their clients may not have got the
    // answer. The grace period begins again, so that a client that repeats its refresh is not taken
    // for a thief.
    for id in untold.unwrap_or_default().as_chunks().0 {
        sessions::begin_grace_anew(&mut tables, session_rows::session_id(id), now)?;
    }
    tables.change().meta.remove(META_UNTOLD)?;
    tables.change().meta.insert(META_OPENED, now.millis().to_be_bytes().as_slice())?;
    let highest = tables.rows().meta.get(META_HIGHEST)?.and_then(|row| row.value().try_into().ok());
    let highest = highest.map(u64::from_be_bytes).map(Timestamp::from_millis);
    if let Some(highest) = highest {
        memory.time(|time| time.resume(highest, &memory.clock));
    }
    write_highest(&mut tables, memory)?;

    let mut found = CommitEffects::default();
    for row in tables.rows().revoked.iter()? {
        let (id, until) = row?;
        found
            .revoked
            .push((session_rows::session_id(id.value()), Timestamp::from_millis(until.value())));
    }
    for row in tables.rows().outlawed.iter()? {
        let (digest, until) = row?;
        found.outlawed.push((Digest(*digest.value()), Timestamp::from_millis(until.value())));
    }
    found.cutoffs = cutoffs::all(&tables.rows().cutoffs)?;
    let mut live = HashMap::new();
    let mut last_end = Timestamp::default();
    for id in session_rows::all(&tables)? {
        if let Some(session) = session_rows::load(&tables, id)? {
            last_end = last_end.max(session.expires);
            live.insert(id, LiveSession::of(&session, tables.revoked_until(&session)));
        }
    }
    let mut restored = seen::load(&tables)?;
    // The file beside the store has seen a later time than the store itself: the store was replaced
    // by an older copy. Sessions that ended since are alive in it, and the operator is warned. The
    // note stays in the store, so that a restart does not hide it.
    if let Some(seen) = seen::read(path, &birth.secret).filter(|seen| Some(*seen) > highest) {
        let older = RestoredStore::new(seen, last_end);
        seen::save(&mut tables, &older)?;
        restored = Some(older);
    }
    drop(tables);
    txn.commit()?;
    // The note is logged only after the commit. If the transaction fails, the store is opened again
    // and the same note would be logged twice.
    if let Some(note) = restored.and_then(|restored| restored.note(now)) {
        tracing::warn!("{note}");
    }
    found.restored = Some(restored);
    memory.reload(live);
    memory.apply(found);
    // `store.seen` is written after the commit and never before it. In the other order a crash
    // between the two would make an intact store look like a restored one.
    seen::write(path, &birth.secret, memory.time(|time| time.written()));
    Ok(())
}

/// Writes the highest believed time, at most once a minute. After a restart, a clock far beyond
/// that time is not believed. See `time` for the threat.
pub(super) fn write_highest(
    tables: &mut Tables<'_>,
    memory: &SharedMemory,
) -> Result<(), StoreFault> {
    if let Some(highest) = memory.time(TimeGuard::take_due) {
        tables.change().meta.insert(META_HIGHEST, highest.millis().to_be_bytes().as_slice())?;
    }
    Ok(())
}

/// Gives free pages back to the disk, if they are more than half of the file. A redb file never
/// shrinks by itself, and each start reads all of it. Called once at the start, before the writer
/// thread exists.
pub(super) fn compact(db: &mut Database, path: &Path) -> Result<(), StoreFault> {
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
        // Compacting needs that no other transaction is open, which holds at the start. If one is
        // open all the same, the next start will compact. Compacting is an economy, so failing at
        // it is no reason to refuse the store.
        Err(_) => Ok(()),
    }
}

/// Copies the snapshot `from` into a new file.
pub(super) fn copy(from: &ReadTransaction, to: &Path) -> io::Result<()> {
    install(to, |db| {
        let txn = db.begin_write()?;
        tables::copy(from, &txn)?;
        txn.commit()?;
        Ok(())
    })
}

/// Makes a database under a temporary name, and links it to `path` when it is complete and durable.
/// Fails if `path` exists already: a hard link never replaces a file.
fn install(path: &Path, fill: impl FnOnce(&Database) -> Result<(), StoreFault>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", Digest(secret::random()).short()));
    let passing = PathBuf::from(name);
    let installed = write_new(&passing, fill).and_then(|()| fs::hard_link(&passing, path));
    // The temporary name is of no use now, whether or not the link was made.
    let removed = fs::remove_file(&passing);
    installed?;
    removed?;
    // The link itself is an entry of the folder: without a sync of the folder, a power failure
    // could lose it although the file's content is on the disk.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), StoreFault>,
) -> io::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    let file = FileBackend::new(file).map_err(io::Error::other)?;
    let db = Builder::new().create_with_backend(file).map_err(io::Error::other)?;
    fill(&db).map_err(io::Error::other)?;
    db.close().map_err(io::Error::other)?;
    File::open(path)?.sync_all()
}
