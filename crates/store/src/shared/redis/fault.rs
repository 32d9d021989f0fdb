//! Why a step failed, and what follows from it for the connection and the node that it used.
//!
//! Texts are for an operator. What a server says may be repeated: it names commands, keys and
//! users, never passwords or values. It is shortened all the same.

use std::fmt;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerError};

use crate::shared::{DatabaseError, SharedOpenError};

use super::address::Endpoint;

/// No text of a server is longer in an error of ours.
const LONGEST_TEXT: usize = 200;

/// A step that failed, and where.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    at: String,
    kind: FaultKind,
}

#[derive(Clone, Debug)]
pub(super) enum FaultKind {
    /// There was no answer within the time limit.
    Slow(Duration),
    /// A server that can be connected to did not answer a TLS handshake within the time limit.
    SilentHandshake(Duration),
    /// No connection came about.
    Connect(String),
    /// A server was found, and no TLS connection came about.
    Tls(String),
    /// A server does not accept the user or the password.
    Credentials(String),
    /// The connection broke before the answer came.
    Broken(String),
    /// The server answered with an error.
    Refused { code: String, text: String },
    /// The server answered something that cannot be the answer.
    Unexpected(&'static str),
    /// The database was closed, or is overrun with callers.
    Unusable(&'static str),
}

/// The action that may help after a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The connection cannot be used again, and a new one may help at once.
    Reconnect,
    /// There is no connection, and none to be had at once.
    Elsewhere,
    /// The server is not the one that takes writes any more, or not yet.
    FindMaster,
    /// A Cluster has this slot on another node.
    Moved(Endpoint),
    /// A Cluster is moving this key to another node: this one time ask there.
    Ask(Endpoint),
    /// A Cluster is moving the keys of the step one by one: try again.
    TryAgain,
    /// The server does not have the script.
    LoadScript,
    /// Nothing would help.
    Nothing,
}

impl Fault {
    pub(super) fn new(at: impl fmt::Display, kind: FaultKind) -> Self {
        Self { at: at.to_string(), kind }
    }

    pub(super) fn unexpected(at: impl fmt::Display, what: &'static str) -> Self {
        Self::new(at, FaultKind::Unexpected(what))
    }

    /// An error in an answer.
    pub(super) fn refused(at: impl fmt::Display, error: &ServerError) -> Self {
        let code = error.code().to_owned();
        let text = shorten(error.details().unwrap_or_default());
        let kind = match code.as_str() {
            "NOAUTH" | "WRONGPASS" => FaultKind::Credentials(text),
            _ => FaultKind::Refused { code, text },
        };
        Self::new(at, kind)
    }

    /// A connection that broke, or that never came about because its greeting failed.
    pub(super) fn broken(at: impl fmt::Display, error: &RedisError) -> Self {
        let text = shorten(&error.to_string());
        let kind = match error.kind() {
            ErrorKind::AuthenticationFailed => FaultKind::Credentials(text),
            _ => match error.code() {
                Some("NOAUTH" | "WRONGPASS") => FaultKind::Credentials(text),
                Some(code) => FaultKind::Refused {
                    code: code.to_owned(),
                    text: shorten(error.detail().unwrap_or_default()),
                },
                None => FaultKind::Broken(text),
            },
        };
        Self::new(at, kind)
    }

    pub(super) fn code(&self) -> Option<&str> {
        match &self.kind {
            FaultKind::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// True if a server wants a password that it did not get, or another one.
    pub(super) fn is_about_credentials(&self) -> bool {
        matches!(self.kind, FaultKind::Credentials(_))
    }

    /// True if the connection that it happened on must not be used again.
    pub(super) fn ends_connection(&self) -> bool {
        match &self.kind {
            FaultKind::Slow(_) | FaultKind::Broken(_) | FaultKind::Unexpected(_) => true,
            // A single server that became a replica is left, so that its master is looked for. In a
            // Cluster the new map leads elsewhere.
            FaultKind::Refused { code, .. } => {
                matches!(code.as_str(), "READONLY" | "MASTERDOWN" | "NOREPLICAS" | "UNBLOCKED")
            }
            FaultKind::SilentHandshake(_)
            | FaultKind::Connect(_)
            | FaultKind::Tls(_)
            | FaultKind::Credentials(_)
            | FaultKind::Unusable(_) => false,
        }
    }

    /// The remedy for this fault. Redirections are read as answers of `answering`.
    pub(super) fn remedy(&self, answering: &Endpoint) -> Remedy {
        match &self.kind {
            FaultKind::Broken(_) => Remedy::Reconnect,
            FaultKind::Connect(_) | FaultKind::SilentHandshake(_) | FaultKind::Slow(_) => {
                Remedy::Elsewhere
            }
            FaultKind::Refused { code, text } => {
                let node = || {
                    text.split_whitespace()
                        .nth(1)
                        .and_then(|node| Endpoint::parse_answer(node, answering))
                };
                match code.as_str() {
                    "MOVED" => node().map_or(Remedy::Nothing, Remedy::Moved),
                    "ASK" => node().map_or(Remedy::Nothing, Remedy::Ask),
                    "TRYAGAIN" => Remedy::TryAgain,
                    "NOSCRIPT" => Remedy::LoadScript,
                    // A master without the replicas that it must have may have been replaced.
                    "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "NOREPLICAS" | "UNBLOCKED" => {
                        Remedy::FindMaster
                    }
                    _ => Remedy::Nothing,
                }
            }
            FaultKind::Tls(_)
            | FaultKind::Credentials(_)
            | FaultKind::Unexpected(_)
            | FaultKind::Unusable(_) => Remedy::Nothing,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind } = self;
        match kind {
            FaultKind::Slow(limit) => write!(f, "{at} did not answer within {limit:?}"),
            FaultKind::SilentHandshake(limit) => {
                write!(f, "{at} cannot be reached: {}", silent_handshake(*limit))
            }
            FaultKind::Connect(cause) => write!(f, "{at} cannot be reached: {cause}"),
            FaultKind::Tls(cause) => write!(f, "{at} cannot be spoken to with TLS: {cause}"),
            FaultKind::Credentials(cause) => {
                write!(f, "{at} does not accept the user name or the password: {cause}")
            }
            FaultKind::Broken(cause) => write!(f, "{at} ended the connection: {cause}"),
            FaultKind::Refused { code, text } => write!(f, "{at} refused: {code} {text}"),
            FaultKind::Unexpected(what) => write!(f, "{at} answered without {what}"),
            FaultKind::Unusable(why) => write!(f, "{at}: {why}"),
        }
    }
}

impl From<Fault> for DatabaseError {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

impl From<Fault> for SharedOpenError {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        let Fault { at, kind } = fault;
        match kind {
            FaultKind::Slow(limit) => {
                Self::Unreachable { at, cause: format!("no answer within {limit:?}") }
            }
            FaultKind::SilentHandshake(limit) => {
                Self::Unreachable { at, cause: silent_handshake(limit) }
            }
            FaultKind::Connect(cause) | FaultKind::Broken(cause) => Self::Unreachable { at, cause },
            FaultKind::Tls(cause) => Self::Tls { at, cause },
            FaultKind::Credentials(cause) => Self::Credentials { at, cause },
            // A server that loads its data, or a Cluster that chooses a master, will be there soon.
            FaultKind::Refused { code, text }
                if matches!(
                    code.as_str(),
                    "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "NOREPLICAS"
                ) =>
            {
                Self::Unreachable { at, cause: format!("{code} {text}") }
            }
            FaultKind::Refused { .. } | FaultKind::Unexpected(_) | FaultKind::Unusable(_) => {
                Self::Refused { at, cause: text }
            }
        }
    }
}

fn silent_handshake(limit: Duration) -> String {
    format!("no answer to a TLS handshake within {limit:?}; it may speak no TLS on this port")
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(LONGEST_TEXT).collect()
}
