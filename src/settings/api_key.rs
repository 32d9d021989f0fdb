//! `[[api_key]]` and `[api_keys]`: keys with which programs call. Only the hash of a key is here.

use http::header::HeaderName;
use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::written;
use crate::clock::Timestamp;
use crate::secret::Digest;

/// All API keys, and the header field in which clients present them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKeySettings {
    #[serde(rename = "api_keys", serialize_with = "header_table")]
    pub header: HeaderName,
    #[serde(rename = "api_key", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ApiKey>,
}

/// An API key, identified by the digest of its secret. The secret has 256 random bits, so a plain
/// SHA-256 is enough: there is nothing to guess. For the same reason no slow password hash is
/// needed, which would cost time on every request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKey {
    /// The part of the presented key by which it is looked up. It is no secret.
    pub id: String,
    /// The name by which the owner of the key is known to upstreams and in logs.
    pub name: String,
    /// SHA-256 of the secret part, as text.
    #[serde(serialize_with = "written::hex")]
    pub hash: Digest,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    /// The key is refused from this instant on; `None`: never.
    #[serde(serialize_with = "written::maybe_last_day")]
    pub expires: Option<Timestamp>,
    /// The networks from which the key may be used; empty: from everywhere.
    #[serde(serialize_with = "written::texts", skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
}

/// The table `[api_keys]`, which stands beside the keys.
fn header_table<S: Serializer>(header: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([("header", header.as_str())])
}
