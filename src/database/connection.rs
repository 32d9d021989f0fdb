//! One open connection to a database of any supported kind.
//!
//! Each question runs in a transaction of its own. Transactions for reading are declared read-only,
//! so that a mistake in the operator's query cannot change data. The server gets a time limit as
//! well, so that it stops working when nobody waits for the answer any more.

use futures_util::TryStreamExt;
use sqlx::database::HasStatementCache;
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, Column, Connection as _, Encode, Executor, IntoArguments, MySqlConnection,
    PgConnection, SqlSafeStr, SqliteConnection, Statement, Type,
};
use tokio::time::Instant;

use super::row::{self, QueryRow};
use super::step_error::StepError;
use super::{AccessMode, DatabaseAddress, DatabaseOptions};

/// An open connection, and how its transactions begin.
pub(super) struct DatabaseConnection {
    open: OpenConnection,
    /// The statement that begins a transaction on this connection.
    begin: String,
    pub(super) made: Instant,
}

enum OpenConnection {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// Evaluates `$work` with the open connection inside, whatever its kind.
macro_rules! any {
    ($connection:expr, $open:ident => $work:expr) => {
        match &mut $connection.open {
            OpenConnection::Postgres($open) => $work,
            OpenConnection::MySql($open) => $work,
            OpenConnection::Sqlite($open) => $work,
        }
    };
}

impl DatabaseConnection {
    pub(super) async fn open(
        address: &DatabaseAddress,
        options: &DatabaseOptions,
        access: AccessMode,
    ) -> Result<Self, StepError> {
        let mode = if access == AccessMode::Read { "READ ONLY" } else { "READ WRITE" };
        let millis = options.timeout.as_millis();
        let (open, begin) = match address.secured(options) {
            DatabaseAddress::Postgres(to) => {
                let open = PgConnection::connect_with(&to).await.map_err(StepError::connect)?;
                // The same limit as ours is set at the server. Otherwise a slow query would go on
                // there after the gateway has given up, and repeated logins would pile such queries
                // up.
                let begin = format!("BEGIN {mode}; SET LOCAL statement_timeout = {millis}");
                (OpenConnection::Postgres(Box::new(open)), begin)
            }
            DatabaseAddress::MySql(to) => {
                let open = MySqlConnection::connect_with(&to).await.map_err(StepError::connect)?;
                (OpenConnection::MySql(Box::new(open)), format!("START TRANSACTION {mode}"))
            }
            DatabaseAddress::Sqlite(to) => {
                let to = to.read_only(access == AccessMode::Read);
                let open = SqliteConnection::connect_with(&to).await.map_err(StepError::connect)?;
                (OpenConnection::Sqlite(Box::new(open)), "BEGIN".to_owned())
            }
        };
        let mut opened = Self { open, begin, made: Instant::now() };
        if matches!(opened.open, OpenConnection::MySql(_)) {
            // The same limit for MySQL and MariaDB. They have different names for it, and each of
            // them reads only its own kind of comment.
            let seconds = options.timeout.as_secs_f64();
            let limit = format!(
                "SET @tollhouse = 1 /*M! , max_statement_time = {seconds} */ \
                 /*!50708 , max_execution_time = {millis} */"
            );
            opened.run(limit).await?;
        }
        Ok(opened)
    }

    /// Reads the rows of a query, at most one more than `most`: that one shows that there are too
    /// many.
    pub(super) async fn rows(
        &mut self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<QueryRow>, StepError> {
        let mut rows = self.try_rows(query, binds, most).await?;
        // See `is_forgotten`: PostgreSQL may lose the prepared statement once. The failed
        // transaction is rolled back, and the query is repeated in a new one; it only reads, so
        // repeating it is safe.
        if rows.as_ref().is_err_and(is_forgotten) {
            self.run("ROLLBACK".to_owned()).await?;
            rows = self.try_rows(query, binds, most).await?;
        }
        let rows = rows.map_err(StepError::query)?;
        // With too many rows the answer was not read to its end. The connection is then not used
        // again (see `Database::keep`), so it needs no rollback.
        if rows.len() <= most {
            self.run("ROLLBACK".to_owned()).await?;
        }
        Ok(rows)
    }

    /// Begins a transaction and runs the query in it. The outer error is about the transaction, the
    /// inner one about the query.
    async fn try_rows(
        &mut self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Result<Vec<QueryRow>, sqlx::Error>, StepError> {
        self.run(self.begin.clone()).await?;
        Ok(match &mut self.open {
            OpenConnection::Postgres(open) => {
                read(&mut **open, bound(query, binds), most, row::postgres).await
            }
            OpenConnection::MySql(open) => {
                read(&mut **open, bound(query, binds), most, row::mysql).await
            }
            OpenConnection::Sqlite(open) => {
                read(&mut **open, bound(query, binds), most, row::sqlite).await
            }
        })
    }

    /// Runs a statement and returns how many rows it changed. If that is not exactly one, the
    /// change is rolled back.
    pub(super) async fn change(
        &mut self,
        statement: &str,
        binds: &[&str],
    ) -> Result<u64, StepError> {
        self.run(self.begin.clone()).await?;
        let changed = any!(self, open => {
            let done = bound(statement, binds).execute(&mut **open).await;
            done.map(|done| done.rows_affected()).map_err(StepError::query)?
        });
        let end = if changed == 1 { "COMMIT" } else { "ROLLBACK" };
        self.run(end.to_owned()).await?;
        Ok(changed)
    }

    /// The names of the columns that a query would have. The query is prepared and not run.
    pub(super) async fn columns(&mut self, query: &str) -> Result<Vec<String>, StepError> {
        self.run(self.begin.clone()).await?;
        let query = AssertSqlSafe(query).into_sql_str();
        let columns = any!(self, open => {
            let prepared = open.prepare(query).await.map_err(StepError::query)?;
            prepared.columns().iter().map(|column| column.name().to_owned()).collect()
        });
        // PostgreSQL prepares this statement under a name. A connection pooler would keep the name
        // for the next client, so all names are removed.
        let is_postgres = matches!(self.open, OpenConnection::Postgres(_));
        let end = if is_postgres { "DEALLOCATE ALL; ROLLBACK" } else { "ROLLBACK" };
        self.run(end.to_owned()).await?;
        Ok(columns)
    }

    /// Runs a statement of the gateway's own, without parameters.
    async fn run(&mut self, statement: String) -> Result<(), StepError> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        any!(self, open => statement.execute(&mut **open).await.map(drop).map_err(StepError::query))
    }
}

/// The operator's statement with values bound to its placeholders. Values are never part of the SQL
/// text: that prevents SQL injection.
///
/// Nothing stays prepared at the server, because a pooler between the gateway and the database may
/// give the next transaction to another server.
fn bound<DB>(text: &str, binds: &[&str]) -> Query<'static, DB, DB::Arguments>
where
    DB: sqlx::Database + HasStatementCache,
    DB::Arguments: IntoArguments<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    let query = sqlx::query(AssertSqlSafe(text)).persistent(false);
    binds.iter().fold(query, |query, bind| query.bind((*bind).to_owned()))
}

/// True if PostgreSQL lost the prepared statement before it was run (SQLSTATE 26000).
///
/// It happens when the query has a column type that sqlx does not know yet, for example an
/// enumeration or `citext`: sqlx asks for the type with another unnamed statement, which replaces
/// the first one. The second attempt succeeds, because the type is known then.
fn is_forgotten(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "26000")
}

async fn read<'c, DB, E>(
    open: E,
    query: Query<'static, DB, DB::Arguments>,
    most: usize,
    row: fn(&DB::Row) -> QueryRow,
) -> Result<Vec<QueryRow>, sqlx::Error>
where
    DB: sqlx::Database,
    DB::Arguments: IntoArguments<DB>,
    E: Executor<'c, Database = DB>,
{
    let mut found = open.fetch(query);
    let mut rows = Vec::new();
    // Reading stops after one row more than allowed: a query without a condition must not be read
    // into memory as a whole.
    while rows.len() <= most
        && let Some(next) = found.try_next().await?
    {
        rows.push(row(&next));
    }
    Ok(rows)
}
