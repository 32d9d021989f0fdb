//! The source of an issuer's keys: its own address, a file, or a shared secret.

use http::Uri;
use serde::Serialize;

use super::issuer_introspection::IntrospectionSettings;
use super::legacy_sessions::LegacySessionSettings;
use super::written;
use crate::secret::Secret;

/// The source of an external issuer's keys. The contents of files have been read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum IssuerKeys {
    /// The text of a JWKS file (RFC 7517 §5).
    #[serde(rename = "jwks_file")]
    Jwks(#[serde(serialize_with = "written::hidden")] String),
    /// The text of a PEM file: a public key or a certificate.
    #[serde(rename = "public_key_file")]
    Pem(#[serde(serialize_with = "written::hidden")] String),
    /// A shared HMAC secret.
    #[serde(rename = "secret")]
    Secret(Secret<Vec<u8>>),
    /// The address of a key set, which is fetched while the gateway runs.
    #[serde(rename = "jwks")]
    Url(#[serde(serialize_with = "written::text")] Uri),
    /// No keys: the issuer is asked about every token.
    #[serde(rename = "introspection")]
    Introspection(IntrospectionSettings),
    /// The address of the issuer's metadata, which names the address of the key set (OpenID Connect
    /// Discovery 1.0, section 4). It is fetched before the key set. Neither is fetched while the
    /// configuration is checked.
    #[serde(untagged)]
    Discovery(#[serde(serialize_with = "written::nothing")] Uri),
    /// No keys: a legacy system is asked about every pair.
    #[serde(untagged)]
    Sessions(Box<LegacySessionSettings>),
}

impl IssuerKeys {
    /// True if the keys have to be fetched over the network.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Discovery(_))
    }

    /// True if every token has to be asked about over the network.
    pub fn is_opaque(&self) -> bool {
        matches!(self, Self::Introspection(_) | Self::Sessions(_))
    }
}
