//! The address of a database, and the security of its connections.
//!
//! TLS with verification of the server's name is used, unless the server is on this machine or the
//! operator allows a plain connection. Parameters about TLS in the URL are ignored: there is one
//! place in the configuration where an operator has to look. `mod` opens connections with these
//! addresses.

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

/// A parsed address of a database. It holds the password; its text form leaves out user, password
/// and database.
#[derive(Clone)]
pub enum DatabaseAddress {
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// The reasons why a text is no address of a database. The message does not repeat the text,
/// because it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("must begin with postgres://, mysql:// or sqlite:")]
    Scheme,

    #[error("is no URL of a database")]
    Malformed,
}

/// The kind of database and the place of its server, for logs; without user, password and database.
impl fmt::Display for DatabaseAddress {
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

impl fmt::Debug for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DatabaseAddress {
    /// Parses `postgres://user:password@host/database`, `mysql://…` or `sqlite:path`. A relative
    /// path of SQLite is below `folder`.
    ///
    /// # Errors
    ///
    /// If the text is none of these.
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

    /// The name of the kind of database: `postgres`, `mysql` or `sqlite`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::MySql(_) => "mysql",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// The host that is connected to; `None` for a file or a socket of this machine.
    pub fn host(&self) -> Option<&str> {
        let (socket, host) = match self {
            Self::Postgres(options) => (options.get_socket(), options.get_host()),
            Self::MySql(options) => (options.get_socket(), options.get_host()),
            Self::Sqlite(_) => return None,
        };
        // PostgreSQL takes a host that is a path for the folder of a unix socket.
        (socket.is_none() && !host.starts_with('/')).then_some(host)
    }

    /// True if the connection does not leave this machine: a unix socket, a loopback address, or a
    /// file.
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

    /// The address with the TLS settings of `options`. A configured CA always means TLS, even for a
    /// server on this machine.
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
                // sqlx logs each statement by default. That is switched off for all three kinds:
                // the gateway logs errors itself, without values.
                Self::Postgres(Box::new(connect.disable_statement_logging()))
            }
            Self::MySql(connect) => {
                let mode =
                    if plain { MySqlSslMode::Disabled } else { MySqlSslMode::VerifyIdentity };
                // sqlx changes two settings of each MySQL session, the meaning of `||` and the time
                // zone. They are left as the server has them, so that a query gives the same result
                // here as in the operator's own console.
                let mut connect = connect.ssl_mode(mode).pipes_as_concat(false).timezone(None);
                if let Some(ca) = ca {
                    connect = connect.ssl_ca_from_pem(ca);
                }
                Self::MySql(Box::new(connect.disable_statement_logging()))
            }
            // A missing SQLite file is an error and is not created: an empty file would look like a
            // database without users.
            Self::Sqlite(connect) => {
                let connect = connect.busy_timeout(options.timeout).create_if_missing(false);
                Self::Sqlite(Box::new(connect.disable_statement_logging()))
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // PostgreSQL takes a host that begins with a slash as the folder of a unix socket.
    bare == "localhost"
        || bare.starts_with('/')
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
