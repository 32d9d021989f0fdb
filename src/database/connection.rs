//! One connection, whatever it speaks.

use futures_util::TryStreamExt;
use sqlx::database::HasStatementCache;
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, Column, Connection as _, Encode, Executor, IntoArguments, MySqlConnection,
    PgConnection, SqlSafeStr, SqliteConnection, Statement, Type,
};
use tokio::time::Instant;

use super::fault::Fault;
use super::row::{self, Row};
use super::{Access, Address, DatabaseOptions};

/// An open connection.
pub(super) struct Connection {
    open: Open,
    /// How its transactions begin.
    begin: String,
    pub(super) made: Instant,
}

enum Open {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
    Sqlite(Box<SqliteConnection>),
}

/// `$work` with the open connection inside, whatever its kind.
macro_rules! any {
    ($connection:expr, $open:ident => $work:expr) => {
        match &mut $connection.open {
            Open::Postgres($open) => $work,
            Open::MySql($open) => $work,
            Open::Sqlite($open) => $work,
        }
    };
}

impl Connection {
    pub(super) async fn open(
        address: &Address,
        options: &DatabaseOptions,
        access: Access,
    ) -> Result<Self, Fault> {
        let mode = if access == Access::Read { "READ ONLY" } else { "READ WRITE" };
        let millis = options.timeout.as_millis();
        let (open, begin) = match address.secured(options) {
            Address::Postgres(to) => {
                let open = PgConnection::connect_with(&to).await.map_err(Fault::connect)?;
                // The server gives up when we do.
                let begin = format!("BEGIN {mode}; SET LOCAL statement_timeout = {millis}");
                (Open::Postgres(Box::new(open)), begin)
            }
            Address::MySql(to) => {
                let open = MySqlConnection::connect_with(&to).await.map_err(Fault::connect)?;
                (Open::MySql(Box::new(open)), format!("START TRANSACTION {mode}"))
            }
            Address::Sqlite(to) => {
                let to = to.read_only(access == Access::Read);
                let open = SqliteConnection::connect_with(&to).await.map_err(Fault::connect)?;
                (Open::Sqlite(Box::new(open)), "BEGIN".to_owned())
            }
        };
        let mut opened = Self { open, begin, made: Instant::now() };
        if matches!(opened.open, Open::MySql(_)) {
            // As above; MariaDB and MySQL name it differently, and each reads its own comment.
            let seconds = options.timeout.as_secs_f64();
            let limit = format!(
                "SET @tollhouse = 1 /*M! , max_statement_time = {seconds} */ \
                 /*!50708 , max_execution_time = {millis} */"
            );
            opened.run(limit).await?;
        }
        Ok(opened)
    }

    /// One more row than `most` is read, so that too many can be told from as many.
    pub(super) async fn rows(
        &mut self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Vec<Row>, Fault> {
        let mut rows = self.try_rows(query, binds, most).await?;
        if rows.as_ref().is_err_and(is_forgotten) {
            self.run("ROLLBACK".to_owned()).await?;
            rows = self.try_rows(query, binds, most).await?;
        }
        let rows = rows.map_err(Fault::query)?;
        if rows.len() <= most {
            self.run("ROLLBACK".to_owned()).await?;
        }
        Ok(rows)
    }

    /// Begins a transaction and reads in it.
    async fn try_rows(
        &mut self,
        query: &str,
        binds: &[&str],
        most: usize,
    ) -> Result<Result<Vec<Row>, sqlx::Error>, Fault> {
        self.run(self.begin.clone()).await?;
        Ok(match &mut self.open {
            Open::Postgres(open) => {
                read(&mut **open, bound(query, binds), most, row::postgres).await
            }
            Open::MySql(open) => read(&mut **open, bound(query, binds), most, row::mysql).await,
            Open::Sqlite(open) => read(&mut **open, bound(query, binds), most, row::sqlite).await,
        })
    }

    /// How many rows a statement changed; unless it is one, that is taken back.
    pub(super) async fn change(&mut self, statement: &str, binds: &[&str]) -> Result<u64, Fault> {
        self.run(self.begin.clone()).await?;
        let changed = any!(self, open => {
            let done = bound(statement, binds).execute(&mut **open).await;
            done.map(|done| done.rows_affected()).map_err(Fault::query)?
        });
        let end = if changed == 1 { "COMMIT" } else { "ROLLBACK" };
        self.run(end.to_owned()).await?;
        Ok(changed)
    }

    /// The names of the columns that a query would give.
    pub(super) async fn columns(&mut self, query: &str) -> Result<Vec<String>, Fault> {
        self.run(self.begin.clone()).await?;
        let query = AssertSqlSafe(query).into_sql_str();
        let columns = any!(self, open => {
            let prepared = open.prepare(query).await.map_err(Fault::query)?;
            prepared.columns().iter().map(|column| column.name().to_owned()).collect()
        });
        // Here it is prepared by a name, which a pooler would keep for the next client.
        let is_postgres = matches!(self.open, Open::Postgres(_));
        let end = if is_postgres { "DEALLOCATE ALL; ROLLBACK" } else { "ROLLBACK" };
        self.run(end.to_owned()).await?;
        Ok(columns)
    }

    /// Runs a statement of our own.
    async fn run(&mut self, statement: String) -> Result<(), Fault> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        any!(self, open => statement.execute(&mut **open).await.map(drop).map_err(Fault::query))
    }
}

/// The operator's statement with a client's words bound to it. Nothing is kept prepared at the
/// server: a pooler between us and it may give the next transaction another server.
fn bound<DB>(text: &str, binds: &[&str]) -> Query<'static, DB, DB::Arguments>
where
    DB: sqlx::Database + HasStatementCache,
    DB::Arguments: IntoArguments<DB>,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    let query = sqlx::query(AssertSqlSafe(text)).persistent(false);
    binds.iter().fold(query, |query, bind| query.bind((*bind).to_owned()))
}

/// True if PostgreSQL has forgotten the statement before it was run: sqlx asks for the types of
/// columns that it does not know (enumerations, `citext`) with a statement that takes its place.
/// The second time it knows them.
fn is_forgotten(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "26000")
}

async fn read<'c, DB, E>(
    open: E,
    query: Query<'static, DB, DB::Arguments>,
    most: usize,
    row: fn(&DB::Row) -> Row,
) -> Result<Vec<Row>, sqlx::Error>
where
    DB: sqlx::Database,
    DB::Arguments: IntoArguments<DB>,
    E: Executor<'c, Database = DB>,
{
    let mut found = open.fetch(query);
    let mut rows = Vec::new();
    while rows.len() <= most
        && let Some(next) = found.try_next().await?
    {
        rows.push(row(&next));
    }
    Ok(rows)
}
