//! `forwarded_certificate` of a listener: how a balancer in front tells the certificate that a client
//! showed it.

use http::header::HeaderName;
use serde::Serialize;

use super::written;

/// The field that trusted proxies set, and the authorities of the clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForwardedCertificate {
    #[serde(serialize_with = "written::text")]
    pub field: HeaderName,
    pub form: CertificateForm,
    /// The text of a PEM file.
    #[serde(serialize_with = "written::hidden")]
    pub ca: String,
}

/// How a certificate is written in a header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateForm {
    /// `Client-Cert` of RFC 9440: a byte sequence, with a chain in `Client-Cert-Chain`.
    Rfc9440,
    /// PEM with escapes as in a URL, which nginx calls `$ssl_client_escaped_cert`.
    Pem,
    /// DER in base64, which HAProxy calls `ssl_c_der,base64`.
    Der,
}
