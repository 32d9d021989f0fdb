//! Asking a SQL database with a query that the operator wrote.
//!
//! PostgreSQL, MySQL and MariaDB, SQLite. What comes from outside is bound, never part of the
//! query; reading happens in transactions that cannot write; every question is bounded in time,
//! rows and connections. A server that is down is no error until it is asked, and again none once
//! it is back: what was left open is tried once before a new connection is made. Asked in the
//! back room only.

mod connect;
mod connection;
mod fault;
mod row;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::connect::{Address, AddressError};
pub use self::row::Row;

use self::connection::Connection;
use self::fault::Fault;

/// Longer than any look-up by a key takes, shorter than a client's patience.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to one database.
pub const PARALLEL: u32 = 8;
/// Firewalls forget connections that nobody uses; what is asked on such a one gets no answer.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// A new connection finds the server, or the file, that has taken the old one's place.
const LONGEST_LIFE: Duration = Duration::from_secs(300);

/// How a database is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseOptions {
    /// PEM of a CA to believe beside the public ones.
    pub ca: Option<String>,
    /// Speak without TLS to a server that is not this machine.
    pub allow_plain: bool,
    /// For one question, from waiting for a connection to its last row.
    pub timeout: Duration,
    /// Connections at once; a further question waits, within its own timeout.
    pub parallel: u32,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self { ca: None, allow_plain: false, timeout: TIMEOUT, parallel: PARALLEL }
    }
}

/// Whether a connection may change what is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// Why a database did not answer. Names no value that was bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    #[error("{at} cannot be reached: {cause}")]
    Connect { at: String, cause: String },

    #[error("{at} did not answer: {cause}")]
    Query { at: String, cause: String },

    #[error("{at} did not answer within {limit:?}")]
    Slow { at: String, limit: Duration },

    #[error("the query has more than {most} rows")]
    Rows { most: usize },

    #[error("column `{column}` is of type {kind}, which is not read: cast it to text in the query")]
    Column { column: String, kind: String },

    #[error("the query has more than one column `{column}`: give the others another name")]
    Twice { column: String },
}

impl DatabaseError {
    /// The error with its causes on one line, for a log.
    pub fn chain(&self) -> String {
        self.to_string()
    }
}

/// A database, connected to when it is first asked.
pub struct Database {
    address: Address,
    access: Access,
    options: DatabaseOptions,
    idle: Mutex<Vec<Idle>>,
    places: Semaphore,
}

/// A connection that nobody uses now.
struct Idle {
    connection: Connection,
    since: Instant,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("address", &self.address)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// The database at `address`.
    pub fn new(address: Address, options: DatabaseOptions, access: Access) -> Self {
        let places = usize::try_from(options.parallel).unwrap_or(usize::MAX);
        let places = Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS));
        Self { address, access, options, idle: Mutex::default(), places }
    }

    /// The rows of a query, its placeholders bound to `binds`; an error if there are more than
    /// `most`, or a column is of a type that is not read.
    ///
    /// # Errors
    /// When the database does not answer as it should, in time.
    pub async fn rows(
        &self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = self.ask(query, binds, most).await?;
        rows.into_iter().map(|row| row.whole()).collect()
    }

    /// As `rows`, with those columns only, as far as the query has them: others may be of any
    /// type.
    ///
    /// # Errors
    /// As `rows`; when the query has one of the columns twice.
    pub async fn rows_of(
        &self,
        columns: &[&str],
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = self.ask(query, binds, most).await?;
        rows.into_iter().map(|row| row.part(columns)).collect()
    }

    /// The names of the columns that a query would have, without running it.
    ///
    /// # Errors
    /// When the database does not answer in time, or refuses the query.
    pub async fn columns(&self, query: &str) -> Result<Vec<String>, DatabaseError> {
        self.in_time(async {
            let _place = self.places.acquire().await;
            self.connect().await?.columns(query).await
        })
        .await
    }

    /// Carries out a statement that changes one row; answers how many rows it changed. One that
    /// would change more changes nothing.
    ///
    /// # Errors
    /// As `rows`; always where the access is to read.
    pub async fn execute(&self, statement: &str, binds: &[&str]) -> Result<u64, DatabaseError> {
        self.in_time(async {
            let _place = self.places.acquire().await;
            // Never twice: a connection that breaks may have carried it out.
            self.connect().await?.change(statement, binds).await
        })
        .await
    }

    async fn ask(
        &self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = self
            .in_time(async {
                let _place = self.places.acquire().await;
                if let Some(mut kept) = self.take() {
                    match kept.rows(query, binds, most).await {
                        Ok(rows) => return Ok(self.keep(kept, rows, most)),
                        // It may have broken while nobody used it; a new one will tell.
                        Err(fault) => tracing::debug!(at = ?self.address, %fault, "asked anew"),
                    }
                }
                let mut new = self.connect().await?;
                let rows = new.rows(query, binds, most).await?;
                Ok(self.keep(new, rows, most))
            })
            .await?;
        if rows.len() > most { Err(DatabaseError::Rows { most }) } else { Ok(rows) }
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        Connection::open(&self.address, &self.options, self.access).await
    }

    /// Bounds `work`. A connection that is cut off in the middle is closed, because it is kept
    /// only after its answer.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, DatabaseError> {
        let (at, limit) = (self.address.to_string(), self.options.timeout);
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done.map_err(|fault| match fault {
                Fault::Connect(cause) => DatabaseError::Connect { at, cause },
                Fault::Query(cause) => DatabaseError::Query { at, cause },
            }),
            Err(_) => Err(DatabaseError::Slow { at, limit }),
        }
    }

    /// The connection that was used last, unless it is too old.
    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| {
            idle.since.elapsed() < LONGEST_IDLE && idle.connection.made.elapsed() < LONGEST_LIFE
        });
        idle.pop().map(|idle| idle.connection)
    }

    /// Keeps a connection that has been read to the end of its answer.
    fn keep(&self, connection: Connection, rows: Vec<Row>, most: usize) -> Vec<Row> {
        if rows.len() <= most {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(Idle { connection, since: Instant::now() });
        }
        rows
    }
}
