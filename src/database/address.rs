//! Where a database is and how it is spoken to: TLS that verifies the server, unless it cannot be
//! listened to on the way.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;

use super::{DatabaseError, DatabaseOptions};

/// Whether TLS is spoken, where the operator says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseTls {
    /// With the server's certificate verified.
    Required,
    /// Passwords' hashes cross the network in the clear.
    None,
}

/// A database's address with everything that a connection needs.
pub(super) struct Address {
    pub(super) kind: Kind,
    /// The longest a statement may run at the server, which does not notice that we are gone.
    pub(super) limit: std::time::Duration,
}

pub(super) enum Kind {
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

impl Address {
    pub(super) fn parse(url: &str, options: &DatabaseOptions) -> Result<Self, DatabaseError> {
        let bad = |cause: &str| DatabaseError::Url { cause: cause.to_owned() };
        let (scheme, rest) = url.split_once(':').ok_or_else(|| {
            bad("it has no scheme; there are postgres://, mysql://, mariadb:// and sqlite:")
        })?;
        let kind = match scheme {
            "sqlite" => sqlite(rest.strip_prefix("//").unwrap_or(rest), options)?,
            "postgres" | "postgresql" | "mysql" | "mariadb" => {
                refuse_parameters(rest)?;
                // Their own words may repeat a part of the URL, and so of its password.
                let unreadable =
                    |_| bad("it cannot be read; special characters in it are percent-encoded");
                if scheme.starts_with("postgres") {
                    postgres(PgConnectOptions::from_str(url).map_err(unreadable)?, options)
                } else {
                    mysql(MySqlConnectOptions::from_str(url).map_err(unreadable)?, options)
                }
            }
            _ => return Err(bad("there are postgres://, mysql://, mariadb:// and sqlite:")),
        };
        let address = Self { kind, limit: options.timeout };
        if options.tls == Some(DatabaseTls::None) && !address.is_local() {
            tracing::warn!(at = %address.shown(), "is asked in the clear: whoever listens on the \
                way sees the hashes of passwords, and can answer in the database's stead");
        }
        Ok(address)
    }

    /// Without user and password.
    pub(super) fn shown(&self) -> String {
        let socket = |path: &Path| path.display().to_string();
        match &self.kind {
            Kind::Postgres(options) => {
                let place = options.get_socket().map(|path| socket(path));
                let place = place
                    .unwrap_or_else(|| format!("{}:{}", options.get_host(), options.get_port()));
                format!("PostgreSQL at {place}")
            }
            Kind::MySql(options) => {
                let place = options.get_socket().map(|path| socket(path));
                let place = place
                    .unwrap_or_else(|| format!("{}:{}", options.get_host(), options.get_port()));
                format!("MySQL at {place}")
            }
            Kind::Sqlite(options) => format!("SQLite in {}", options.get_filename().display()),
        }
    }

    fn is_local(&self) -> bool {
        match &self.kind {
            Kind::Postgres(options) => {
                options.get_socket().is_some() || is_here(options.get_host())
            }
            Kind::MySql(options) => options.get_socket().is_some() || is_here(options.get_host()),
            Kind::Sqlite(_) => true,
        }
    }
}

/// What the URL must not decide, because the configuration does.
fn refuse_parameters(rest: &str) -> Result<(), DatabaseError> {
    let parameters = rest.split_once('?').map_or("", |(_, parameters)| parameters);
    let decides = |parameter: &str| parameter.to_ascii_lowercase().starts_with("ssl");
    match parameters.split('&').any(decides) {
        false => Ok(()),
        true => Err(DatabaseError::Url {
            cause: "leave parameters of TLS out of it: `tls` and `ca` decide".to_owned(),
        }),
    }
}

fn postgres(parsed: PgConnectOptions, options: &DatabaseOptions) -> Kind {
    let local = parsed.get_socket().is_some() || is_here(parsed.get_host());
    let mode = if wants_tls(local, options) { PgSslMode::VerifyFull } else { PgSslMode::Disable };
    let mut parsed = parsed.ssl_mode(mode).application_name("tollhouse");
    if let Some(ca) = &options.ca {
        parsed = parsed.ssl_root_cert_from_pem(ca.clone().into_bytes());
    }
    Kind::Postgres(Box::new(parsed.disable_statement_logging()))
}

fn mysql(parsed: MySqlConnectOptions, options: &DatabaseOptions) -> Kind {
    let local = parsed.get_socket().is_some() || is_here(parsed.get_host());
    let mode = match wants_tls(local, options) {
        true => MySqlSslMode::VerifyIdentity,
        false => MySqlSslMode::Disabled,
    };
    // The operator's statement means what it means in his own console.
    let mut parsed = parsed.ssl_mode(mode).pipes_as_concat(false).timezone(None);
    if let Some(ca) = &options.ca {
        parsed = parsed.ssl_ca_from_pem(ca.clone().into_bytes());
    }
    Kind::MySql(Box::new(parsed.disable_statement_logging()))
}

fn sqlite(path: &str, options: &DatabaseOptions) -> Result<Kind, DatabaseError> {
    if path.is_empty() || path.starts_with(":memory:") {
        let cause = "SQLite needs the path of a file: sqlite:users.db".to_owned();
        return Err(DatabaseError::Url { cause });
    }
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(options.timeout);
    Ok(Kind::Sqlite(Box::new(options.disable_statement_logging())))
}

fn wants_tls(local: bool, options: &DatabaseOptions) -> bool {
    match options.tls {
        Some(tls) => tls == DatabaseTls::Required,
        None => !local || options.ca.is_some(),
    }
}

/// Loopback, or the folder of a unix socket.
fn is_here(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<IpAddr>();
    bare == "localhost" || bare.starts_with('/') || address.is_ok_and(|ip| ip.is_loopback())
}
