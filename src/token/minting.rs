//! Keys of other systems with which the gateway signs tokens in their form.
//!
//! The key belongs to the upstream, which gave it to the operator: it is in no ring, is not rotated
//! and not published. `config` checks it, `upstream` signs with it.

use std::fmt;

use serde_json::json;

use super::formats::{self, PrivateParts};
use super::signing::SigningKey;
use super::verifying::KeyParts;
use super::{BadKey, KeyError};
use crate::algorithm::Algorithm;
use crate::identity::Claims;
use crate::secret::SecretString;
use crate::settings::{MintKey, MintSettings};

/// A key that signs an upstream's own tokens.
pub struct MintingKey {
    key: SigningKey,
    /// The id that the header names. Many systems have one key and look for no id.
    key_id: Option<String>,
}

impl MintingKey {
    /// The key of these settings.
    ///
    /// # Errors
    /// A key that is malformed, too weak or not of the algorithm's type.
    pub fn new(settings: &MintSettings) -> Result<Self, BadKey> {
        let key = Self::read(&settings.key, settings.algorithm)?;
        Ok(Self { key, key_id: settings.key_id.clone() })
    }

    /// Checks a key without keeping it.
    ///
    /// # Errors
    /// As `new`.
    pub fn check(key: &MintKey, algorithm: Algorithm) -> Result<(), BadKey> {
        Self::read(key, algorithm).map(drop)
    }

    fn read(key: &MintKey, algorithm: Algorithm) -> Result<SigningKey, BadKey> {
        let parts = match key {
            MintKey::Secret(secret) => {
                PrivateParts { public: KeyParts::Secret(secret.clone()), material: secret.clone() }
            }
            MintKey::Pem(text) => formats::private_pem(text.expose())?,
        };
        SigningKey::bind(parts, algorithm, None)
    }

    /// Signs a token in compact form. It takes long with a key pair; call it on the background
    /// runtime.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn sign(&self, claims: &Claims) -> Result<SecretString, KeyError> {
        let mut header = json!({ "typ": "JWT", "alg": self.key.algorithm().as_str() });
        if let Some(id) = &self.key_id
            && let Some(header) = header.as_object_mut()
        {
            header.insert("kid".to_owned(), id.as_str().into());
        }
        self.key.sign_under(&header, claims)
    }
}

impl fmt::Debug for MintingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "minting {:?}", self.key)
    }
}
