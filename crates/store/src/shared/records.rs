//! Typed records: read, decided about, and written on the condition that nobody else wrote.
//!
//! Everything that the shared store changes goes through `Records::update`. It reads a record, lets
//! a pure function decide by the database's time, and writes the result; if another node was
//! quicker, the function decides again about what is there now. Operations of this node that met
//! another writer at a record take turns, so that only nodes compete, never the clients of one node.
//!
//! Each step has a time limit, and each operation one in all. A failed step opens the circuit: then
//! operations fail at once, until the follower of the feed has reached the database again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::database::{
    DatabaseError, NewRecord, Reading, Record, RecordKey, RecordKind, RecordVersion,
    SharedDatabase, Swap,
};
use super::seal::Seal;
use crate::StoreError;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::random;

/// How long one step may take. Databases have a limit of their own; this one holds where theirs
/// fails.
const STEP: Duration = Duration::from_millis(600);
/// How long a step of housekeeping may take. Nobody waits for it.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// A failure that took longer than this is no broken connection, and there is no time to repeat it.
const QUICK: Duration = Duration::from_millis(200);
/// How long an operation of a few steps may take: its client is answered within a second.
pub(super) const OPERATION: Duration = Duration::from_millis(900);
/// How often an operation decides anew because another node was quicker. Nodes take turns by
/// chance, so this many in a row mean that something is wrong.
const ATTEMPTS: usize = 64;
/// Number of locks. Two records share one by chance; then their operations wait for each other.
const LOCKS: usize = 1024;

/// A time for decisions that do not depend on it.
pub(super) const NO_TIME: Timestamp = Timestamp::from_millis(0);

/// The clock that decides about grace, reuse, windows and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The database's: nodes whose clocks differ decide alike.
    Database,
    /// The caller's `now`. For tests that move the time.
    Caller,
}

/// The content found in the place of a record.
pub(super) enum Found<T> {
    Nothing,
    Value(T),
    /// Something that was sealed with another key, was changed since, or has another form.
    Unreadable(StoreError),
}

/// The change of a record that a decision asks for.
pub(super) enum Change<T> {
    /// It stays as it is.
    Keep,
    /// It is replaced and kept for at least this long; `None`: for good.
    Write(T, Option<Duration>),
    /// It is removed. An empty record takes its place for a minute, so that a writer who lost the
    /// answer can see that it was removed by itself.
    Remove,
}

const REMOVED: Duration = Duration::from_secs(60);
const CONTENDED: &str = "others change the same record all the time";

/// The records of a shared database.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) database: Arc<dyn SharedDatabase>,
    pub(super) seal: Seal,
    time: TimeSource,
    /// Operations of this node that met another writer at a record take turns by these locks. A lock
    /// is chosen by a hash that the seal keys: a client cannot find records that share one with
    /// somebody else's, and a simulation with the same seal chooses the same locks.
    locks: Vec<tokio::sync::Mutex<()>>,
    /// Why the database is not used at the moment; `None` while it answers.
    trouble: Mutex<Option<Arc<str>>>,
}

impl Records {
    pub(super) fn new(database: Arc<dyn SharedDatabase>, seal: Seal, time: TimeSource) -> Self {
        Self {
            database,
            seal,
            time,
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect(),
            trouble: Mutex::default(),
        }
    }

    /// Runs one operation within its time limit; fails at once while the database is away.
    pub(super) async fn operation<T>(
        &self,
        limit: Duration,
        run: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.healthy()?;
        match timeout(limit, run).await {
            Ok(result) => result,
            // No step has failed, or the circuit would be open: many operations waited for the same
            // record. Others must not be refused for that.
            Err(_) => Err(StoreError::Unavailable("the operation took too long".into())),
        }
    }

    /// Why the database is not used at the moment.
    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        self.trouble.lock().clone().map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
    }

    /// The database was reached: operations are carried out again.
    pub(super) fn reached(&self) {
        *self.trouble.lock() = None;
    }

    /// The database was not reached: operations fail at once until it is.
    pub(super) fn failed(&self, why: &str) -> StoreError {
        let why: Arc<str> = why.into();
        *self.trouble.lock() = Some(why.clone());
        StoreError::Unavailable(why)
    }

    /// Carries out one step of the database within its time limit.
    pub(super) async fn step<T>(
        &self,
        step: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, StoreError> {
        match timeout(STEP, step).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(&error.0)),
            Err(_) => Err(self.failed("it did not answer in time")),
        }
    }

    /// Carries out a step of housekeeping or of an operator, which may take longer. If it fails, that
    /// says nothing of the steps of clients.
    pub(super) async fn slow_step<T>(
        &self,
        step: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, StoreError> {
        match timeout(HOUSEKEEPING, step).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(StoreError::Unavailable(error.0.into())),
            Err(_) => Err(StoreError::Unavailable("it did not answer in time".into())),
        }
    }

    /// The record, and the time by which it is to be judged.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        key: RecordKey,
        now: Timestamp,
    ) -> Result<(Option<T>, Timestamp), StoreError> {
        let reading = self.step(self.database.read(&key)).await?;
        let value = self.open_reading(&key, &reading)?;
        Ok((value, self.judged_at(reading.now, now)))
    }

    /// Replaces a record by what `decide` makes of it, and returns its answer. `decide` may be
    /// called several times and must depend on its arguments alone.
    pub(super) async fn update<T: Serialize + DeserializeOwned, R>(
        &self,
        key: RecordKey,
        now: Timestamp,
        mut decide: impl FnMut(Option<T>, Timestamp) -> (R, Change<T>) + Send,
    ) -> Result<R, StoreError> {
        let decided = self.update_found(key, now, |found, at| {
            let value = match found {
                Found::Nothing => None,
                Found::Value(value) => Some(value),
                Found::Unreadable(error) => return (Err(error), Change::Keep),
            };
            let (answer, change) = decide(value, at);
            (Ok(answer), change)
        });
        decided.await?
    }

    /// As `update`, for an operation that can do with a record that cannot be read.
    pub(super) async fn update_found<T: Serialize + DeserializeOwned, R>(
        &self,
        key: RecordKey,
        now: Timestamp,
        mut decide: impl FnMut(Found<T>, Timestamp) -> (R, Change<T>) + Send,
    ) -> Result<R, StoreError> {
        let mut reading = self.step(self.database.read(&key)).await?;
        let mut turn = None;
        for _ in 0..ATTEMPTS {
            let expected = reading.record.as_ref().map(|record| record.version);
            let found = self.found(&key, &reading);
            let (answer, change) = decide(found, self.judged_at(reading.now, now));
            let new = match change {
                Change::Keep => return Ok(answer),
                Change::Remove if expected.is_none() => return Ok(answer),
                Change::Remove => self.seal_record::<T>(&key, None, Some(REMOVED)),
                Change::Write(value, keep) => self.seal_record(&key, Some(&value), keep),
            }?;
            match self.swap(&key, expected, new).await? {
                Swap::Written => return Ok(answer),
                Swap::Conflict(current) => reading = current,
            }
            // Whoever only looks never waits. Whoever met another writer takes turns with those of
            // this node, so that only nodes compete.
            if turn.is_none() {
                turn = self.turn(&key).await;
            }
        }
        Err(StoreError::Unavailable(CONTENDED.into()))
    }

    /// Writes a record, whatever is there.
    pub(super) async fn put<T: Serialize>(
        &self,
        key: RecordKey,
        value: &T,
        keep: Option<Duration>,
    ) -> Result<(), StoreError> {
        let new = self.seal_record(&key, Some(value), keep)?;
        let mut expected = None;
        for _ in 0..ATTEMPTS {
            match self.swap(&key, expected, new.clone()).await? {
                Swap::Written => return Ok(()),
                Swap::Conflict(current) => {
                    expected = current.record.map(|record| record.version);
                }
            }
        }
        Err(StoreError::Unavailable(CONTENDED.into()))
    }

    async fn turn(&self, key: &RecordKey) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let hash = self.seal.name(&[b"turn", key.kind.name().as_bytes(), &key.id]);
        let number = hash.0.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
        match self.locks.get(usize::from(number) % LOCKS) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }

    /// Writes once more if the first answer is lost: the version tells whether the first attempt
    /// was carried out.
    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> Result<Swap, StoreError> {
        let began = Instant::now();
        match timeout(STEP, self.database.swap(key, expected, new.clone())).await {
            Ok(Ok(swap)) => Ok(swap),
            // A connection that broke fails at once, and there is time for another.
            Ok(Err(_)) if began.elapsed() < QUICK => {
                self.step(self.database.swap(key, expected, new)).await
            }
            Ok(Err(error)) => Err(self.failed(&error.0)),
            Err(_) => Err(self.failed("it did not answer in time")),
        }
    }

    /// The time by which things are to be judged that are not one record.
    pub(super) async fn now(&self, caller: Timestamp) -> Result<Timestamp, StoreError> {
        let any = self.key(RecordKind::Document, &[b"time"]);
        let reading = self.step(self.database.read(&any)).await?;
        Ok(self.judged_at(reading.now, caller))
    }

    fn judged_at(&self, database: Timestamp, caller: Timestamp) -> Timestamp {
        match self.time {
            TimeSource::Database => database,
            TimeSource::Caller => caller,
        }
    }

    fn found<T: DeserializeOwned>(&self, key: &RecordKey, reading: &Reading) -> Found<T> {
        match self.open_reading(key, reading) {
            Ok(Some(value)) => Found::Value(value),
            Ok(None) => Found::Nothing,
            Err(error) => Found::Unreadable(error),
        }
    }

    fn open_reading<T: DeserializeOwned>(
        &self,
        key: &RecordKey,
        reading: &Reading,
    ) -> Result<Option<T>, StoreError> {
        reading.record.as_ref().map_or(Ok(None), |record| self.open(key, record))
    }

    /// Opens a sealed record; `None` if it was removed.
    pub(super) fn open<T: DeserializeOwned>(
        &self,
        key: &RecordKey,
        record: &Record,
    ) -> Result<Option<T>, StoreError> {
        // One record that cannot be read costs only whoever needs it: the circuit stays closed.
        let unreadable = |error: &dyn std::fmt::Display| {
            StoreError::Unavailable(format!("a record of `{}`: {error}", key.kind.name()).into())
        };
        let value =
            self.seal.open(&place(key), &record.value).map_err(|error| unreadable(&error))?;
        serde_json::from_slice(&value).map_err(|error| unreadable(&error))
    }

    fn seal_record<T: Serialize>(
        &self,
        key: &RecordKey,
        value: Option<&T>,
        keep: Option<Duration>,
    ) -> Result<NewRecord, StoreError> {
        let value = serde_json::to_vec(&value).map_err(|error| {
            StoreError::Unavailable(format!("a record cannot be written: {error}").into())
        })?;
        let version = RecordVersion(i64::from_be_bytes(random()));
        let value = self.seal.seal(&place(key), &value);
        Ok(NewRecord { version, value, keep: keep.and_then(bounded) })
    }

    /// The address of a record that is found by these parts.
    pub(super) fn key(&self, kind: RecordKind, parts: &[&[u8]]) -> RecordKey {
        let purpose = [&[kind.name().as_bytes()], parts].concat();
        RecordKey { kind, id: self.seal.name(&purpose).0.to_vec() }
    }
}

/// For how long a database keeps something: for longer than any operation takes, by whatever clock;
/// `None`, which means for good, for a time that a database cannot add to its own.
pub(super) fn bounded(keep: Duration) -> Option<Duration> {
    const SHORTEST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    (keep <= LONGEST).then_some(keep.max(SHORTEST))
}

fn place(key: &RecordKey) -> [&[u8]; 2] {
    [key.kind.name().as_bytes(), &key.id]
}
