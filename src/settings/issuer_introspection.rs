//! `introspection` of an `[[issuer]]`: the issuer is asked about each of its tokens (RFC 7662).

use std::time::Duration;

use http::Uri;
use serde::Serialize;

use super::written;
use crate::secret::SecretString;

/// How an issuer is asked about its tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntrospectionSettings {
    /// The introspection endpoint.
    #[serde(serialize_with = "written::text")]
    pub url: Uri,
    /// The client id with which the gateway authenticates at the endpoint (RFC 7662, section 2.1).
    pub client_id: String,
    pub client_secret: SecretString,
    /// How long a token that the issuer called active is accepted without asking again.
    #[serde(serialize_with = "written::duration")]
    pub cache: Duration,
}
