//! Errors of a database in words that contain no bound values.
//!
//! The texts go to logs. A message of the database may quote a value, for example a password hash
//! or a token; such messages are replaced by their code.

use super::step_error::StepError;
use crate::format::error_chain;

impl StepError {
    pub(super) fn connect(error: sqlx::Error) -> Self {
        Self::Connect(redacted(error))
    }

    /// Of a statement; that a connection broke says nothing of the query that was sent on it.
    pub(super) fn query(error: sqlx::Error) -> Self {
        if is_lost(&error) { Self::Connect(redacted(error)) } else { Self::Query(redacted(error)) }
    }
}

fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => true,
        // Connection exception; operator intervention: a server that stops or starts.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
        }
        _ => false,
    }
}

/// Classes of SQLSTATE whose messages are about the connection, the statement or the tables.
/// Messages of other classes (22 and 23, and HY of MySQL) quote values, which may be password
/// hashes or tokens.
const ABOUT_STATEMENTS: &[&str] = &["08", "25", "28", "3D", "42", "53", "55", "57"];

fn redacted(error: sqlx::Error) -> String {
    if let sqlx::Error::Database(error) = &error {
        let code = error.code().unwrap_or_default().into_owned();
        let speaks = ABOUT_STATEMENTS.iter().any(|class| code.starts_with(class));
        // Codes of SQLite are plain numbers. Its messages contain names of tables and columns only.
        let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
        return match speaks || is_sqlite {
            true => format!("{} (code {code})", error.message()),
            false => format!("error {code}; the database's own log says more"),
        };
    }
    // Errors of the library contain no values.
    error_chain(&error)
}
