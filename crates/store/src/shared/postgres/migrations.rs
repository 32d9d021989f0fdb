//! The tables, and how they come about.
//!
//! `schema_version` has one row with the number of the last migration that was carried out. Each
//! migration runs in a transaction that has locked this row, so that of several nodes that start at
//! once one migrates and the others find it done. Migrations only go forward. Their statements can
//! be repeated, because YugabyteDB does not undo them with a transaction that fails.

use std::time::Duration;

use super::fault::StepFault;
use super::pool::{ConnectionPool, PoolConnection, column, last};
use crate::shared::{RecordKind, SharedOpenError};

/// The version of the tables that this program works with.
pub(super) const VERSION: i64 = 1;

/// How long a migration may take, waiting for another node's included.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);

/// How often the first objects are tried to be made, while other nodes try the same.
const MOST_TRIES: u32 = 20;

/// The codes with which PostgreSQL reports that somebody else has made the same thing at the same
/// moment: `IF NOT EXISTS` does not help then.
const MADE_AT_ONCE: [&str; 7] = ["23505", "42P06", "42P07", "42710", "XX000", "40001", "40P01"];

/// A table or a schema is missing.
const MISSING: [&str; 2] = ["42P01", "3F000"];

/// The schema of a database, and its owner, by name.
#[derive(Clone, Debug)]
pub(super) struct SchemaPlace {
    pub(super) at: String,
    /// Both without quotes.
    pub(super) schema: String,
    pub(super) user: String,
}

impl SchemaPlace {
    fn quoted(&self) -> String {
        format!("\"{}\"", self.schema)
    }

    /// The statement with which an administrator lets this user make the tables.
    pub(super) fn remedy_to_create(&self) -> String {
        format!("CREATE SCHEMA {} AUTHORIZATION {};", self.quoted(), quoted(&self.user))
    }

    /// The statements with which an administrator lets this user use tables that are there.
    pub(super) fn remedy_to_use(&self) -> String {
        let schema = self.quoted();
        let user = quoted(&self.user);
        format!(
            "GRANT USAGE ON SCHEMA {schema} TO {user}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}; \
             GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {user};"
        )
    }

    pub(super) fn newer(&self, found: i64) -> SharedOpenError {
        SharedOpenError::Newer { at: self.at.clone(), found, known: VERSION }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Brings the tables to `VERSION`.
///
/// # Errors
///
/// If they have a later version, if the user lacks a right, or if the server does not answer.
pub(super) async fn migrate(
    pool: &ConnectionPool,
    place: &SchemaPlace,
) -> Result<(), SharedOpenError> {
    // Where the tables are there already, the user needs no right to make any.
    let found = match version(pool, place).await {
        Ok(found) => found,
        Err(fault) => return Err(fault.into_open_error(&place.at, &place.remedy_to_use())),
    };
    match found {
        Some(found) if found > VERSION => return Err(place.newer(found)),
        Some(VERSION) => {}
        _ => {
            let work = make_tables(pool, place);
            let made = tokio::time::timeout(MIGRATION_LIMIT, work).await;
            made.unwrap_or_else(|_| {
                let cause = format!("the tables could not be made within {MIGRATION_LIMIT:?}");
                Err(SharedOpenError::Unreachable { at: place.at.clone(), cause })
            })?;
        }
    }
    let missing = missing_rights(pool, place).await;
    let missing = missing.map_err(|fault| fault.into_open_error(&place.at, ""))?;
    if missing.is_empty() {
        return Ok(());
    }
    let cause = format!("the user has not all rights to {}", missing.join(", "));
    Err(SharedOpenError::Rights { at: place.at.clone(), cause, remedy: place.remedy_to_use() })
}

/// The version that the tables have; `None` if there are none.
pub(super) async fn version(
    pool: &ConnectionPool,
    place: &SchemaPlace,
) -> Result<Option<i64>, StepFault> {
    let script = format!("SELECT version FROM {}.schema_version", place.quoted());
    match pool.try_run(&script).await {
        Ok(answers) => {
            let row = last(answers).rows;
            let version = row.first().map(|row| column(row, 0)).transpose();
            version.map_err(|error| StepFault::of(error.0))
        }
        Err(fault) if fault.has_code(&MISSING) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The names of the tables to which the user lacks a right.
pub(super) async fn missing_rights(
    pool: &ConnectionPool,
    place: &SchemaPlace,
) -> Result<Vec<String>, StepFault> {
    let schema = place.quoted();
    let tables = RecordKind::ALL.iter().map(|kind| kind.name()).chain(["members", "revocations"]);
    let rights = tables.map(|table| {
        let each = ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .map(|right| format!("has_table_privilege('{schema}.{table}', '{right}')"));
        format!("SELECT '{table}' AS name, {} AS may", each.join(" AND "))
    });
    let sequence = format!(
        "SELECT 'revocations_seq' AS name, \
         has_table_privilege('{schema}.revocations_seq', 'SELECT') AS may"
    );
    let all: Vec<String> = rights.chain([sequence]).collect();
    let script = format!("SELECT name FROM ({}) AS rights WHERE NOT may", all.join(" UNION ALL "));
    let rows = last(pool.try_run(&script).await?).rows;
    let names = rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>();
    names.map_err(|error| StepFault::of(error.0))
}

async fn make_tables(pool: &ConnectionPool, place: &SchemaPlace) -> Result<(), SharedOpenError> {
    let fault = |fault: StepFault| fault.into_open_error(&place.at, &place.remedy_to_create());
    let mut tries = 0;
    while let Err(error) = make_version_table(pool, place).await {
        tries += 1;
        if !error.has_code(&MADE_AT_ONCE) || tries == MOST_TRIES {
            return Err(fault(error));
        }
        let [random] = tollhouse_core::secret::random::<1>();
        tokio::time::sleep(Duration::from_millis(u64::from(random))).await;
    }
    // Dropping the connection undoes the transaction.
    let mut connection = pool.connect().await.map_err(fault)?;
    tries = 0;
    loop {
        match run_migrations(&mut connection, place).await {
            Ok(found) if found > VERSION => return Err(place.newer(found)),
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() && tries < MOST_TRIES => tries += 1,
            Err(error) => return Err(fault(error)),
        }
        connection.run("ROLLBACK").await.map_err(fault)?;
    }
}

/// Makes the schema and the table with the version, if they are missing.
async fn make_version_table(pool: &ConnectionPool, place: &SchemaPlace) -> Result<(), StepFault> {
    let schema = place.quoted();
    let find = format!("SELECT 1 FROM pg_namespace WHERE nspname = '{}'", place.schema);
    // `CREATE SCHEMA IF NOT EXISTS` needs the right to make one even if there is one.
    if last(pool.try_run(&find).await?).rows.is_empty() {
        pool.try_run(&format!("CREATE SCHEMA {schema}")).await?;
    }
    pool.try_run(&format!(
        "CREATE TABLE IF NOT EXISTS {schema}.schema_version \
         (one integer PRIMARY KEY CHECK (one = 1), version bigint NOT NULL); \
         INSERT INTO {schema}.schema_version (one, version) VALUES (1, 0) \
         ON CONFLICT (one) DO NOTHING"
    ))
    .await?;
    Ok(())
}

/// Carries out what is missing, and answers with the version that was found or reached.
async fn run_migrations(
    connection: &mut PoolConnection,
    place: &SchemaPlace,
) -> Result<i64, StepFault> {
    let schema = place.quoted();
    let millis = MIGRATION_LIMIT.as_millis();
    let lock = format!(
        "BEGIN; SET LOCAL statement_timeout = {millis}; \
         SELECT version FROM {schema}.schema_version WHERE one = 1 FOR UPDATE"
    );
    let rows = last(connection.run(&lock).await?).rows;
    let found = rows.first().map(|row| column::<i64>(row, 0));
    let found = found.unwrap_or(Ok(0)).map_err(|error| StepFault::of(error.0))?;
    if found >= VERSION {
        connection.run("ROLLBACK").await?;
        return Ok(found);
    }
    if found < 1 {
        connection.run(&first_tables(&schema)).await?;
    }
    let done = format!("UPDATE {schema}.schema_version SET version = {VERSION} WHERE one = 1");
    connection.run(&format!("{done}; COMMIT")).await?;
    Ok(VERSION)
}

/// Version 1.
fn first_tables(schema: &str) -> String {
    let mut script = String::new();
    // Rows that are written again and again find room for their next version in the same page.
    let room = "WITH (fillfactor = 80)";
    for table in RecordKind::ALL.map(RecordKind::name) {
        script += &format!(
            "CREATE TABLE IF NOT EXISTS {schema}.{table} (id bytea PRIMARY KEY, \
             version bigint NOT NULL, value bytea NOT NULL, ends timestamptz) {room}; \
             CREATE INDEX IF NOT EXISTS {table}_ends ON {schema}.{table} (ends); "
        );
    }
    script += &format!(
        "CREATE TABLE IF NOT EXISTS {schema}.members (grp bytea NOT NULL, member bytea NOT NULL, \
         ends timestamptz, PRIMARY KEY (grp, member)); \
         CREATE INDEX IF NOT EXISTS members_ends ON {schema}.members (ends); \
         CREATE SEQUENCE IF NOT EXISTS {schema}.revocations_seq; \
         CREATE TABLE IF NOT EXISTS {schema}.revocations (id bytea PRIMARY KEY, \
         seq bigint NOT NULL, value bytea NOT NULL, ends timestamptz); \
         CREATE INDEX IF NOT EXISTS revocations_seq_index ON {schema}.revocations (seq); \
         CREATE INDEX IF NOT EXISTS revocations_ends ON {schema}.revocations (ends)"
    );
    script
}
