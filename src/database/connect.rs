//! Where a database is and how it is connected to.
//!
//! TLS with the server's name checked, unless the server is this machine or the operator says
//! otherwise: what the URL itself says of TLS does not count, so that there is one place to look.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Executor, MySqlPool, PgPool, SqlitePool};

use super::{Access, DatabaseOptions, Pool};
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

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
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

    pub(super) fn pool(&self, options: &DatabaseOptions, access: Access) -> Pool {
        let plain = options.ca.is_none() && (self.is_local() || options.allow_plain);
        match self {
            Self::Postgres(connect) => {
                let mode = if plain { PgSslMode::Disable } else { PgSslMode::VerifyFull };
                Pool::Postgres(postgres(connect.as_ref().clone().ssl_mode(mode), options, access))
            }
            Self::MySql(connect) => {
                let mode =
                    if plain { MySqlSslMode::Disabled } else { MySqlSslMode::VerifyIdentity };
                Pool::MySql(mysql(connect.as_ref().clone().ssl_mode(mode), options, access))
            }
            Self::Sqlite(connect) => {
                Pool::Sqlite(sqlite(connect.as_ref().clone(), options, access))
            }
        }
    }
}

fn postgres(connect: PgConnectOptions, options: &DatabaseOptions, access: Access) -> PgPool {
    let connect = match &options.ca {
        Some(pem) => connect.ssl_root_cert_from_pem(pem.clone().into_bytes()),
        None => connect,
    };
    let limit = options.timeout.as_millis().to_string();
    let read_only = if access == Access::Read { "on" } else { "off" };
    let connect = connect
        .application_name("tollhouse")
        .options([
            // The server gives up when we do.
            ("statement_timeout", limit.as_str()),
            ("default_transaction_read_only", read_only),
        ])
        .disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(options.parallel)
        .acquire_timeout(options.timeout)
        .connect_lazy_with(connect)
}

fn mysql(connect: MySqlConnectOptions, options: &DatabaseOptions, access: Access) -> MySqlPool {
    let connect = match &options.ca {
        Some(pem) => connect.ssl_ca_from_pem(pem.clone().into_bytes()),
        None => connect,
    };
    MySqlPoolOptions::new()
        .max_connections(options.parallel)
        .acquire_timeout(options.timeout)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if access == Access::Read {
                    connection.execute("SET SESSION TRANSACTION READ ONLY").await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with(connect.disable_statement_logging())
}

fn sqlite(connect: SqliteConnectOptions, options: &DatabaseOptions, access: Access) -> SqlitePool {
    let connect = connect
        .read_only(access == Access::Read)
        // A file that is not there is a mistake, not an empty database.
        .create_if_missing(false)
        .busy_timeout(options.timeout)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(options.parallel)
        .acquire_timeout(options.timeout)
        .connect_lazy_with(connect)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // PostgreSQL takes a host that is a path for the folder of a unix socket.
    bare == "localhost"
        || bare.starts_with('/')
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
