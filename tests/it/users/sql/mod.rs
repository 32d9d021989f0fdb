//! Users in PostgreSQL, MariaDB and SQLite: what the contract of sources does not say.

mod database;
mod gateway;
mod numbered;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tollhouse::secret::SecretString;
use tollhouse::settings::{AllowWeak, SqlColumns, SqlDatabase, SqlUsers};

use crate::harness::{MariaDb, Postgres, Relay, mariadb, postgres};
use crate::users::contract::{Account, quick_hash};

/// A kind of database with users in it. Each keeps roles, ids and flags in another way.
pub(crate) trait Engine: Sized {
    /// The operator's query, where `?` is a placeholder and `column` the one that is asked for.
    fn query(column: &str) -> String;

    /// The operator's statement that replaces a hash.
    const UPDATE: &str;

    /// The statement that makes the table.
    const TABLE: &str;

    async fn with(accounts: &[Account]) -> Self;

    fn url(&self) -> String;

    /// Runs statements as the owner of the tables.
    async fn execute(&self, sql: &str);

    fn insert(account: &Account) -> String;

    /// Makes it unreachable.
    async fn stop(&mut self);

    async fn bring_back(&mut self);

    async fn replace(&self, accounts: &[Account]) {
        let inserts: String = accounts.iter().map(Self::insert).collect();
        self.execute(&format!("delete from users; {inserts}")).await;
    }

    /// What the operator writes in the configuration.
    fn settings(&self) -> SqlUsers {
        SqlUsers {
            database: SqlDatabase {
                url: SecretString::new(self.url()),
                folder: PathBuf::new(),
                ca: None,
                allow_plain: false,
                timeout: Duration::from_secs(5),
                parallel: 8,
            },
            query: Self::query("name"),
            email_query: Some(Self::query("email")),
            update: None,
            columns: SqlColumns::default(),
            allow_weak: AllowWeak::default(),
            import: false,
        }
    }
}

pub(crate) struct OnPostgres {
    database: String,
    relay: Relay,
}

impl Engine for OnPostgres {
    const UPDATE: &str = "update users set password = $1 where name = $2 and password = $3";

    const TABLE: &str = "create table users (id uuid, name text, email varchar(100), password text, \
         roles text[], disabled boolean, tenant jsonb, since timestamptz default now())";

    fn query(column: &str) -> String {
        format!("select * from users where lower({column}) = lower($1)")
    }

    async fn with(accounts: &[Account]) -> Self {
        let postgres = Postgres::shared().await;
        let inserts: String = accounts.iter().map(Self::insert).collect();
        let database = postgres.database(&format!("{}; {inserts}", Self::TABLE)).await;
        Self { database, relay: Relay::to(postgres.port).await }
    }

    fn url(&self) -> String {
        postgres::url(self.relay.port, &self.database)
    }

    async fn execute(&self, sql: &str) {
        Postgres::shared().await.execute(&self.database, sql).await;
    }

    fn insert(account: &Account) -> String {
        let Account { name, email, roles, disabled, .. } = account;
        let (hash, roles) = (quick_hash(account.password), roles.join(","));
        format!(
            "insert into users values (md5('{name}')::uuid, '{name}', '{email}', '{hash}', \
             '{{{roles}}}', {disabled});"
        )
    }

    async fn stop(&mut self) {
        self.relay.cut().await;
    }

    async fn bring_back(&mut self) {
        self.relay.mend().await;
    }
}

pub(crate) struct OnMariaDb {
    database: String,
    relay: Relay,
}

impl Engine for OnMariaDb {
    const UPDATE: &str = "update users set password = ? where name = ? and password = ?";

    const TABLE: &str = "create table users (id bigint unsigned, name varchar(100), email varchar(100), \
         password varchar(200) collate utf8mb4_bin, roles json, disabled tinyint(1), \
         tenant varchar(20), since datetime default now())";

    fn query(column: &str) -> String {
        format!("select * from users where {column} = ?")
    }

    async fn with(accounts: &[Account]) -> Self {
        let mariadb = MariaDb::shared().await;
        let inserts: String = accounts.iter().map(Self::insert).collect();
        let database = mariadb.database(&format!("{}; {inserts}", Self::TABLE)).await;
        Self { database, relay: Relay::to(mariadb.port).await }
    }

    fn url(&self) -> String {
        mariadb::url(self.relay.port, &self.database)
    }

    async fn execute(&self, sql: &str) {
        MariaDb::shared().await.execute(&self.database, sql).await;
    }

    fn insert(account: &Account) -> String {
        let Account { name, email, roles, disabled, .. } = account;
        let hash = quick_hash(account.password);
        format!(
            "insert into users (id, name, email, password, roles, disabled) values \
             (crc32('{name}'), '{name}', '{email}', '{hash}', '{roles:?}', {disabled});"
        )
    }

    async fn stop(&mut self) {
        self.relay.cut().await;
    }

    async fn bring_back(&mut self) {
        self.relay.mend().await;
    }
}

pub(crate) struct OnSqlite {
    folder: tempfile::TempDir,
    stopped: Vec<u8>,
}

impl OnSqlite {
    fn path(&self) -> PathBuf {
        self.folder.path().join("users.db")
    }
}

impl Engine for OnSqlite {
    const UPDATE: &str = "update users set password = $1 where name = $2 and password = $3";

    const TABLE: &str = "create table users (name text collate nocase, email text collate nocase, \
         password text, roles text, disabled integer, tenant text, picture blob)";

    fn query(column: &str) -> String {
        format!("select * from users where {column} = $1")
    }

    async fn with(accounts: &[Account]) -> Self {
        let sqlite = Self { folder: tempfile::tempdir().unwrap(), stopped: Vec::new() };
        let inserts: String = accounts.iter().map(Self::insert).collect();
        sqlite.execute(&format!("{}; {inserts}", Self::TABLE)).await;
        sqlite
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    async fn execute(&self, sql: &str) {
        let options = SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.unwrap();
    }

    fn insert(account: &Account) -> String {
        let Account { name, email, roles, disabled, .. } = account;
        let (hash, roles) = (quick_hash(account.password), roles.join(", "));
        format!(
            "insert into users values \
             ('{name}', '{email}', '{hash}', '{roles}', {disabled}, null, x'ff00');"
        )
    }

    /// A file that is gone would still be open.
    async fn stop(&mut self) {
        self.stopped = std::fs::read(self.path()).unwrap();
        std::fs::write(self.path(), "This is no database. ".repeat(1000)).unwrap();
    }

    async fn bring_back(&mut self) {
        std::fs::write(self.path(), &self.stopped).unwrap();
    }
}
