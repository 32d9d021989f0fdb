//! The action of a route for a permitted request: forward it, redirect the client, or answer with a
//! fixed response. `pipeline` and `answer` carry it out.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

/// The action of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// Forward to the `[[upstream]]` of this name.
    Forward(String),
    Redirect(RedirectAction),
    Respond(RespondAction),
}

/// A redirect, `redirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectAction {
    /// An http(s) URL, or a path on the same host. If the path is kept, it has no slash at its end.
    pub to: String,
    pub status: u16,
    /// Append the path and query of the request.
    pub keep_path: bool,
}

/// A fixed answer, `respond`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RespondAction {
    pub status: u16,
    pub content_type: Option<HeaderValue>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// The file that the body was read from; `None` if the configuration contains it.
    pub file: Option<PathBuf>,
}

impl RouteAction {
    /// True if the gateway answers by itself, without an upstream.
    pub fn is_own(&self) -> bool {
        self.upstream().is_none()
    }

    /// The name of the upstream that is forwarded to, if there is one.
    pub fn upstream(&self) -> Option<&str> {
        match self {
            Self::Forward(upstream) => Some(upstream),
            Self::Redirect(_) | Self::Respond(_) => None,
        }
    }
}
