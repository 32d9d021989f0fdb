//! A real PostgreSQL on a free port of loopback, with TLS for who asks for it, and a PgBouncer in
//! front of it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;
use tollhouse_store::shared::{PostgresOptions, SharedOpenError};

use crate::daemon::{Daemon, DaemonUser};

/// The server; ended when dropped, or with the tests where they share it.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    /// The certificate of the server for `localhost`, in PEM form.
    pub(crate) certificate: String,
    folder: PathBuf,
    user: DaemonUser,
    daemon: Option<Daemon>,
}

impl Postgres {
    /// The server that the tests share; each has a schema of its own in it.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(|| async { Self::start() }).await
    }

    /// A server that a test may end.
    pub(crate) fn start() -> Self {
        let user = DaemonUser::new("postgres");
        let folder = user.folder();
        let data = folder.join("data").display().to_string();
        let arguments = ["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"];
        user.run(&program("initdb"), &folder, &arguments);
        // Users with a password prove it; the tests themselves need none.
        let hba =
            "local all all trust\nhost all postgres all trust\nhost all all all scram-sha-256\n";
        std::fs::write(folder.join("data/pg_hba.conf"), hba).unwrap();
        let certificate = make_certificate(&folder);
        user.give_secret(&folder.join("server.key"));
        let port = free_port();
        let mut postgres = Self { port, certificate, folder, user, daemon: None };
        postgres.run();
        postgres
    }

    /// Starts it again after `kill`, on the same port.
    pub(crate) fn run(&mut self) {
        let folder = self.folder.display();
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={folder}"),
            "max_connections=300".to_owned(),
            "fsync=off".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={folder}/server.pem"),
            format!("ssl_key_file={folder}/server.key"),
        ];
        let mut words = self.user.command(&program("postgres"));
        words.extend(["-D".to_owned(), format!("{folder}/data")]);
        words.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        let daemon = Daemon::start(&self.folder, "QUIT", &words);
        wait_for("PostgreSQL", &daemon, &self.folder, || {
            let ready = Command::new(program("pg_isready"))
                .args(["-q", "-h", &folder.to_string(), "-p", &self.port.to_string()])
                .status();
            ready.unwrap().success()
        });
        self.daemon = Some(daemon);
    }

    /// Ends it at once; what it has stored stays.
    pub(crate) fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// For the superuser and a schema that nobody else has.
    pub(crate) fn options(&self) -> PostgresOptions {
        options(&self.url())
    }

    /// A connection of the superuser.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&format!("{}?sslmode=disable", self.url())).await.unwrap()
    }

    /// Runs statements as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&mut self.connect().await, sql).await;
    }

    /// The first column of the first row.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let query = sqlx::query_scalar(AssertSqlSafe(sql));
        query.fetch_one(&mut self.connect().await).await.unwrap()
    }

    /// A user with a password and no right but to connect; answers with their URL.
    pub(crate) async fn make_user(&self, settings: &str) -> String {
        let name = unique("user");
        let mut sql = format!("CREATE ROLE {name} LOGIN PASSWORD 's3cret/@';");
        for setting in settings.split(';').map(str::trim).filter(|setting| !setting.is_empty()) {
            sql += &format!("ALTER ROLE {name} SET {setting};");
        }
        self.execute(&sql).await;
        format!("postgres://{name}:s3cret%2F%40@127.0.0.1:{}/postgres", self.port)
    }
}

/// A PgBouncer in transaction mode.
pub(crate) struct PgBouncer {
    port: u16,
    folder: PathBuf,
    _daemon: Daemon,
}

impl PgBouncer {
    /// The one that the tests share.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<PgBouncer> = OnceCell::const_new();
        let server = Postgres::shared().await;
        SHARED.get_or_init(|| async { Self::start(server, "") }).await
    }

    /// A pooler with further settings.
    pub(crate) fn start(server: &Postgres, settings: &str) -> Self {
        let user = DaemonUser::new("postgres");
        let (folder, port) = (user.folder(), free_port());
        let config = format!(
            "[databases]\npostgres = user=postgres host=127.0.0.1 port={}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 5\n\
             max_client_conn = 500\n{settings}\n",
            server.port
        );
        std::fs::write(folder.join("pgbouncer.ini"), config).unwrap();
        let mut words = user.command(Path::new("/usr/sbin/pgbouncer"));
        words.push(folder.join("pgbouncer.ini").display().to_string());
        // Its versions differ in which of the other signals end it at once.
        let daemon = Daemon::start(&folder, "KILL", &words);
        wait_for("PgBouncer", &daemon, &folder, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, folder, _daemon: daemon }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

/// Settings for `url` and a schema that nobody else has.
pub(crate) fn options(url: &str) -> PostgresOptions {
    let mut options = PostgresOptions::new(url.into());
    options.schema = unique("t");
    // Tests run side by side on few processors.
    options.step_limit = Duration::from_secs(5);
    options
}

pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The statements of a remedy, as an administrator would copy them.
pub(crate) fn remedy(error: &SharedOpenError) -> &str {
    let SharedOpenError::Rights { remedy, .. } = error else { panic!("{error}") };
    remedy
}

fn unique(prefix: &str) -> String {
    format!("{prefix}{}", uuid::Uuid::new_v4().simple())
}

fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.expect("PostgreSQL is installed (tests/run installs postgresql)");
    let found = versions.map(|version| version.unwrap().path().join("bin").join(name));
    found.filter(|path| path.exists()).max().expect("PostgreSQL has its programs")
}

/// A certificate for `localhost` that its own key has signed; its PEM form.
fn make_certificate(folder: &Path) -> String {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "server.key", "-out", "server.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read_to_string(folder.join("server.pem")).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().local_addr().unwrap().port()
}

fn wait_for(what: &str, daemon: &Daemon, folder: &Path, mut is_ready: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_ready() {
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(!daemon.has_ended(), "{what} ended: {}", log());
        assert!(since.elapsed() < Duration::from_secs(60), "{what} is not ready: {}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}
