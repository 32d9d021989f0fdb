//! Asking a SQL database with a query that the operator wrote.
//!
//! PostgreSQL, MySQL and MariaDB, SQLite. What comes from outside is bound, never part of the
//! query; reading happens on connections that cannot write; every question is bounded in time,
//! rows and connections. A server that is down is no error until it is asked, and again none once
//! it is back. Asked in the back room only.

mod connect;
mod row;

use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, SqlitePool};
use tokio::sync::OnceCell;

pub use self::connect::{Address, AddressError};
pub use self::row::Row;

/// Longer than any look-up by a key takes, shorter than a client's patience.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to one database.
pub const PARALLEL: u32 = 8;

/// How a database is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseOptions {
    /// PEM of the CA to believe instead of the public ones.
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
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database did not answer")]
    Sql(#[from] sqlx::Error),

    #[error("the database did not answer within {limit:?}")]
    Slow { limit: Duration },

    #[error("the query has more than {most} rows")]
    Rows { most: usize },

    #[error("column `{column}` is of type {kind}, which is not read: cast it to text in the query")]
    Column { column: String, kind: String },
}

impl DatabaseError {
    /// The error with its causes on one line, for a log.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }
}

/// A database, connected to when it is first asked.
#[derive(Debug)]
pub struct Database {
    address: Address,
    options: DatabaseOptions,
    access: Access,
    pool: OnceCell<Pool>,
}

#[derive(Clone, Debug)]
enum Pool {
    Postgres(PgPool),
    MySql(MySqlPool),
    Sqlite(SqlitePool),
}

impl Database {
    /// The database at `address`.
    pub fn new(address: Address, options: DatabaseOptions, access: Access) -> Self {
        Self { address, options, access, pool: OnceCell::new() }
    }

    /// The rows of a query, its placeholders bound to `binds`; an error if there are more than
    /// `most`.
    ///
    /// # Errors
    /// When the database does not answer as it should, in time.
    pub async fn rows(
        &self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.in_time(async {
            let query = AssertSqlSafe(query.to_owned());
            match self.pool().await {
                Pool::Postgres(pool) => {
                    let query =
                        binds.iter().fold(sqlx::query(query), |query, bind| query.bind(*bind));
                    let mut found = query.fetch(pool);
                    let mut rows = Vec::new();
                    while let Some(row) = found.try_next().await? {
                        push(&mut rows, Row::of_postgres(&row)?, most)?;
                    }
                    Ok(rows)
                }
                Pool::MySql(pool) => {
                    let query =
                        binds.iter().fold(sqlx::query(query), |query, bind| query.bind(*bind));
                    let mut found = query.fetch(pool);
                    let mut rows = Vec::new();
                    while let Some(row) = found.try_next().await? {
                        push(&mut rows, Row::of_mysql(&row)?, most)?;
                    }
                    Ok(rows)
                }
                Pool::Sqlite(pool) => {
                    let binds = binds.iter().map(|bind| (*bind).to_owned());
                    let query = binds.fold(sqlx::query(query), sqlx::query::Query::bind);
                    let mut found = query.fetch(pool);
                    let mut rows = Vec::new();
                    while let Some(row) = found.try_next().await? {
                        push(&mut rows, Row::of_sqlite(&row)?, most)?;
                    }
                    Ok(rows)
                }
            }
        })
        .await
    }

    /// Carries out a statement that changes something; answers how many rows it changed.
    ///
    /// # Errors
    /// As `rows`; always where the access is to read.
    pub async fn execute(&self, statement: &str, binds: &[&str]) -> Result<u64, DatabaseError> {
        self.in_time(async {
            let statement = AssertSqlSafe(statement.to_owned());
            let query = sqlx::query;
            Ok(match self.pool().await {
                Pool::Postgres(pool) => {
                    let query =
                        binds.iter().fold(query(statement), |query, bind| query.bind(*bind));
                    query.execute(pool).await?.rows_affected()
                }
                Pool::MySql(pool) => {
                    let query =
                        binds.iter().fold(sqlx::query(statement), |query, bind| query.bind(*bind));
                    query.execute(pool).await?.rows_affected()
                }
                Pool::Sqlite(pool) => {
                    let binds = binds.iter().map(|bind| (*bind).to_owned());
                    let query = binds.fold(sqlx::query(statement), sqlx::query::Query::bind);
                    query.execute(pool).await?.rows_affected()
                }
            })
        })
        .await
    }

    async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let limit = self.options.timeout;
        let answered = tokio::time::timeout(limit, asking).await;
        answered.unwrap_or(Err(DatabaseError::Slow { limit }))
    }

    /// Made by who asks first: making one needs the runtime that asks.
    async fn pool(&self) -> &Pool {
        let make = async || self.address.pool(&self.options, self.access);
        self.pool.get_or_init(make).await
    }
}

fn push(rows: &mut Vec<Row>, row: Row, most: usize) -> Result<(), DatabaseError> {
    if rows.len() >= most {
        return Err(DatabaseError::Rows { most });
    }
    rows.push(row);
    Ok(())
}
