//! `credential.mint` of an `[[upstream]]`: tokens in the upstream's own form, one for each user.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::written;
use crate::algorithm::Algorithm;
use crate::dialect::{Carrier, MintedClaims};
use crate::secret::{Secret, SecretString};

/// How the gateway makes the tokens that an upstream verifies with a key of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MintSettings {
    pub algorithm: Algorithm,
    #[serde(flatten)]
    pub key: MintKey,
    /// The `kid` of the tokens, where the upstream chooses its key by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    pub claims: MintedTemplate,
    /// The life of a token.
    #[serde(serialize_with = "written::duration")]
    pub ttl: Duration,
    /// The place of the token in a request.
    #[serde(serialize_with = "written::carrier")]
    pub carrier: Carrier,
}

/// The key that the upstream verifies with, or its private half.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum MintKey {
    /// A secret that the gateway shares with the upstream.
    #[serde(rename = "secret")]
    Secret(Secret<Vec<u8>>),
    /// The text of a PEM file with a private key.
    #[serde(rename = "key")]
    Pem(SecretString),
}

/// The claims of the tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct MintedTemplate {
    pub written: Map<String, Value>,
    #[serde(skip)]
    pub compiled: MintedClaims,
}
