//! The error of one step of asking a database.

use std::fmt;

/// A failed step: making a connection, or asking on it.
#[derive(Debug)]
#[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "no step is ever begun"))]
pub(super) enum StepError {
    Connect(String),
    Query(String),
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(cause) | Self::Query(cause) => f.write_str(cause),
        }
    }
}
