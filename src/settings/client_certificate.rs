//! `[[client_certificate]]`: the callers that client certificates stand for. `authn` looks them up.

use serde::Serialize;

use super::written;
use crate::client::AlternativeName;
use crate::distinguished_name::DistinguishedName;
use crate::secret::Digest;

/// A caller that is identified by a client certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CertificateHolder {
    pub name: String,
    #[serde(flatten)]
    pub by: CertificateName,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
}

/// How the certificate of a caller is recognised: by exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The whole subject name.
    Subject(#[serde(serialize_with = "written::text")] DistinguishedName),
    /// One of its subject alternative names.
    San(#[serde(serialize_with = "written::text")] AlternativeName),
    /// SHA-256 of the whole certificate. It changes with every renewal.
    Fingerprint(#[serde(serialize_with = "written::hex")] Digest),
}

impl CertificateName {
    /// The key and the value with which the configuration says this.
    pub fn written(&self) -> (&'static str, String) {
        match self {
            Self::Subject(subject) => ("subject", subject.to_string()),
            Self::San(name) => ("san", name.to_string()),
            Self::Fingerprint(digest) => ("fingerprint", digest.hex()),
        }
    }
}
