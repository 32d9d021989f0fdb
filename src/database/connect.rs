//! Where a database is and how it is connected to.
//!
//! TLS with the server's name checked, unless the server is this machine or the operator says
//! otherwise: what the URL itself says of TLS does not count, so that there is one place to look.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;

use super::DatabaseOptions;
use crate::secret::SecretString;

/// A database's address, understood; holds the password and prints without it.
#[derive(Clone)]
pub enum Address {
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// Why a text is no address of a database. Does not repeat it: there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("must begin with postgres://, mysql:// or sqlite:")]
    Scheme,

    #[error("is no URL of a database")]
    Malformed,
}

/// Without user, password and database.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, socket, host, port) = match self {
            Self::Postgres(to) => ("PostgreSQL", to.get_socket(), to.get_host(), to.get_port()),
            Self::MySql(to) => ("MySQL", to.get_socket(), to.get_host(), to.get_port()),
            Self::Sqlite(to) => return write!(f, "SQLite in {}", to.get_filename().display()),
        };
        match socket {
            Some(socket) => write!(f, "{name} at {}", socket.display()),
            None => write!(f, "{name} at {host}:{port}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Address {
    /// Reads `postgres://user:password@host/database`, `mysql://…` or `sqlite:path`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(url: &SecretString, folder: &Path) -> Result<Self, AddressError> {
        let text = url.expose().as_str();
        let scheme = text.split(':').next().unwrap_or_default();
        let malformed = |_| AddressError::Malformed;
        match scheme {
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(text).map_err(malformed)?;
                Ok(Self::Postgres(Box::new(options)))
            }
            "mysql" | "mariadb" => {
                let options = MySqlConnectOptions::from_str(text).map_err(malformed)?;
                Ok(Self::MySql(Box::new(options)))
            }
            "sqlite" => {
                let path = text.trim_start_matches("sqlite:").trim_start_matches("//");
                if path.is_empty() {
                    return Err(AddressError::Malformed);
                }
                let options = SqliteConnectOptions::new().filename(folder.join(path));
                Ok(Self::Sqlite(Box::new(options)))
            }
            _ => Err(AddressError::Scheme),
        }
    }

    /// `postgres`, `mysql` or `sqlite`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::MySql(_) => "mysql",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// True if nothing of it leaves this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Postgres(options) => {
                options.get_socket().is_some() || is_loopback(options.get_host())
            }
            Self::MySql(options) => {
                options.get_socket().is_some() || is_loopback(options.get_host())
            }
            Self::Sqlite(_) => true,
        }
    }

    /// With TLS as `options` say.
    pub(super) fn secured(&self, options: &DatabaseOptions) -> Self {
        let plain = options.ca.is_none() && (self.is_local() || options.allow_plain);
        let ca = options.ca.as_ref().map(|pem| pem.clone().into_bytes());
        match self.clone() {
            Self::Postgres(connect) => {
                let mode = if plain { PgSslMode::Disable } else { PgSslMode::VerifyFull };
                let mut connect = connect.ssl_mode(mode).application_name("tollhouse");
                if let Some(ca) = ca {
                    connect = connect.ssl_root_cert_from_pem(ca);
                }
                Self::Postgres(Box::new(connect.disable_statement_logging()))
            }
            Self::MySql(connect) => {
                let mode =
                    if plain { MySqlSslMode::Disabled } else { MySqlSslMode::VerifyIdentity };
                // A query means what it means in the operator's own console.
                let mut connect = connect.ssl_mode(mode).pipes_as_concat(false).timezone(None);
                if let Some(ca) = ca {
                    connect = connect.ssl_ca_from_pem(ca);
                }
                Self::MySql(Box::new(connect.disable_statement_logging()))
            }
            Self::Sqlite(connect) => {
                let connect = connect.busy_timeout(options.timeout).create_if_missing(false);
                Self::Sqlite(Box::new(connect.disable_statement_logging()))
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // PostgreSQL takes a host that is a path for the folder of a unix socket.
    bare == "localhost"
        || bare.starts_with('/')
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
