//! A real MariaDB on a free port of loopback, with TLS for who asks for it.

use std::path::{Path, PathBuf};

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::OnceCell;

use super::certs::Certificate;
use super::daemon::{Daemon, DaemonUser};
use super::process::{free_port, until};

/// The server; ended when dropped, or with the tests where they share it.
pub struct MariaDb {
    pub port: u16,
    /// Its certificate, for `localhost`.
    pub certificate: Certificate,
    folder: PathBuf,
    user: DaemonUser,
    daemon: Option<Daemon>,
}

impl MariaDb {
    /// The one that tests share; each has a database of its own in it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<MariaDb> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One that a test may end.
    pub async fn start() -> Self {
        let user = DaemonUser::new("mysql");
        let folder = user.folder();
        let certificate = Certificate::make(&folder, "server", &["localhost"]);
        user.give_secret(&certificate.key);
        let data = format!("--datadir={}/data", folder.display());
        let arguments = [
            "--no-defaults",
            &data,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ];
        user.run(Path::new("/usr/bin/mariadb-install-db"), &folder, &arguments);
        let mut mariadb = Self { port: free_port(), certificate, folder, user, daemon: None };
        mariadb.run();
        let users = "create user gateway@'127.0.0.1' identified by 's3cret/@'; \
                     create user gateway@localhost identified by 's3cret/@'";
        mariadb.execute("mysql", users).await;
        mariadb
    }

    /// Starts it again after `kill`, on the same port.
    pub fn run(&mut self) {
        let mut words = self.user.command(Path::new("/usr/sbin/mariadbd"));
        let folder = self.folder.display();
        words.extend([
            "--no-defaults".to_owned(),
            format!("--datadir={folder}/data"),
            format!("--socket={folder}/socket"),
            format!("--pid-file={folder}/pid"),
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            // What was committed outlives the process, if not the machine.
            "--innodb-flush-log-at-trx-commit=2".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
            format!("--ssl-cert={}", self.certificate.chain.display()),
            format!("--ssl-key={}", self.certificate.key.display()),
        ]);
        let daemon = Daemon::start(&self.folder, "KILL", &words);
        until("MariaDB is ready", || {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(!daemon.has_ended(), "MariaDB ended: {log}");
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            std::os::unix::net::UnixStream::connect(self.folder.join("socket")).ok()
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
        let make = format!(
            "create database {name} character set utf8mb4; \
             grant all on {name}.* to gateway@'127.0.0.1'; grant all on {name}.* to gateway@localhost"
        );
        self.execute("mysql", &make).await;
        self.execute(&name, sql).await;
        name
    }

    /// Runs statements as root.
    pub async fn execute(&self, database: &str, sql: &str) {
        let options = MySqlConnectOptions::new()
            .socket(self.folder.join("socket"))
            .username("root")
            .database(database)
            .ssl_mode(MySqlSslMode::Disabled);
        let mut connection = options.connect().await.unwrap();
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
    format!("mysql://gateway:s3cret%2F%40@127.0.0.1:{port}/{database}")
}
