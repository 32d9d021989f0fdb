//! `strip_prefix` and `replace_prefix` of a route: how the beginning of the path is rewritten.
//! `pipeline` rewrites it.

use serde::{Serialize, Serializer};

/// How a route rewrites the path for its upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PrefixRule {
    /// This prefix is removed, and the rest is sent.
    #[serde(rename = "strip_prefix")]
    Strip(String),
    /// The prefix `from`, which is the route's own path, is replaced by `to`. Neither ends with a
    /// slash, so that the rest always begins with one. `/` is therefore represented by an empty
    /// text.
    #[serde(rename = "replace_prefix", serialize_with = "replacement")]
    Replace { from: String, to: String },
    /// The path is sent as it was received.
    #[serde(untagged)]
    Keep,
}

/// The replacement as it was written: `/` for the empty text.
fn replacement<S: Serializer>(_: &str, to: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if to.is_empty() { "/" } else { to })
}
