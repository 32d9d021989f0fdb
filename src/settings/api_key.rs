//! `[[api_key]]` and `[api_keys]`: keys with which programs call. Only the hash of a key is here.

use http::header::HeaderName;
use ipnet::IpNet;

use crate::clock::Timestamp;
use crate::secret::Digest;

/// All API keys, and the header field in which clients present them.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKeySettings {
    pub header: HeaderName,
    pub keys: Vec<ApiKey>,
}

/// An API key, identified by the digest of its secret. The secret has 256 random bits, so a plain
/// SHA-256 is enough: there is nothing to guess. For the same reason no slow password hash is
/// needed, which would cost time on every request.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// The part of the presented key by which it is looked up. It is no secret.
    pub id: String,
    /// The name by which the owner of the key is known to upstreams and in logs.
    pub name: String,
    /// SHA-256 of the secret part, as text.
    pub hash: Digest,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    /// The key is refused from this instant on; `None`: never.
    pub expires: Option<Timestamp>,
    /// The networks from which the key may be used; empty: from everywhere.
    pub networks: Vec<IpNet>,
}
