//! `strip_prefix` and `replace_prefix` of a route: how the beginning of the path is rewritten.
//! `pipeline` rewrites it.

/// How a route rewrites the path for its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixRule {
    /// The path is sent as it was received.
    Keep,
    /// This prefix is removed, and the rest is sent.
    Strip(String),
    /// The prefix `from`, which is the route's own path, is replaced by `to`. Neither ends with a
    /// slash, so that the rest always begins with one. `/` is therefore represented by an empty
    /// text.
    Replace { from: String, to: String },
}
