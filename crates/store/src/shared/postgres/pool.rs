//! Connections to one server, and the running of scripts on them within a time limit.
//!
//! A script is one or more statements in one message of the simple protocol. The server carries it
//! out as one transaction, so that no transaction ever waits for this process, and a pooler that
//! gives each transaction another server (PgBouncer) does not matter. No setting and no prepared
//! statement is left on a connection.
//!
//! A connection goes back only after its answer was read to the end. A step that is given up, by
//! its time limit or by its caller, closes its connection.

use std::fmt;
use std::time::Duration;

use futures_util::TryStreamExt;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, Either, Executor, PgConnection, Row};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fault::StepFault;
use crate::shared::{DatabaseError, DatabaseResult};

/// Unused connections are closed after this time. Firewalls drop the state of a connection that
/// nobody uses; a step on such a connection would get no answer.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// Connections are replaced after this time. A new connection finds the server that has taken the
/// place of the old one.
const LONGEST_LIFE: Duration = Duration::from_secs(300);
/// How often a step is repeated that the server gave up because of other transactions.
const MOST_REPETITIONS: u32 = 6;
/// How often a step is repeated whose connection broke.
const MOST_BREAKS: u32 = 2;

/// The connections to one server.
pub(super) struct ConnectionPool {
    connect: PgConnectOptions,
    at: String,
    limit: Duration,
    idle: Mutex<Vec<WaitingConnection>>,
    places: Semaphore,
    size: u32,
}

/// A connection that is not used at the moment.
struct WaitingConnection {
    connection: PoolConnection,
    since: Instant,
}

pub(super) struct PoolConnection {
    open: PgConnection,
    made: Instant,
}

/// The answer to one statement of a script.
#[derive(Default)]
pub(super) struct StatementAnswer {
    pub(super) rows: Vec<PgRow>,
    /// How many rows the statement changed, or returned.
    pub(super) count: u64,
}

impl fmt::Debug for ConnectionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPool").field("at", &self.at).finish_non_exhaustive()
    }
}

impl ConnectionPool {
    /// A pool of up to `size` connections. Nothing is connected yet.
    pub(super) fn new(connect: PgConnectOptions, at: String, limit: Duration, size: u32) -> Self {
        let size = size.clamp(1, 10_000);
        let places = Semaphore::new(usize::try_from(size).unwrap_or(1));
        Self { connect, at, limit, idle: Mutex::default(), places, size }
    }

    /// Runs a script and answers with what each statement answered.
    ///
    /// # Errors
    ///
    /// If it was not carried out, or not within the time limit. It may have been carried out all
    /// the same.
    pub(super) async fn run(&self, script: &str) -> DatabaseResult<Vec<StatementAnswer>> {
        self.try_run(script).await.map_err(|fault| self.error(&fault))
    }

    /// The same, with the server's code in the error.
    pub(super) async fn try_run(&self, script: &str) -> Result<Vec<StatementAnswer>, StepFault> {
        let begun = Instant::now();
        let work = self.run_until_done(script, begun);
        match tokio::time::timeout(self.limit, work).await {
            Ok(done) => done,
            Err(_) => {
                self.forget_unproven(begun);
                Err(StepFault::of(format!("did not answer within {:?}", self.limit)))
            }
        }
    }

    pub(super) fn error(&self, fault: &StepFault) -> DatabaseError {
        DatabaseError(format!("{}: {fault}", self.at))
    }

    async fn run_until_done(
        &self,
        script: &str,
        begun: Instant,
    ) -> Result<Vec<StatementAnswer>, StepFault> {
        let _place = self.places.acquire().await.map_err(|_| StepFault::of("it was closed"))?;
        let mut repetitions = 0;
        let mut breaks = 0;
        loop {
            let mut connection = match self.take() {
                Some(idle) => idle,
                None => self.connect().await?,
            };
            let fault = match connection.run(script).await {
                Ok(answers) => {
                    self.put_back(connection);
                    return Ok(answers);
                }
                Err(fault) => fault,
            };
            if fault.is_lost() {
                self.forget_unproven(begun);
                // The server, or a pooler, may have closed the connection while nobody used it, so
                // the step is repeated on a new one. It may have been carried out already: every
                // step is such that a repetition does no harm.
                if breaks == MOST_BREAKS {
                    return Err(fault);
                }
                breaks += 1;
                continue;
            }
            self.put_back(connection);
            if !fault.is_transient() || repetitions == MOST_REPETITIONS {
                return Err(fault);
            }
            repetitions += 1;
            tokio::time::sleep(pause_before(repetitions)).await;
        }
    }

    /// A new connection, which does not count as one of the pool's until it is put back.
    pub(super) async fn connect(&self) -> Result<PoolConnection, StepFault> {
        let open = PgConnection::connect_with(&self.connect).await?;
        Ok(PoolConnection { open, made: Instant::now() })
    }

    /// The connection that was used last, unless it is too old. Others that are too old are closed.
    fn take(&self) -> Option<PoolConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| {
            idle.since.elapsed() < LONGEST_IDLE && idle.connection.made.elapsed() < LONGEST_LIFE
        });
        idle.pop().map(|idle| idle.connection)
    }

    fn put_back(&self, connection: PoolConnection) {
        if !self.places.is_closed() {
            self.idle.lock().push(WaitingConnection { connection, since: Instant::now() });
        }
    }

    /// Closes the idle connections that have answered nothing since `begun`, when a step began that
    /// failed. The server or the way to it may be gone: if each dead connection were found by a
    /// step of its own, each of these steps would take its whole time limit.
    fn forget_unproven(&self, begun: Instant) {
        self.idle.lock().retain(|idle| idle.since > begun);
    }

    /// The error of a server that only reads, as a standby does: what it shows may be old. Its
    /// connections are closed, because new ones may lead to the server that has taken over.
    pub(super) fn read_only(&self) -> DatabaseError {
        self.idle.lock().clear();
        self.error(&StepFault::of("the server is read-only, as a standby is"))
    }

    /// Closes all connections, after the steps that run have ended.
    pub(super) async fn close(&self) {
        // No step runs for longer than the time limit.
        let all = self.places.acquire_many(self.size);
        let _all = tokio::time::timeout(self.limit, all).await;
        self.places.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        let closing = idle.into_iter().map(|idle| idle.connection.open.close());
        let _ = tokio::time::timeout(self.limit, futures_util::future::join_all(closing)).await;
    }
}

impl PoolConnection {
    /// Runs a script. After an error that is not `is_lost`, the connection can be used again.
    pub(super) async fn run(&mut self, script: &str) -> Result<Vec<StatementAnswer>, StepFault> {
        // All parts of a script are numbers, hexadecimal digits and checked names.
        let mut answer = self.open.fetch_many(sqlx::raw_sql(AssertSqlSafe(script)));
        let mut answers = Vec::new();
        let mut current = StatementAnswer::default();
        while let Some(next) = answer.try_next().await? {
            match next {
                Either::Right(row) => current.rows.push(row),
                Either::Left(done) => {
                    current.count = done.rows_affected();
                    answers.push(std::mem::take(&mut current));
                }
            }
        }
        Ok(answers)
    }
}

/// Grows, and differs from step to step, so that those that were in each other's way do not meet
/// again.
fn pause_before(repetition: u32) -> Duration {
    let [random] = tollhouse_core::secret::random::<1>();
    let longest = Duration::from_millis(2) * 2_u32.saturating_pow(repetition);
    longest * u32::from(random) / 256
}

/// The answer of the last statement of a script.
pub(super) fn last(mut answers: Vec<StatementAnswer>) -> StatementAnswer {
    answers.pop().unwrap_or_default()
}

/// A column of a row, by its place.
pub(super) fn column<'r, T>(row: &'r PgRow, place: usize) -> DatabaseResult<T>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(place)
        .map_err(|error| DatabaseError(format!("an answer has another form: {error}")))
}
