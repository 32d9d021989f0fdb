//! `hsts` of a TLS listener (RFC 6797): a client that came by https once never uses http again.

use std::time::Duration;

use http::HeaderValue;
use serde::Serialize;

use super::written;

/// The settings of the field `Strict-Transport-Security`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HstsPolicy {
    #[serde(serialize_with = "written::duration")]
    pub max_age: Duration,
    pub include_subdomains: bool,
    pub preload: bool,
}

impl HstsPolicy {
    /// The value of the field (RFC 6797, section 6.1).
    pub fn value(&self) -> HeaderValue {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        let text = format!("max-age={}{subdomains}{preload}", self.max_age.as_secs());
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("max-age=0"))
    }
}
