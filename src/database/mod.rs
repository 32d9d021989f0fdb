//! A bounded way to ask a SQL database with a query that the operator wrote.
//!
//! PostgreSQL, MySQL and MariaDB, and SQLite. What the operator wrote is the statement, what a
//! client sent is only ever bound to it. Questions run in read-only transactions; every question
//! is bounded in time, in rows and in how many there are at once. Connections are made when they
//! are needed, so that a server that is down is no error before it is asked, and what was left
//! open is tried once before a new one is made. Spoken in the back room only.

mod address;
mod connection;
mod fault;
mod row;

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::address::Address;
use self::connection::Connection;
use self::fault::Fault;

pub use self::address::DatabaseTls;
pub use self::row::Row;

use crate::secret::SecretString;

/// Longer than a healthy database takes, shorter than a client's patience.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Small servers allow a hundred connections to everybody together.
pub const PARALLEL: usize = 8;
/// Firewalls forget connections that nobody uses; a question on such a one is never answered.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// A new one finds the server, or the file, that has taken the old one's place.
const LONGEST_LIFE: Duration = Duration::from_secs(300);

/// How a database is asked.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// PEM of a CA to believe beside the public ones.
    pub ca: Option<String>,
    /// Without it TLS is required, but of loopback and unix sockets.
    pub tls: Option<DatabaseTls>,
    /// For one question, from waiting for a connection to the last row.
    pub timeout: Duration,
    /// Questions, and so connections, at once; a further one waits, within its own timeout.
    pub parallel: usize,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self { ca: None, tls: None, timeout: TIMEOUT, parallel: PARALLEL }
    }
}

/// Why there is no answer. Names the server and never a credential.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database's URL cannot be used: {cause}")]
    Url { cause: String },

    #[error("{at} could not be reached: {cause}")]
    Connect { at: String, cause: String },

    #[error("{at} could not answer: {cause}")]
    Query { at: String, cause: String },

    #[error("{at} did not answer within {limit:?}")]
    Slow { at: String, limit: Duration },

    #[error("{at} answered with more rows than {most}")]
    TooMany { at: String, most: usize },

    #[error("the query gives no column `{column}`")]
    NoColumn { column: String },

    #[error("the query gives more than one column `{column}`")]
    TwoColumns { column: String },

    #[error(
        "column `{column}` is of type {kind}, which cannot be read: cast it to text in the query"
    )]
    Unreadable { column: String, kind: String },
}

/// A database to ask.
pub struct Database {
    address: Address,
    idle: Mutex<Vec<Idle>>,
    places: Semaphore,
    timeout: Duration,
}

/// A connection that nobody uses now.
struct Idle {
    connection: Connection,
    made: Instant,
    since: Instant,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("at", &self.address.shown()).finish_non_exhaustive()
    }
}

impl Database {
    /// A database by its URL: `postgres://`, `mysql://` (or `mariadb://`), `sqlite:path`. Nothing
    /// is opened yet.
    ///
    /// # Errors
    /// When the URL could never work.
    pub fn new(url: &SecretString, options: DatabaseOptions) -> Result<Self, DatabaseError> {
        Ok(Self {
            address: Address::parse(url.expose(), &options)?,
            idle: Mutex::default(),
            places: Semaphore::new(options.parallel.max(1)),
            timeout: options.timeout,
        })
    }

    /// Asks with `binds` in the places that `query` has for them (`$1`, in MySQL `?`), read-only.
    ///
    /// # Errors
    /// When there is no answer of at most `most` rows in time.
    pub async fn rows(
        &self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = self.within(self.ask(query, binds, most)).await?;
        if rows.len() > most {
            return Err(DatabaseError::TooMany { at: self.address.shown(), most });
        }
        Ok(rows)
    }

    /// The names of the columns that `query` would give, without running it.
    ///
    /// # Errors
    /// When the database could not say, or refuses the query.
    pub async fn columns(&self, query: &str) -> Result<Vec<String>, DatabaseError> {
        let work = async {
            let _place = self.places.acquire().await;
            let mut connection = Connection::open(&self.address, true).await?;
            connection.columns(query).await
        };
        self.within(work).await
    }

    /// Changes exactly one row, on a connection of its own, since others only read; false if
    /// there was none to change. A statement that would change more changes nothing.
    ///
    /// # Errors
    /// When it is not known to be done, or would have changed more than one row.
    pub async fn change(&self, statement: &str, binds: &[&str]) -> Result<bool, DatabaseError> {
        let work = async {
            let _place = self.places.acquire().await;
            let mut connection = Connection::open(&self.address, false).await?;
            connection.change(statement, binds).await
        };
        match self.within(work).await? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DatabaseError::TooMany { at: self.address.shown(), most: 1 }),
        }
    }

    async fn ask(&self, query: &str, binds: &[&str], most: usize) -> Result<Vec<Row>, Fault> {
        let _place = self.places.acquire().await;
        if let Some((mut connection, made)) = self.take() {
            match connection.rows(query, binds, most).await {
                Ok(rows) => {
                    self.keep(connection, made, rows.len() <= most);
                    return Ok(rows);
                }
                // It may have broken while nobody used it; only a new one can tell.
                Err(fault) => tracing::debug!(at = %self.address.shown(), %fault, "asked anew"),
            }
        }
        let mut connection = Connection::open(&self.address, true).await?;
        let rows = connection.rows(query, binds, most).await?;
        self.keep(connection, Instant::now(), rows.len() <= most);
        Ok(rows)
    }

    /// Bounds `work` and says what became of it. What is cut off is never used again: a
    /// connection is kept only after a whole answer.
    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, DatabaseError> {
        let at = self.address.shown();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Fault::Connect(cause))) => Err(DatabaseError::Connect { at, cause }),
            Ok(Err(Fault::Query(cause))) => Err(DatabaseError::Query { at, cause }),
            Err(_) => Err(DatabaseError::Slow { at, limit: self.timeout }),
        }
    }

    /// The connection used last, if it is fresh enough; if it is not, none is.
    fn take(&self) -> Option<(Connection, Instant)> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| {
            idle.since.elapsed() < LONGEST_IDLE && idle.made.elapsed() < LONGEST_LIFE
        });
        idle.pop().map(|idle| (idle.connection, idle.made))
    }

    fn keep(&self, connection: Connection, made: Instant, whole: bool) {
        if whole {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(Idle { connection, made, since: Instant::now() });
        }
    }
}
