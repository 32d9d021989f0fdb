//! What is known of an `[[api_key]]`, whether it is presented or signs requests: who its owner is, and
//! whether it may be used.
//!
//! How a caller proves to have the key is in `api_key` and in `signature`, which call this file.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::verified::{TokenError, VerifiedCredential};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::identity::{API_KEY_ISSUER, Identity, Subject};
use crate::secret::Digest;
use crate::session::Revocations;
use crate::settings::{self, KeyProof};

/// One configured key. The caller's identity is prepared once, because it is the same for each
/// request.
#[derive(Debug)]
pub(super) struct KnownKey {
    networks: Vec<IpNet>,
    verified: Arc<VerifiedCredential>,
}

impl KnownKey {
    pub(super) fn new(config: &settings::ApiKey) -> Self {
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let subject = Subject::foreign(API_KEY_ISSUER, &config.id);
        let identity = Identity {
            roles: names(&config.roles),
            scopes: names(&config.scopes),
            ..Identity::new(API_KEY_ISSUER, subject, &config.name)
        };
        let expires = config.expires.unwrap_or(Timestamp::NEVER);
        Self {
            networks: config.networks.clone(),
            verified: Arc::new(VerifiedCredential::without_token(
                identity,
                key_digest(config),
                expires,
            )),
        }
    }

    /// Checks where the key is used from.
    ///
    /// # Errors
    /// `TokenInvalid`.
    pub(super) fn check_network(&self, address: Option<IpAddr>) -> Result<(), TokenError> {
        let may_come = |address: IpAddr| {
            let address = address.to_canonical();
            self.networks.iter().any(|network| network.contains(&address))
        };
        if self.networks.is_empty() || address.is_some_and(may_come) {
            return Ok(());
        }
        Err(TokenError::invalid("the API key is not used from one of its networks"))
    }

    /// The identity of the key, if it may still be used.
    ///
    /// # Errors
    /// `TokenExpired` and `TokenRevoked`.
    pub(super) fn check_usable(
        &self,
        now: Timestamp,
        revocations: &Revocations,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        if self.verified.expires <= now {
            let cause = "the API key has expired";
            return Err(TokenError { reason: Reason::TokenExpired, cause });
        }
        if revocations.token_revoked(&self.verified.digest) {
            let cause = "the API key was revoked";
            return Err(TokenError { reason: Reason::TokenRevoked, cause });
        }
        Ok(self.verified.clone())
    }

    /// The digest that names the key.
    pub(super) fn digest(&self) -> Digest {
        self.verified.digest
    }
}

/// The digest that names a key in the revocations. It covers the proof: a new secret under the same
/// id is a new key, which an old revocation does not affect.
pub fn key_digest(key: &settings::ApiKey) -> Digest {
    let [issuer, id] = [API_KEY_ISSUER, &key.id].map(str::as_bytes);
    match &key.proof {
        KeyProof::Hash(hash) => Digest::of_list(&[issuer, id, &hash.0]),
        KeyProof::PublicKey(text) => Digest::of_list(&[issuer, id, b"public", text.as_bytes()]),
        KeyProof::Secret(secret) => Digest::of_list(&[issuer, id, b"secret", secret.expose()]),
    }
}
