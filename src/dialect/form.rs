//! How a dialect's errors look: reason -> status, headers and body.

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::Reason;
use crate::clock::Timestamp;

/// The error answers of one dialect; every reason has one, by its own entry or the default.
#[derive(Clone, Debug)]
pub struct ErrorForm {
    name: String,
}

/// What an error answer may tell.
#[derive(Clone, Debug)]
pub struct ErrorFacts<'a> {
    pub reason: Reason,
    /// Path the client asked for, without its query.
    pub path: &'a str,
    pub request_id: &'a str,
    /// A sentence for the client that is more exact than the reason's title; never a cause.
    pub detail: Option<&'a str>,
    pub now: Timestamp,
}

/// An answer of our own: everything but connection matters.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl ErrorForm {
    /// The dialect's name, or `problem`.
    pub fn name(&self) -> &str {
        &self.name
    }
}
