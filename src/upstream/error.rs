//! Why a request could not be delivered, or a pool not be built.
//!
//! Each forward error holds three facts: what happened, whose fault it is, and whether the
//! upstream cannot have acted, so that another try is safe. Status codes are `rejection`'s.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::own_login::LoginFailed;
use crate::body::BodyError;
use crate::trust::TrustError;

/// Connections of a busy server become free within moments.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// When a session that has all its tunnels may ask for another.
const TUNNEL_AGAIN: Duration = Duration::from_secs(5);

/// Who could have prevented it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Upstream,
    /// The gateway's own.
    Us,
}

/// Why a request could not be delivered to an upstream, or its answer not be used.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("upstream `{upstream}`")]
    Login {
        upstream: Arc<str>,
        #[source]
        source: LoginFailed,
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

/// What went wrong with the body that the client was sending.
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
    /// The fault that `error`, met while the client's body was read, stands for.
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
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::RequestBody(_) | Self::Tunnels { .. } => Fault::Client,
            Self::Unwritable { .. } => Fault::Us,
            Self::Login { .. }
            | Self::NoServer { .. }
            | Self::Connect { .. }
            | Self::Closed { .. }
            | Self::Slow { .. }
            | Self::Overdue { .. }
            | Self::Busy { .. }
            | Self::Malformed { .. }
            | Self::Framing { .. } => Fault::Upstream,
        }
    }

    /// True if the upstream cannot have acted on the request.
    pub fn safe_to_retry(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// True if the upstream was too slow (504), not wrong (502).
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Slow { .. } | Self::Overdue { .. } => true,
            Self::Connect { source, .. } => matches!(source, ConnectError::Slow { .. }),
            _ => false,
        }
    }

    /// When another try makes sense, where nobody was asked because nobody can answer, or too many
    /// are waiting already.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoServer { retry_after, .. } => Some(*retry_after),
            Self::Busy { .. } => Some(BUSY_FOR),
            Self::Tunnels { .. } => Some(TUNNEL_AGAIN),
            _ => None,
        }
    }

    /// True if it was not sent because too many others are (503).
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    /// The server it happened at, where there was one.
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
            | Self::NoServer { .. }
            | Self::RequestBody(_)
            | Self::Tunnels { .. }
            | Self::Unwritable { .. } => None,
        }
    }
}

/// Why there is no connection.
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

/// Why a pool cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
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

    #[error("upstream `{upstream}` cannot be spoken to over TLS")]
    Tls {
        upstream: String,
        #[source]
        source: rustls::Error,
    },
}
