//! The header fields in which the gateway shows its own credential to an upstream.
//!
//! They are set over any fields of the same names, so that nobody else decides as whom the gateway
//! calls. `credential` and `login` make them; `forward` and `probe` set them.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Header fields to set. Their values are marked as sensitive, so they are not printed.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct CredentialHeaders(Vec<(HeaderName, HeaderValue)>);

impl CredentialHeaders {
    /// Fields of which the values are ready.
    pub(super) fn new(fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self(fields)
    }

    /// Sets the fields, in place of any that the request has.
    pub(in crate::upstream) fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name.clone(), value.clone());
        }
    }
}
