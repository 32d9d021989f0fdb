//! API keys that are presented: a program's id and secret in one header field.
//!
//! Keys that sign requests are in `signature`; what both kinds have in common is in `known_key`. A key is
//! presented as `th_ID_SECRET`. It is looked up by its id and verified by its secret. The
//! configuration has only the SHA-256 of the secret: 256 random bits need no slow password hash. A
//! caller learns that a key is expired, revoked or used from a wrong network only after presenting
//! its secret. The pipeline calls this for routes, `login` for the introspection endpoint.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;

use super::known_key::{KnownKey, key_digest};
use super::request_credential::RequestCredential;
use super::verified::{TokenError, VerifiedCredential};
use super::{AcceptedKinds, CallCarriers};
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::secret::{Digest, SecretString, equal, random};
use crate::session::Revocations;
use crate::settings::{self, KeyProof};

/// The prefix of every key of the gateway. Scanners for leaked secrets can search for it.
const PREFIX: &str = "th_";
/// The length of a secret: the hexadecimal digits of 256 random bits.
const SECRET: usize = 64;
/// The longest id, equal to the limit that the configuration sets.
const LONGEST_ID: usize = 64;

/// The API keys of one configuration, ready to be verified.
#[derive(Debug)]
pub struct ApiKeyVerifier {
    header: Option<HeaderName>,
    keys: HashMap<String, PresentedKey>,
    /// The digests of all keys, also of those that sign.
    digests: Vec<Digest>,
    revocations: Arc<Revocations>,
}

/// A key that is presented.
#[derive(Debug)]
struct PresentedKey {
    hash: Digest,
    known: KnownKey,
}

impl ApiKeyVerifier {
    /// Prepares the keys of `config`. `revocations` is shared with the session store. Each identity
    /// is built here once, so that a request allocates nothing for it. A key without `expires`
    /// never expires.
    pub fn new(config: &settings::Config, revocations: Arc<Revocations>) -> Self {
        let keys = &config.api_keys.keys;
        let presented = keys.iter().filter_map(|key| match key.proof {
            KeyProof::Hash(hash) => {
                Some((key.id.clone(), PresentedKey { hash, known: KnownKey::new(key) }))
            }
            KeyProof::PublicKey(_) | KeyProof::Secret(_) => None,
        });
        Self {
            header: config.api_key_header().cloned(),
            keys: presented.collect(),
            digests: keys.iter().map(key_digest).collect(),
            revocations,
        }
    }

    /// The header field in which keys are presented; `None` if the configuration accepts none.
    pub fn header(&self) -> Option<&HeaderName> {
        self.header.as_ref()
    }

    /// Verifies a key that is presented from `address`.
    ///
    /// # Errors
    /// `TokenInvalid` for an unknown key, a wrong secret or a wrong network, `TokenExpired`, and
    /// `TokenRevoked`. The cause is for the log.
    pub fn verify(
        &self,
        presented: &SecretString,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        let Some((id, secret)) = parse(presented.expose()) else {
            return Err(TokenError::invalid("not the form of an API key"));
        };
        let found = self.keys.get(id);
        let digest = Digest::of(secret.as_bytes());
        // The secret is compared in constant time. An unknown id is compared too, with a digest
        // that no secret has, so that the duration of the answer does not depend on the id.
        let hash = found.map_or(Digest([0; 32]), |key| key.hash);
        let is_right = equal(&hash.0, &digest.0);
        let Some(key) = found.filter(|_| is_right) else {
            return Err(TokenError::invalid("no such API key, or not its secret"));
        };
        // The checks after this line give distinct answers. They come after the secret, so that a
        // caller who only guesses ids learns nothing about a key.
        key.known.check_network(address)?;
        key.known.check_usable(now, &self.revocations)
    }

    /// Verifies the API key in a request and ignores credentials of other kinds.
    ///
    /// # Errors
    /// As `verify`; `CredentialMissing` without a key, and the reason of
    /// `RequestCredential::extract` if the field cannot be read.
    pub fn verify_in(
        &self,
        head: &Parts,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCredential>, TokenError> {
        let accept = AcceptedKinds { api_key: true, ..AcceptedKinds::NOTHING };
        match RequestCredential::extract(head, accept, self.header(), &CallCarriers::default()) {
            Ok(Some(RequestCredential::ApiKey(key))) => self.verify(&key, address, now),
            Ok(_) => Err(TokenError { reason: Reason::CredentialMissing, cause: "no API key" }),
            Err(error) => Err(TokenError { reason: error.reason(), cause: "no readable API key" }),
        }
    }

    /// True if the request has a value in the form of our API keys, valid or not. Such a value must
    /// not be forwarded to an upstream.
    pub fn claims_local_key(&self, head: &Parts) -> bool {
        let Some(name) = self.header() else { return false };
        let mut values = head.headers.get_all(name).iter();
        values.any(|value| value.to_str().is_ok_and(|text| parse(text).is_some()))
    }

    /// The digests by which the configured keys are named in the revocations. A reload uses them to
    /// end the streams of keys that are no longer configured.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.digests.iter().copied()
    }
}

/// Creates a key. Returns the text that the caller presents and the hash for the configuration. The
/// gateway itself never stores the secret. If the text is lost, a new key must be created.
pub fn new_key(id: &str) -> (SecretString, Digest) {
    let secret = SecretString::new(Digest(random()).hex());
    let hash = Digest::of(secret.expose().as_bytes());
    (SecretString::new(format!("{PREFIX}{id}_{}", secret.expose())), hash)
}

/// Splits a presented key into id and secret. The split is at the last underscore, because an id
/// may contain underscores and a secret cannot.
fn parse(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = (1..=LONGEST_ID).contains(&id.len())
        && secret.len() == SECRET
        && secret.bytes().all(is_digit);
    fits.then_some((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_in_one_way() {
        let secret = "0".repeat(64);
        for (text, expected, why) in [
            (format!("th_robot_{secret}"), Some("robot"), "a key"),
            (format!("th_a_b_{secret}"), Some("a_b"), "the last underscore parts it"),
            (format!("robot_{secret}"), None, "no prefix"),
            (format!("th__{secret}"), None, "no id"),
            (format!("th_{}_{secret}", "a".repeat(65)), None, "too long an id"),
            (format!("th_robot_{}", &secret[1..]), None, "too short a secret"),
            (format!("th_robot_0{secret}"), None, "too long a secret"),
            (format!("th_robot_{}", "A".repeat(64)), None, "one spelling of digits"),
            (format!("th_robot_{secret} "), None, "a space"),
        ] {
            assert_eq!(parse(&text).map(|(id, _)| id), expected, "{why}");
        }
    }

    #[test]
    fn a_new_key_has_the_form_and_the_hash_that_are_looked_for() {
        let (key, hash) = new_key("robot");

        let (id, secret) = parse(key.expose()).unwrap();

        assert_eq!((id, Digest::of(secret.as_bytes())), ("robot", hash));
        assert_ne!(new_key("robot").1, hash);
    }
}
