//! What went wrong at a database, in words that hold nothing that was bound.

use std::error::Error;
use std::fmt;

/// A failed step.
#[derive(Debug)]
pub(super) enum Fault {
    Connect(String),
    Query(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(cause) | Self::Query(cause) => f.write_str(cause),
        }
    }
}

impl Fault {
    pub(super) fn connect(error: sqlx::Error) -> Self {
        Self::Connect(told(error))
    }

    pub(super) fn query(error: sqlx::Error) -> Self {
        Self::Query(told(error))
    }
}

/// The classes of SQLSTATE whose messages speak of the connection, the statement or the tables.
/// Others (22 and 23, MySQL's HY) quote values, and a value may be a password's hash or a token.
const ABOUT_STATEMENTS: &[&str] = &["08", "25", "28", "3D", "42", "53", "55", "57"];

fn told(error: sqlx::Error) -> String {
    if let sqlx::Error::Database(error) = &error {
        let code = error.code().unwrap_or_default().into_owned();
        let speaks = ABOUT_STATEMENTS.iter().any(|class| code.starts_with(class));
        // SQLite's codes are plain numbers, and its messages name tables and columns only.
        let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
        return match speaks || is_sqlite {
            true => format!("{} (code {code})", error.message()),
            false => format!("error {code}; the database's own log says more"),
        };
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
