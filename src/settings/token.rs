//! `[token]`: how the gateway's own tokens are made, and for how long they are valid.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::written;
use crate::algorithm::Algorithm;

/// The settings of the gateway's own tokens, unless a `[[login]]` or its dialect overrides them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenSettings {
    pub issuer: String,
    pub audience: Vec<String>,
    pub algorithm: Algorithm,
    #[serde(serialize_with = "written::duration")]
    pub access_ttl: Duration,
    /// Absolute lifetime of a session, counted from its login. A refresh does not extend it.
    #[serde(serialize_with = "written::duration")]
    pub refresh_ttl: Duration,
    /// How long a refresh token that was used already is accepted once more.
    #[serde(serialize_with = "written::duration")]
    pub refresh_grace: Duration,
    /// The difference of clocks that is tolerated when times in tokens are compared.
    #[serde(serialize_with = "written::duration")]
    pub leeway: Duration,
    pub keys: SigningKeyStorage,
    /// How long a key that the gateway made itself is used for signing.
    #[serde(serialize_with = "written::duration")]
    pub rotate_every: Duration,
    /// The path at which the key set is published; `None`: it is not.
    #[serde(serialize_with = "written::text_or_empty")]
    pub jwks_path: Option<String>,
    /// Upper bound on verified tokens that are remembered. 0 turns the cache off.
    pub cache_size: usize,
}

/// Where the keys are that sign the gateway's own tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningKeyStorage {
    /// The gateway makes and rotates them in its state folder.
    Folder,
    /// The gateways of a shared store make and rotate them together; the store keeps them sealed.
    Store,
    /// A folder that the operator manages.
    #[serde(untagged)]
    Path(PathBuf),
}
