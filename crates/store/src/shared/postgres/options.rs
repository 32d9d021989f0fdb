//! How to connect to PostgreSQL: the settings of an operator, checked, and made into options of
//! sqlx.
//!
//! Parameters about TLS in the URL are ignored: there is one place in the configuration where an
//! operator has to look.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tollhouse_core::secret::SecretString;

use crate::shared::SharedOpenError;

/// Time limit of a step unless the settings have another one. Two steps and an answer fit into the
/// second that a client waits for a refusal.
const STEP_LIMIT: Duration = Duration::from_millis(500);
/// Number of connections unless the settings have another one. Followers have their own.
const CONNECTIONS: u32 = 10;
/// The length of the longest name, in bytes, that PostgreSQL takes without cutting it.
const LONGEST_NAME: usize = 63;

/// Whether connections to the server are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// TLS with verification of the server's name, unless the server is on this machine.
    Demanded,
    /// No TLS: the operator trusts the network in between.
    None,
}

/// The settings of a PostgreSQL database that several gateways share.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// Certificates in PEM form of authorities that are trusted in addition to the public ones. TLS
    /// is then used even to a server on this machine.
    pub ca: Option<String>,
    pub tls: TlsPolicy,
    /// The schema that has the tables. Several deployments may share a database by different ones.
    pub schema: String,
    /// How many steps may use a connection at the same time. Each follower has two more.
    pub connections: u32,
    /// Time limit of a step, from waiting for a connection to the end of the answer.
    pub step_limit: Duration,
}

impl PostgresOptions {
    /// The default settings for the database at `url`.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            ca: None,
            tls: TlsPolicy::Demanded,
            schema: "tollhouse".to_owned(),
            connections: CONNECTIONS,
            step_limit: STEP_LIMIT,
        }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub(super) struct ServerAddress {
    pub(super) connect: PgConnectOptions,
    /// The place of the server, for texts; without user, password and database.
    pub(super) at: String,
    pub(super) uses_tls: bool,
    pub(super) is_local: bool,
}

impl ServerAddress {
    /// # Errors
    ///
    /// If the URL or the name of the schema is malformed.
    pub(super) fn parse(options: &PostgresOptions) -> Result<Self, SharedOpenError> {
        check_schema(&options.schema)?;
        let text = options.url.expose().as_str();
        // The text may contain a password: no error repeats it.
        let malformed = || {
            let text = "`url` is not of the form postgres://user:password@host:port/database";
            SharedOpenError::Setting(text.to_owned())
        };
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(malformed());
        }
        let connect = PgConnectOptions::from_str(text).map_err(|_| malformed())?;
        let host = connect.get_host().trim_matches(['[', ']']).to_owned();
        // PostgreSQL takes a host that begins with a slash as the folder of a unix socket.
        let has_socket = connect.get_socket().is_some() || host.starts_with('/');
        let is_local = has_socket || is_loopback(&host);
        let uses_tls = options.ca.is_some() || !(is_local || options.tls == TlsPolicy::None);
        let at = match connect.get_socket() {
            Some(socket) => format!("PostgreSQL at {}", socket.display()),
            None => format!("PostgreSQL at {}:{}", connect.get_host(), connect.get_port()),
        };
        let mode = if uses_tls { PgSslMode::VerifyFull } else { PgSslMode::Disable };
        let mut connect = connect
            .host(&host)
            .ssl_mode(mode)
            .application_name("tollhouse")
            // PgBouncer refuses this parameter, and no floating number is read here.
            .extra_float_digits(None)
            .statement_cache_capacity(0)
            .disable_statement_logging();
        if let Some(ca) = &options.ca {
            connect = connect.ssl_root_cert_from_pem(ca.clone().into_bytes());
        }
        Ok(Self { connect, at, uses_tls, is_local })
    }
}

/// The name goes into statements, so nothing but plain names is taken.
fn check_schema(name: &str) -> Result<(), SharedOpenError> {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let is_plain = name.bytes().next().is_some_and(first)
        && name.bytes().all(|byte| first(byte) || byte.is_ascii_digit())
        && name.len() <= LONGEST_NAME;
    if is_plain && !name.starts_with("pg_") {
        return Ok(());
    }
    Err(SharedOpenError::Setting(format!(
        "`schema` is {name:?}, but must be of lower-case letters, digits and `_`, begin with no \
         digit and not with `pg_`, and have at most {LONGEST_NAME} characters"
    )))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<ServerAddress, SharedOpenError> {
        ServerAddress::parse(&PostgresOptions::new(url.into()))
    }

    #[test]
    fn tls_is_demanded_unless_the_server_is_this_machine() {
        for (url, uses_tls) in [
            ("postgres://u:p@db.example/d", true),
            ("postgres://u:p@db.example/d?sslmode=disable", true),
            ("postgres://u:p@192.0.2.1:6432/d", true),
            ("postgresql://u:p@127.0.0.1/d?sslmode=require", false),
            ("postgres://u:p@[::1]:5433/d", false),
            ("postgres://u:p@localhost/d", false),
            ("postgres:///d?host=/run/postgresql", false),
        ] {
            let address = parse(url).unwrap();

            assert_eq!(address.uses_tls, uses_tls, "{url}");
            assert!(!address.at.contains("u:p"), "{}", address.at);
        }
        let mut options = PostgresOptions::new("postgres://u:p@127.0.0.1/d".into());
        options.ca = Some("PEM".to_owned());
        assert!(ServerAddress::parse(&options).unwrap().uses_tls, "an authority means TLS");
        let mut options = PostgresOptions::new("postgres://u:p@db.example/d".into());
        options.tls = TlsPolicy::None;
        assert!(!ServerAddress::parse(&options).unwrap().uses_tls);
    }

    #[test]
    fn urls_and_schemas_that_cannot_be_meant_are_refused() {
        for url in ["mysql://u:secret@h/d", "postgres", "postgres://u:secret@h:99999/d"] {
            let error = parse(url).unwrap_err();

            assert!(matches!(error, SharedOpenError::Setting(_)), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let long = "a".repeat(64);
        for name in ["", "1a", "A", "a-b", "a\"b", "ä", "pg_a", long.as_str()] {
            assert!(check_schema(name).is_err(), "{name}");
        }
        for name in ["tollhouse", "_", "a1_b", &long[1..]] {
            assert!(check_schema(name).is_ok(), "{name}");
        }
    }
}
