//! Errors of PostgreSQL: what they mean for the step, and their texts without values.

use std::fmt;

use tollhouse_core::format::{error_chain, excerpt};

use crate::shared::SharedOpenError;

/// An error of a statement or of a connection.
#[derive(Debug)]
pub(super) struct StepFault {
    /// Five characters, if the server itself reported the error.
    pub(super) code: Option<String>,
    text: String,
    is_tls: bool,
    is_lost: bool,
}

/// Classes of SQLSTATE whose messages are about the connection, the statement or the tables.
/// Messages of other classes quote values; only their codes are shown.
const ABOUT_STATEMENTS: [&str; 10] = ["08", "25", "28", "3D", "3F", "40", "42", "53", "55", "57"];

/// A write where only reading is possible.
const READ_ONLY: &str = "25006";

const LONGEST_TEXT: usize = 300;

impl From<sqlx::Error> for StepFault {
    fn from(error: sqlx::Error) -> Self {
        let is_tls = is_tls(&error);
        if let sqlx::Error::Database(error) = &error {
            let code = error.code().unwrap_or_default().into_owned();
            let is_shown = ABOUT_STATEMENTS.iter().any(|class| code.starts_with(class));
            let text = if is_shown {
                format!("{} (SQLSTATE {code})", excerpt(error.message(), LONGEST_TEXT))
            } else {
                format!("SQLSTATE {code}; the log of the database says more")
            };
            // Connection exceptions; a server that stops or starts; one that has become a standby.
            let is_lost = code.starts_with("08") || code.starts_with("57P") || code == READ_ONLY;
            return Self { code: Some(code), text, is_tls, is_lost };
        }
        // Errors of the library contain no values.
        let text = excerpt(&error_chain(&error), LONGEST_TEXT);
        Self { code: None, text, is_tls, is_lost: true }
    }
}

/// A failed handshake comes as an error of the connection, with the error of TLS inside.
fn is_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

impl fmt::Display for StepFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StepFault {
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self { code: None, text: text.into(), is_tls: false, is_lost: false }
    }

    /// True if the connection cannot be used any more.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// True if the server gave the transaction up because of others, and it succeeds when it is
    /// repeated: serialization failure, deadlock.
    pub(super) fn is_transient(&self) -> bool {
        self.has_code(&["40001", "40P01"])
    }

    pub(super) fn has_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// The error of opening the database that this is; `remedy` is what an administrator would
    /// enter if a right is missing.
    pub(super) fn into_open_error(self, at: &str, remedy: &str) -> SharedOpenError {
        let at = at.to_owned();
        let cause = self.text;
        let class = self.code.as_deref().unwrap_or_default();
        match class {
            "" if self.is_tls => SharedOpenError::Tls { at, cause },
            "" => SharedOpenError::Unreachable { at, cause },
            "42501" => SharedOpenError::Rights { at, cause, remedy: remedy.to_owned() },
            // Too many connections; a server that starts or stops.
            "53300" | "57P01" | "57P02" | "57P03" => SharedOpenError::Unreachable { at, cause },
            code if code.starts_with("28") => SharedOpenError::Credentials { at, cause },
            _ => SharedOpenError::Refused { at, cause },
        }
    }
}
