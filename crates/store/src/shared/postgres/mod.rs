//! The shared database in PostgreSQL, and in what speaks like it: CockroachDB, YugabyteDB.
//!
//! Each kind of record is a table, and each step one statement, which the server carries out as a
//! transaction of its own. Nothing is left on a connection between two steps, so a pooler in
//! transaction mode may be in between. There are no advisory locks, triggers or procedures.
//! `docs/reference/store-tables.md` describes the tables.

mod fault;
mod feed_window;
mod follower;
mod inspect;
mod migrations;
mod options;
mod pool;
mod statements;
mod wakeup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

pub use self::options::{PostgresOptions, TlsPolicy};

use self::fault::StepFault;
use self::follower::{FeedFollower, FeedReader};
use self::migrations::SchemaPlace;
use self::options::ServerAddress;
use self::pool::{ConnectionPool, column, last};
use self::statements::{SWEPT, Statements, parse_bytes};
use self::wakeup::Wakeup;
use super::{
    DatabaseError, DatabaseResult, FeedEntry, Finding, Follower, NewRecord, Reading, Record,
    RecordKey, RecordKind, RecordVersion, SharedDatabase, SharedOpenError, Swap,
};

/// How long each step of opening the database may take.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// How many entries are published in one statement.
const MOST_PUBLISHED: usize = 500;

/// How long a publication, which is done, may wait for its notification.
const NOTIFY_LIMIT: Duration = Duration::from_millis(100);

/// How often a write finds its record changed and, when it reads it, as it was expected.
const MOST_ROUNDS: usize = 4;

/// A PostgreSQL database that several gateways share.
#[derive(Debug)]
pub struct PostgresDatabase {
    address: ServerAddress,
    place: SchemaPlace,
    pool: ConnectionPool,
    statements: Statements,
    step_limit: Duration,
    /// The server is PostgreSQL itself and not something that speaks like it.
    is_original: bool,
    /// The table that the next sweep begins with.
    swept: AtomicUsize,
    /// Cleared when the server turns out not to have notifications.
    has_notifications: AtomicBool,
}

impl PostgresDatabase {
    /// Connects, and makes or changes the tables as this program needs them.
    ///
    /// # Errors
    ///
    /// If the settings are wrong, the server cannot be reached or refuses the user, a right is
    /// missing, or the tables are of a later version of the program.
    pub async fn open(options: PostgresOptions) -> Result<Arc<Self>, SharedOpenError> {
        let mut database = Self::new(&options)?;
        let pool = database.pool_for_opening();
        let answer = pool.try_run("SELECT version()").await;
        let answer = answer.map_err(|fault| database.open_error(fault))?;
        let version = last(answer).rows.first().map(|row| column::<String>(row, 0));
        let version = version.unwrap_or_else(|| Ok(String::new()));
        let version = version.map_err(|error| database.open_error(StepFault::of(error.0)))?;
        database.is_original = is_original(&version);
        migrations::migrate(&pool, &database.place).await?;
        pool.close().await;
        Ok(Arc::new(database))
    }

    /// Connects to nothing and changes nothing. `inspect` says what `open` would find.
    ///
    /// # Errors
    ///
    /// If the settings are wrong.
    pub fn for_inspection(options: &PostgresOptions) -> Result<Self, SharedOpenError> {
        Self::new(options)
    }

    fn new(options: &PostgresOptions) -> Result<Self, SharedOpenError> {
        let address = ServerAddress::parse(options)?;
        let step_limit = options.step_limit;
        let place = SchemaPlace {
            at: address.at.clone(),
            schema: options.schema.clone(),
            user: address.connect.get_username().to_owned(),
        };
        let connect = address.connect.clone();
        let at = address.at.clone();
        Ok(Self {
            pool: ConnectionPool::new(connect, at, step_limit, options.connections),
            // The server stops working on a statement some time after nobody waits for it.
            statements: Statements::new(&options.schema, 2 * step_limit),
            address,
            place,
            step_limit,
            is_original: true,
            swept: AtomicUsize::new(0),
            has_notifications: AtomicBool::new(true),
        })
    }

    fn pool_for_opening(&self) -> ConnectionPool {
        let connect = self.address.connect.clone();
        let at = self.address.at.clone();
        ConnectionPool::new(connect, at, OPEN_LIMIT, 1)
    }

    fn open_error(&self, fault: StepFault) -> SharedOpenError {
        fault.into_open_error(&self.address.at, &self.place.remedy_to_create())
    }

    fn fault(&self, text: &str) -> DatabaseError {
        self.pool.error(&StepFault::of(text))
    }

    fn bytes(&self, digits: &str) -> DatabaseResult<Vec<u8>> {
        parse_bytes(digits).ok_or_else(|| self.fault("a stored value is no bytes"))
    }

    /// Writes, and reads what is there if nothing was written.
    async fn swap_in_rounds(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: &NewRecord,
    ) -> DatabaseResult<Swap> {
        let script = self.statements.swap(key, expected, new);
        for _ in 0..MOST_ROUNDS {
            if last(self.pool.run(&script).await?).count == 1 {
                return Ok(Swap::Written);
            }
            let reading = self.read(key).await?;
            let current = reading.record.as_ref().map(|record| record.version);
            if current == Some(new.version) {
                return Ok(Swap::Written);
            }
            // The record may have been removed, or put back, between the two statements.
            if current != expected {
                return Ok(Swap::Conflict(reading));
            }
        }
        Err(self.fault("a record changed too often for a write"))
    }

    /// The findings about the server, its settings and its tables. Nothing is changed there.
    pub async fn inspect(&self) -> Vec<Finding> {
        inspect::inspect(self).await
    }
}

/// CockroachDB and YugabyteDB name themselves in the version.
fn is_original(version: &str) -> bool {
    version.starts_with("PostgreSQL") && !version.contains("-YB-")
}

#[async_trait]
impl SharedDatabase for PostgresDatabase {
    async fn prepare(&self) -> DatabaseResult<()> {
        let pool = self.pool_for_opening();
        let made = migrations::migrate(&pool, &self.place).await;
        pool.close().await;
        made.map_err(|error| DatabaseError(error.to_string()))
    }

    async fn read(&self, key: &RecordKey) -> DatabaseResult<Reading> {
        let rows = last(self.pool.run(&self.statements.read(key)).await?).rows;
        let row = rows.first().ok_or_else(|| self.fault("a read was not answered"))?;
        // A standby may show an old record: a session that has ended would go on.
        if column::<String>(row, 1)? == "on" {
            return Err(self.pool.read_only());
        }
        let now = u64::try_from(column::<i64>(row, 0)?).unwrap_or(0);
        let version = column::<Option<i64>>(row, 2)?;
        let value = column::<Option<String>>(row, 3)?;
        let record = match (version, value) {
            (Some(version), Some(value)) => {
                Some(Record { version: RecordVersion(version), value: self.bytes(&value)? })
            }
            _ => None,
        };
        Ok(Reading { record, now: Timestamp::from_millis(now) })
    }

    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> DatabaseResult<Swap> {
        let swapping = self.swap_in_rounds(key, expected, &new);
        let done = tokio::time::timeout(self.step_limit, swapping).await;
        done.unwrap_or_else(|_| {
            Err(self.fault(&format!("did not answer within {:?}", self.step_limit)))
        })
    }

    async fn walk(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> DatabaseResult<Vec<(Vec<u8>, Record)>> {
        let script = self.statements.walk(kind, after, limit);
        let rows = last(self.pool.run(&script).await?).rows;
        let records = rows.iter().map(|row| {
            let version = RecordVersion(column(row, 1)?);
            let value = self.bytes(column(row, 2)?)?;
            Ok((self.bytes(column(row, 0)?)?, Record { version, value }))
        });
        records.collect()
    }

    async fn join(
        &self,
        group: Digest,
        member: &[u8],
        keep: Option<Duration>,
    ) -> DatabaseResult<()> {
        self.pool.run(&self.statements.join(group, member, keep)).await.map(drop)
    }

    async fn leave(&self, group: Digest, member: &[u8]) -> DatabaseResult<()> {
        self.pool.run(&self.statements.leave(group, member)).await.map(drop)
    }

    async fn members(&self, group: Digest) -> DatabaseResult<Vec<Vec<u8>>> {
        let rows = last(self.pool.run(&self.statements.members(group)).await?).rows;
        rows.iter().map(|row| self.bytes(column(row, 0)?)).collect()
    }

    async fn publish(&self, entries: &[FeedEntry]) -> DatabaseResult<()> {
        // Of entries about the same thing the last one counts; a statement takes only one.
        let by_id: BTreeMap<Digest, &FeedEntry> =
            entries.iter().map(|entry| (entry.id, entry)).collect();
        let entries: Vec<&FeedEntry> = by_id.into_values().collect();
        for some in entries.chunks(MOST_PUBLISHED) {
            self.pool.run(&self.statements.publish(some.iter().copied())).await?;
        }
        // Not in the transaction of the entries: those that notify commit one after the other, so
        // each would wait for the disk alone. A lost notification costs a quarter of a second.
        if !entries.is_empty() && self.has_notifications.load(Ordering::Relaxed) {
            let script = self.statements.notify();
            let notifying = tokio::time::timeout(NOTIFY_LIMIT, self.pool.try_run(&script));
            // Undefined function; feature not supported.
            if let Ok(Err(fault)) = notifying.await
                && fault.has_code(&["42883", "0A000"])
            {
                self.has_notifications.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn follow(&self) -> Box<dyn Follower> {
        let connect = self.address.connect.clone();
        let at = self.address.at.clone();
        let reader = FeedReader {
            // A connection of its own: steps that wait for one must not hold up the looks.
            pool: ConnectionPool::new(connect.clone(), at, self.step_limit, 1),
            statements: self.statements.clone(),
            has_start: self.is_original,
            step_limit: self.step_limit,
        };
        let wakeup = Wakeup::new(connect, self.statements.channel.clone());
        Box::new(FeedFollower::new(reader, wakeup))
    }

    async fn sweep(&self) -> DatabaseResult<bool> {
        let begun = Instant::now();
        let scripts = self.statements.sweeps();
        let first = self.swept.load(Ordering::Relaxed);
        let mut has_more = false;
        for number in 0..scripts.len() {
            // All tables are one step, and a busy server may need its time for one of them.
            if begun.elapsed() > self.step_limit / 4 {
                self.swept.store(first + number, Ordering::Relaxed);
                return Ok(true);
            }
            if let Some(script) = scripts.get((first + number) % scripts.len()) {
                has_more |= last(self.pool.run(script).await?).count >= SWEPT;
            }
        }
        Ok(has_more)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_only_speak_like_postgresql_are_told_apart() {
        for (version, expected) in [
            ("PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu", true),
            ("PostgreSQL 11.2-YB-2.20.1.3-b0 on x86_64-pc-linux-gnu", false),
            ("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)", false),
        ] {
            assert_eq!(is_original(version), expected, "{version}");
        }
    }
}
