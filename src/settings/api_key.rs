//! `[[api_key]]` and `[api_keys]`: keys with which programs call. A key is presented whole, and only
//! its hash is here, or it signs requests.

use http::header::HeaderName;
use ipnet::IpNet;
use serde::Serialize;

use super::written;
use crate::clock::Timestamp;
use crate::secret::{Digest, Secret};

/// All API keys, and what holds for all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKeySettings {
    #[serde(rename = "api_keys")]
    pub common: ApiKeyRules,
    #[serde(rename = "api_key", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ApiKey>,
}

/// The table `[api_keys]`, which stands beside the keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKeyRules {
    /// The header field in which clients present keys.
    #[serde(serialize_with = "written::text")]
    pub header: HeaderName,
    /// How many signed requests are remembered, so that none is accepted twice.
    pub remembered_signatures: usize,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKey {
    /// The name by which a key is looked up, and the beginning of one that is presented. It is no
    /// secret.
    pub id: String,
    /// The name by which the owner of the key is known to upstreams and in logs.
    pub name: String,
    #[serde(flatten)]
    pub proof: KeyProof,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    /// The key is refused from this instant on; `None`: never.
    #[serde(serialize_with = "written::maybe_last_day")]
    pub expires: Option<Timestamp>,
    /// The networks from which the key may be used; empty: from everywhere.
    #[serde(serialize_with = "written::texts", skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
}

/// How a caller proves that a key is theirs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum KeyProof {
    /// The caller presents the key's secret, of which this is the SHA-256. The secret has 256 random
    /// bits, so a plain hash is enough: there is nothing to guess. For the same reason no slow
    /// password hash is needed, which would cost time on every request.
    #[serde(rename = "hash")]
    Hash(#[serde(serialize_with = "written::hex")] Digest),
    /// The caller signs requests with the private half of the key in this PEM text.
    #[serde(rename = "public_key_file")]
    PublicKey(#[serde(serialize_with = "written::hidden")] String),
    /// The caller signs requests with this shared secret.
    #[serde(rename = "secret")]
    Secret(Secret<Vec<u8>>),
}

impl ApiKey {
    /// True if the key signs requests and is never presented itself.
    pub fn signs(&self) -> bool {
        !matches!(self.proof, KeyProof::Hash(_))
    }
}
