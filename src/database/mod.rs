//! Asking a SQL database with a query that the operator wrote: PostgreSQL, MySQL and MariaDB, or
//! SQLite.
//!
//! Values from outside are bound and never part of the query. Reading happens in transactions that
//! cannot write. Each question is bounded in time, rows and connections.
//!
//! A server that is down is an error only when it is queried, and works again as soon as it is
//! back: a connection that was left open is tried once, then a new one is made. `users::sql` and
//! `authn` use this module on the background runtime only, because a question may take seconds.

#[cfg(feature = "sql")]
mod connect;
#[cfg(feature = "sql")]
mod connection;
#[cfg(feature = "sql")]
mod fault;
#[cfg(feature = "sql")]
mod row;
mod step_error;
#[cfg(not(feature = "sql"))]
mod without_sql;

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

#[cfg(feature = "sql")]
pub use self::connect::{AddressError, DatabaseAddress};
#[cfg(feature = "sql")]
pub use self::row::QueryRow;
#[cfg(not(feature = "sql"))]
pub use self::without_sql::{AddressError, DatabaseAddress, QueryRow};

#[cfg(feature = "sql")]
use self::connection::DatabaseConnection;
#[cfg(not(feature = "sql"))]
use self::without_sql::DatabaseConnection;

use self::step_error::StepError;

/// Time limit for one question: longer than any look-up by key takes, shorter than a client waits.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Number of connections to one database, if the configuration has no other.
pub const PARALLEL: u32 = 8;
/// Unused connections are closed after this time. Firewalls drop the state of a connection that
/// nobody uses; a question on it would get no answer.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// Connections are replaced after this time. A new connection finds the server, or the file, that
/// has taken the place of the old one.
const LONGEST_LIFE: Duration = Duration::from_secs(300);

/// The settings for asking a database.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseOptions {
    /// A CA in PEM form that is trusted in addition to the public ones.
    pub ca: Option<String>,
    /// Allow a connection without TLS to a server that is not on this machine.
    pub allow_plain: bool,
    /// Time limit for one question, from waiting for a connection to reading the last row.
    pub timeout: Duration,
    /// Connections at the same time. A further question waits, within its own time limit.
    pub parallel: u32,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self { ca: None, allow_plain: false, timeout: TIMEOUT, parallel: PARALLEL }
    }
}

/// Whether connections may change data in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    Read,
    Write,
}

/// The reasons why a database did not answer. No message contains a bound value.
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
    /// The error as one line for a log.
    pub fn chain(&self) -> String {
        self.to_string()
    }
}

/// A database. Connections are made when they are first needed, reused, and bounded in number. One
/// value is shared by all tasks.
pub struct Database {
    address: DatabaseAddress,
    access: AccessMode,
    options: DatabaseOptions,
    idle: Mutex<Vec<IdleSlot>>,
    places: Semaphore,
}

/// A connection that is not used at the moment.
struct IdleSlot {
    connection: DatabaseConnection,
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
    /// The database at `address`. Nothing is connected yet.
    pub fn new(address: DatabaseAddress, options: DatabaseOptions, access: AccessMode) -> Self {
        let places = usize::try_from(options.parallel).unwrap_or(usize::MAX);
        let places = Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS));
        Self { address, access, options, idle: Mutex::default(), places }
    }

    /// Runs a query with its placeholders bound to `binds`, and returns the rows.
    ///
    /// # Errors
    ///
    /// If the database does not answer as expected and in time; if there are more than `most` rows;
    /// if a column has a type that is not supported.
    pub async fn rows(
        &self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<QueryRow>, DatabaseError> {
        let rows = self.ask(query, binds, most).await?;
        rows.into_iter().map(|row| row.whole()).collect()
    }

    /// Like `rows`, but returns only the given columns, as far as the query has them. Other columns
    /// may have any type.
    ///
    /// # Errors
    ///
    /// As for `rows`, and if the query has one of the columns twice.
    pub async fn rows_of(
        &self,
        columns: &[&str],
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<QueryRow>, DatabaseError> {
        let rows = self.ask(query, binds, most).await?;
        rows.into_iter().map(|row| row.part(columns)).collect()
    }

    /// The names of the columns that a query would have, without running it.
    ///
    /// # Errors
    ///
    /// If the database does not answer in time, or refuses the query.
    pub async fn columns(&self, query: &str) -> Result<Vec<String>, DatabaseError> {
        self.in_time(async {
            let _place = self.places.acquire().await;
            self.connect().await?.columns(query).await
        })
        .await
    }

    /// Runs a statement that changes one row, and returns how many rows it changed. If it would
    /// change more than one, nothing is changed.
    ///
    /// # Errors
    ///
    /// As for `rows`; always if the access is `AccessMode::Read`.
    pub async fn execute(&self, statement: &str, binds: &[&str]) -> Result<u64, DatabaseError> {
        self.in_time(async {
            let _place = self.places.acquire().await;
            // The statement is never repeated on another connection: if the first one breaks, it
            // may have been carried out already. It therefore also gets a new connection, not a
            // kept one that may be dead.
            self.connect().await?.change(statement, binds).await
        })
        .await
    }

    async fn ask(
        &self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<QueryRow>, DatabaseError> {
        let rows = self
            .in_time(async {
                let _place = self.places.acquire().await;
                if let Some(mut kept) = self.take() {
                    match kept.rows(query, binds, most).await {
                        Ok(rows) => return Ok(self.keep(kept, rows, most)),
                        // The connection may have broken while it was unused. That looks the
                        // same as a fault of the query, so the query is sent once more on a new
                        // connection; it only reads.
                        Err(fault) => tracing::debug!(at = ?self.address, %fault, "queried again"),
                    }
                }
                let mut new = self.connect().await?;
                let rows = new.rows(query, binds, most).await?;
                Ok(self.keep(new, rows, most))
            })
            .await?;
        if rows.len() > most { Err(DatabaseError::Rows { most }) } else { Ok(rows) }
    }

    async fn connect(&self) -> Result<DatabaseConnection, StepError> {
        DatabaseConnection::open(&self.address, &self.options, self.access).await
    }

    /// Bounds the time of `work`. A connection that is interrupted in the middle is closed, because
    /// a connection is kept only after its answer was read: a late answer can never be taken for
    /// the answer to another question.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, DatabaseError> {
        let at = self.address.to_string();
        let limit = self.options.timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done.map_err(|fault| match fault {
                StepError::Connect(cause) => DatabaseError::Connect { at, cause },
                StepError::Query(cause) => DatabaseError::Query { at, cause },
            }),
            Err(_) => Err(DatabaseError::Slow { at, limit }),
        }
    }

    /// The connection that was used last, unless it is too old. Others that are too old are closed.
    fn take(&self) -> Option<DatabaseConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| {
            idle.since.elapsed() < LONGEST_IDLE && idle.connection.made.elapsed() < LONGEST_LIFE
        });
        idle.pop().map(|idle| idle.connection)
    }

    /// Keeps the connection for the next question, if the answer was read to its end.
    fn keep(
        &self,
        connection: DatabaseConnection,
        rows: Vec<QueryRow>,
        most: usize,
    ) -> Vec<QueryRow> {
        if rows.len() <= most {
            let mut idle = self.idle.lock();
            idle.push(IdleSlot { connection, since: Instant::now() });
        }
        rows
    }
}
