//! Errors of forwarding a request, of connecting, and of building a pool.
//!
//! Each forward error states what happened, whose fault it is, and whether the upstream cannot have
//! acted, so that another attempt is safe. Status codes are not chosen here: `rejection` maps
//! errors to answers. The texts are for the log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::body::BodyError;
use crate::tls_roots::TrustError;
use crate::token::BadKey;
use crate::users::LegacySessionError;

/// When to come back to a busy server: its connections become free within moments.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// When a session with all its tunnels open may ask for another one.
const TUNNEL_AGAIN: Duration = Duration::from_secs(5);

/// The party that caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultSide {
    Client,
    Upstream,
    /// The gateway itself.
    Us,
}

/// The reasons for which a request could not be delivered, or its answer not be used.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("upstream `{upstream}`")]
    Login {
        upstream: Arc<str>,
        #[source]
        source: LoginFailed,
    },

    #[error("upstream `{upstream}`")]
    Mint {
        upstream: Arc<str>,
        #[source]
        source: MintError,
    },
    #[error("upstream `{upstream}` takes the legacy credential of the caller's session")]
    Session {
        upstream: Arc<str>,
        #[source]
        source: LegacySessionError,
    },

    #[error("every server of upstream `{upstream}` fails its checks")]
    NoServer { upstream: Arc<str>, retry_after: Duration },

    #[error("could not connect to `{server}`")]
    Connect {
        server: Arc<str>,
        #[source]
        source: ConnectError,
    },

    #[error("the connection to `{server}` closed before an answer came")]
    Closed {
        server: Arc<str>,
        #[source]
        source: hyper::Error,
    },

    #[error("`{server}` sent no answer within {limit:?}")]
    Slow { server: Arc<str>, limit: Duration },

    #[error("`{server}` was not done within {limit:?}")]
    Overdue { server: Arc<str>, limit: Duration },

    #[error("`{server}` takes no more requests: {what}")]
    Busy { server: Arc<str>, what: &'static str },

    #[error("`{server}` sent an answer that is not HTTP")]
    Malformed {
        server: Arc<str>,
        #[source]
        source: hyper::Error,
    },

    #[error("`{server}` sent an answer that must not be passed on: {what}")]
    Framing { server: Arc<str>, what: &'static str },

    #[error("the request's body did not arrive whole")]
    RequestBody(#[from] RequestFault),

    #[error("{limit} tunnels of this session or credential are open")]
    Tunnels { limit: usize },

    #[error("the request cannot be written for the upstream: {what}")]
    Unwritable { what: &'static str },
}

/// A fault in the body that the client was sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    #[error("it is larger than {limit} bytes")]
    TooLarge { limit: u64 },

    #[error("no byte of it arrived within {limit:?}")]
    Stalled { limit: Duration },

    #[error("less than {rate} bytes of it arrived in a second")]
    Slow { rate: u64 },

    #[error("the client went away")]
    Gone,
}

impl RequestFault {
    /// The fault behind `error`, which came up while the client's body was read.
    pub(super) fn of(error: &BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::TooLarge { limit: *limit },
            BodyError::Stalled { limit } => Self::Stalled { limit: *limit },
            BodyError::Slow { rate } => Self::Slow { rate: *rate },
            BodyError::SessionEnded
            | BodyError::Overdue { .. }
            | BodyError::OverBudget(_)
            | BodyError::Internal
            | BodyError::Connection(_) => Self::Gone,
        }
    }
}

impl ForwardError {
    /// The party that caused the failure.
    pub fn fault(&self) -> FaultSide {
        match self {
            Self::RequestBody(_)
            | Self::Tunnels { .. }
            | Self::Mint { source: MintError::Missing { .. }, .. } => FaultSide::Client,
            Self::Session { source, .. } => match source {
                LegacySessionError::Ended(_)
                | LegacySessionError::Gone
                | LegacySessionError::Foreign => FaultSide::Client,
                LegacySessionError::Unavailable(_) => FaultSide::Upstream,
            },
            Self::Mint { .. } | Self::Unwritable { .. } => FaultSide::Us,
            Self::Login { .. }
            | Self::NoServer { .. }
            | Self::Connect { .. }
            | Self::Closed { .. }
            | Self::Slow { .. }
            | Self::Overdue { .. }
            | Self::Busy { .. }
            | Self::Malformed { .. }
            | Self::Framing { .. } => FaultSide::Upstream,
        }
    }

    /// True if the upstream cannot have acted on the request, so that sending it again is safe.
    /// Only a connection that was never made is certain to have carried nothing.
    pub fn safe_to_retry(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// True if the upstream was too slow (504) rather than wrong (502).
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Slow { .. } | Self::Overdue { .. } => true,
            Self::Connect { source, .. } => matches!(source, ConnectError::Slow { .. }),
            _ => false,
        }
    }

    /// When another attempt makes sense, for failures in which no server was called: all are out,
    /// too many requests wait, or too many tunnels are open. `rejection` sends it as `Retry-After`
    /// (RFC 9110 §10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoServer { retry_after, .. } => Some(*retry_after),
            Self::Busy { .. } => Some(BUSY_FOR),
            Self::Tunnels { .. } => Some(TUNNEL_AGAIN),
            _ => None,
        }
    }

    /// True if the request was not sent because too many others are under way (503).
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Mint { source: MintError::Busy, .. })
    }

    /// The server at which the failure happened; `None` if no server was involved.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Connect { server, .. }
            | Self::Closed { server, .. }
            | Self::Slow { server, .. }
            | Self::Overdue { server, .. }
            | Self::Busy { server, .. }
            | Self::Malformed { server, .. }
            | Self::Framing { server, .. } => Some(server),
            Self::Login { .. }
            | Self::Mint { .. }
            | Self::Session { .. }
            | Self::NoServer { .. }
            | Self::RequestBody(_)
            | Self::Tunnels { .. }
            | Self::Unwritable { .. } => None,
        }
    }
}

/// The reason why the gateway is not logged in.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the gateway could not log in: {cause}")]
pub struct LoginFailed {
    cause: Arc<str>,
}

impl LoginFailed {
    pub(super) fn new(cause: &str) -> Self {
        Self { cause: cause.into() }
    }
}

/// The reasons for which there is no token of a user for the upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The user lacks a value that the upstream's tokens have.
    #[error("the user has no {name}, which the token for the upstream needs")]
    Missing { name: String },

    /// Too many tokens are being signed.
    #[error("too many tokens for upstreams are being signed")]
    Busy,

    #[error("the token for the upstream could not be signed: {cause}")]
    Unsigned { cause: String },

    /// The request has no such place.
    #[error("the token for the upstream cannot be written in its place")]
    Unwritable,
}

/// The reasons for which there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("its name could not be resolved")]
    Resolve(#[source] io::Error),

    #[error("its name has no address")]
    NoAddress,

    #[error("the connection was refused or broke off")]
    Refused(#[source] io::Error),

    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),

    #[error("it took longer than {limit:?}")]
    Slow { limit: Duration },

    #[error("the HTTP handshake failed")]
    Handshake(#[source] hyper::Error),
}

/// The reasons for which a pool cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum PoolBuildError {
    #[error("upstream `{upstream}` has no server")]
    NoServer { upstream: String },

    #[error("`{name}` of upstream `{upstream}` is neither a DNS name nor an IP address")]
    ServerName { upstream: String, name: String },

    #[error("upstream `{upstream}`")]
    Trust {
        upstream: String,
        #[source]
        source: TrustError,
    },

    #[error("{path:?}, shown to upstream `{upstream}`, could not be read as PEM")]
    Pem {
        upstream: String,
        path: PathBuf,
        #[source]
        source: rustls_pki_types::pem::Error,
    },

    #[error("the credential of upstream `{upstream}` cannot be sent in a header field")]
    Credential { upstream: String },

    #[error("the key of the tokens for upstream `{upstream}` cannot be used")]
    Key {
        upstream: String,
        #[source]
        source: BadKey,
    },

    #[error("upstream `{upstream}` cannot be spoken to over TLS")]
    Tls {
        upstream: String,
        #[source]
        source: rustls::Error,
    },
}
