//! The action of a route for a permitted request: forward it, redirect the client, or answer with a
//! fixed response. `pipeline` and `answer` carry it out.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use super::written;

/// The action of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RouteAction {
    /// Forward to the `[[upstream]]` of this name.
    #[serde(rename = "upstream")]
    Forward(String),
    #[serde(rename = "redirect")]
    Redirect(RedirectAction),
    #[serde(rename = "respond")]
    Respond(RespondAction),
}

/// A redirect, `redirect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedirectAction {
    /// An http(s) URL, or a path on the same host. If the path is kept, it has no slash at its end.
    pub to: String,
    pub status: u16,
    /// Append the path and query of the request.
    pub keep_path: bool,
}

/// A fixed answer, `respond`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RespondAction {
    pub status: u16,
    #[serde(serialize_with = "written::maybe_field_value")]
    pub content_type: Option<HeaderValue>,
    #[serde(serialize_with = "fields")]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The file that the body was read from; `None` if the configuration contains it.
    pub file: Option<PathBuf>,
    #[serde(serialize_with = "body_text")]
    pub body: Bytes,
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

fn fields<S: Serializer>(
    fields: &[(HeaderName, HeaderValue)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    serializer.collect_map(fields.iter().map(|(name, value)| (name.as_str(), text(value))))
}

fn body_text<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}
