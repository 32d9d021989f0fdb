//! `acme` of a `[[listener]]`: an authority that issues the listener's certificate (RFC 8555).
//! `acme` orders and renews it.

use http::Uri;
use serde::Serialize;

use super::written;
use crate::secret::SecretString;

/// The names of a certificate, and the authority that issues it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AcmeSettings {
    /// The names of the certificate, in lower case. Invariant: there is at least one, and none
    /// occurs twice.
    pub domains: Vec<String>,
    /// Where the authority reaches the operator; `None`: nowhere.
    pub email: Option<String>,
    /// The URL of the authority's directory (RFC 8555, section 7.1.1).
    #[serde(serialize_with = "written::text")]
    pub directory: Uri,
    /// PEM text of the CA of the directory's own TLS, to trust instead of the public CAs.
    #[serde(serialize_with = "written::maybe_hidden")]
    pub ca: Option<String>,
    /// An account at the authority that the ACME account is bound to.
    pub eab: Option<ExternalAccount>,
}

/// The credentials of an external account binding (RFC 8555, section 7.3.4).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExternalAccount {
    pub kid: String,
    /// The HMAC key in base64url, as authorities hand it out. Invariant: it can be decoded.
    pub key: SecretString,
}
