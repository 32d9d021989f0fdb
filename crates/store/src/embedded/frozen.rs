//! A store that is only read: for a dry run on a gateway that does not run.
//!
//! It knows what a request needs: the revocations, and when the store was made. The file is opened
//! for reading and closed again; nothing is repaired, upgraded or written. Every operation on the
//! store is answered as by a closed one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use redb::{Builder, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use redb::{DatabaseError, TableDefinition, TableError, Value};
use tokio_util::sync::CancellationToken;

use super::cutoffs;
use super::effects::CommitEffects;
use super::file::{CACHE, META_MADE, META_SECRET, StoreFile, StoreIdentity};
use super::memory::SharedMemory;
use super::session_rows::session_id;
use super::tables::{self, DigestBytes, META_SCHEMA, SCHEMA, ShortId, StoreFault};
use super::{EmbeddedOptions, EmbeddedStore, StoreOpenError};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

impl EmbeddedStore {
    /// Reads the revocations of the file and closes it. A file that is not there is an empty store,
    /// made at the beginning of time.
    ///
    /// # Errors
    /// When the file is in use by a gateway, was not closed in order, is damaged, too new or
    /// unreadable.
    pub fn open_to_read(options: EmbeddedOptions) -> Result<Arc<Self>, StoreOpenError> {
        let place =
            StoreFile { path: options.path.clone(), faults: None, ids: options.ids.clone() };
        if !place.exists()? {
            return Ok(Self::empty_to_read(options));
        }
        // As in `StoreFile::open`: redb may panic on a damaged file.
        let read = catch_unwind(AssertUnwindSafe(|| read(&place)));
        let (birth, revoked) =
            read.unwrap_or_else(|_| Err(place.damaged("its pages contradict each other")))?;
        let store = Self::frozen(options, birth);
        store.memory.apply(revoked);
        Ok(Arc::new(store))
    }

    /// A store that knows nothing and reads no file.
    pub fn empty_to_read(options: EmbeddedOptions) -> Arc<Self> {
        let birth = StoreIdentity { created_at: Timestamp::default(), secret: [0; 32] };
        Arc::new(Self::frozen(options, birth))
    }

    /// A store that is closed from the beginning, so that every operation fails.
    fn frozen(options: EmbeddedOptions, birth: StoreIdentity) -> Self {
        let EmbeddedOptions { path, clock, leeway, longest_access, .. } = options;
        let memory = Arc::new(SharedMemory::new(clock, leeway, longest_access));
        memory.revocations.set_store_made(birth.created_at);
        let (queue, _) = sync_channel(0);
        let closed = CancellationToken::new();
        closed.cancel();
        Self { path, birth, memory, queue, closing: Arc::new(AtomicBool::new(true)), closed }
    }
}

/// The revocations in the file, and the time at which it was made.
fn read(place: &StoreFile) -> Result<(StoreIdentity, CommitEffects), StoreOpenError> {
    let mut builder = Builder::new();
    let db = builder.set_cache_size(CACHE).open_read_only(&place.path);
    let db = db.map_err(|error| match error {
        DatabaseError::RepairAborted => place.damaged("it was not closed in order"),
        error => place.refused(error),
    })?;
    let fact = |name| tables::fact(&db, name).map_err(|error| place.damaged(error));
    let number = |name| -> Result<Option<u64>, StoreOpenError> {
        Ok(fact(name)?.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes))
    };
    let schema = number(META_SCHEMA)?.ok_or_else(|| place.damaged("it is no session store"))?;
    if schema > SCHEMA {
        return Err(StoreOpenError::Newer { path: place.path.clone(), found: schema });
    }
    let secret = fact(META_SECRET)?.and_then(|value| value.try_into().ok());
    let (Some(made), Some(secret)) = (number(META_MADE)?, secret) else {
        return Err(place.damaged("it does not say when it was made"));
    };
    let birth = StoreIdentity { created_at: Timestamp::from_millis(made), secret };
    let effects = db.begin_read().map_err(StoreFault::from).and_then(|txn| revocations(&txn));
    Ok((birth, effects.map_err(|fault| place.unusable(fault))?))
}

/// The revocations in the tables. A table that an earlier version did not have is empty.
fn revocations(txn: &ReadTransaction) -> Result<CommitEffects, StoreFault> {
    let mut found = CommitEffects::default();
    if let Some(table) = table::<&ShortId, u64>(txn, "revoked")? {
        for row in table.iter()? {
            let (id, until) = row?;
            found.revoked.push((session_id(id.value()), Timestamp::from_millis(until.value())));
        }
    }
    if let Some(table) = table::<&DigestBytes, u64>(txn, "outlawed")? {
        for row in table.iter()? {
            let (digest, until) = row?;
            found.outlawed.push((Digest(*digest.value()), Timestamp::from_millis(until.value())));
        }
    }
    if let Some(table) = table::<(&str, &str), u64>(txn, "cutoffs")? {
        found.cutoffs = cutoffs::all(&table)?;
    }
    Ok(found)
}

/// A table of the file; `None` in a file from before there was this table.
pub(super) fn table<K: Key + 'static, V: Value + 'static>(
    txn: &ReadTransaction,
    name: &str,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreFault> {
    match txn.open_table(TableDefinition::<K, V>::new(name)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
