//! A real PostgreSQL on a free port of loopback, with TLS for who asks for it.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use super::certs::Certificate;
use super::daemon::{Daemon, DaemonUser};
use super::process::{free_port, until};

/// The server; ended when dropped, or with the tests where they share it.
pub struct Postgres {
    pub port: u16,
    /// Its certificate, for `localhost`.
    pub certificate: Certificate,
    folder: PathBuf,
    /// A setting beside those that every server of the tests has.
    setting: &'static str,
    user: DaemonUser,
    daemon: Option<Daemon>,
}

/// What the gateway calls itself, with a password that a URL cannot hold as it is.
const LOGIN: &str = "gateway:s3cret%2F%40@";
const PASSWORD: &str = "s3cret/@";

impl Postgres {
    /// The one that tests share; each has a database of its own in it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One that a test may end.
    pub async fn start() -> Self {
        Self::start_with("fsync=off").await
    }

    /// The same with a setting, for example `fsync=on`: the others lose what they have at a crash of
    /// the machine.
    pub async fn start_with(setting: &'static str) -> Self {
        let user = DaemonUser::new("postgres");
        let folder = user.folder();
        let certificate = Certificate::make(&folder, "server", &["localhost"]);
        user.give_secret(&certificate.key);
        let data = folder.join("data").display().to_string();
        let arguments = ["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"];
        user.run(&program("initdb"), &folder, &arguments);
        // The gateway proves itself as it would anywhere; the tests themselves do not.
        let hba =
            "local all all trust\nhost all postgres all trust\nhost all all all scram-sha-256\n";
        std::fs::write(folder.join("data/pg_hba.conf"), hba).unwrap();
        let port = free_port();
        let mut postgres = Self { port, certificate, folder, setting, user, daemon: None };
        postgres.run();
        let role = format!("create role gateway login password '{PASSWORD}'");
        postgres.execute("postgres", &role).await;
        postgres
    }

    /// Starts it again after `kill`, on the same port.
    pub fn run(&mut self) {
        let mut words = self.user.command(&program("postgres"));
        let folder = self.folder.display();
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={folder}"),
            "max_connections=200".to_owned(),
            self.setting.to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", self.certificate.chain.display()),
            format!("ssl_key_file={}", self.certificate.key.display()),
        ];
        words.extend(["-D".to_owned(), format!("{folder}/data")]);
        words.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        let daemon = Daemon::start(&self.folder, "QUIT", &words);
        let log = self.folder.join("log");
        until("PostgreSQL is ready", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!daemon.has_ended(), "PostgreSQL ended: {log}");
            is_ready(&self.folder, self.port).then_some(())
        });
        self.daemon = Some(daemon);
    }

    /// Ends it at once; what it has stored stays.
    pub fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    /// A new database with what `sql` makes in it, which the gateway may read and change.
    pub async fn database(&self, sql: &str) -> String {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        self.execute("postgres", &format!("create database {name}")).await;
        let grant = "grant all on all tables in schema public to gateway";
        self.execute(&name, &format!("{sql}; {grant}")).await;
        name
    }

    /// Runs statements as the superuser.
    pub async fn execute(&self, database: &str, sql: &str) {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port);
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.unwrap();
    }

    /// A database's URL for the gateway.
    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }
}

/// The same by another port.
pub fn url(port: u16, database: &str) -> String {
    format!("postgres://{LOGIN}127.0.0.1:{port}/{database}")
}

fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.expect("PostgreSQL is installed (tests/run installs postgresql)");
    let found = versions.map(|version| version.unwrap().path().join("bin").join(name));
    found.filter(|path| path.exists()).max().expect("PostgreSQL has its programs")
}

fn is_ready(folder: &Path, port: u16) -> bool {
    let status = std::process::Command::new(program("pg_isready"))
        .args(["-q", "-h", &folder.display().to_string(), "-p", &port.to_string()])
        .status();
    status.unwrap().success()
}
