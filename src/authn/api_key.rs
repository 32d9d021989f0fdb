//! API keys: a program's id and secret, in one field.
//!
//! A key is presented as `th_ID_SECRET`. It is looked up by its id and proved by its secret, of
//! which only the SHA-256 is known: 256 random bits need no slow hash. Expiry, network and
//! revocation are told apart only to who has the secret.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;
use ipnet::IpNet;

use super::Accept;
use super::presented::Presented;
use super::verified::{Refusal, Verified};
use crate::clock::Timestamp;
use crate::config;
use crate::dialect::Reason;
use crate::identity::{API_KEY_ISSUER, Claims, Identity, Subject};
use crate::secret::{Digest, SecretString, equal, random};
use crate::session::Revocations;

/// Begins every key of ours, so that scanners for leaked secrets can know them.
const PREFIX: &str = "th_";
/// Hex digits of 256 random bits.
const SECRET: usize = 64;
/// As long as an id may be in the configuration.
const LONGEST_ID: usize = 64;

/// The keys of a configuration, ready to prove.
#[derive(Debug)]
pub struct ApiKeys {
    header: Option<HeaderName>,
    keys: HashMap<String, Key>,
    revocations: Arc<Revocations>,
}

#[derive(Debug)]
struct Key {
    hash: Digest,
    networks: Vec<IpNet>,
    verified: Arc<Verified>,
}

impl ApiKeys {
    /// The keys of `config`.
    pub fn new(config: &config::Config, revocations: Arc<Revocations>) -> Self {
        let keys = config.api_keys.keys.iter().map(|key| (key.id.clone(), Key::new(key)));
        Self { header: config.api_key_header().cloned(), keys: keys.collect(), revocations }
    }

    /// The field in which keys are presented; `None` where none is taken.
    pub fn header(&self) -> Option<&HeaderName> {
        self.header.as_ref()
    }

    /// Proves a key that is used from `address`.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn verify(
        &self,
        presented: &SecretString,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Refusal> {
        let Some((id, secret)) = parse(presented.expose()) else {
            return Err(Refusal::invalid("not the form of an API key"));
        };
        let found = self.keys.get(id);
        let digest = Digest::of(secret.as_bytes());
        // Compared in any case, though an id is no secret.
        let held = found.map_or(Digest([0; 32]), |key| key.hash);
        let is_right = equal(&held.0, &digest.0);
        let Some(key) = found.filter(|_| is_right) else {
            return Err(Refusal::invalid("no such API key, or not its secret"));
        };
        let may_come = |address: IpAddr| {
            let address = address.to_canonical();
            key.networks.iter().any(|network| network.contains(&address))
        };
        if !key.networks.is_empty() && !address.is_some_and(may_come) {
            return Err(Refusal::invalid("the API key is not used from one of its networks"));
        }
        if key.verified.expires <= now {
            let cause = "the API key has expired";
            return Err(Refusal { reason: Reason::TokenExpired, cause });
        }
        if self.revocations.token_revoked(&key.verified.digest) {
            let cause = "the API key was revoked";
            return Err(Refusal { reason: Reason::TokenRevoked, cause });
        }
        Ok(key.verified.clone())
    }

    /// Proves the key that a request presents, whatever else it does.
    ///
    /// # Errors
    /// Why there is none that may be used.
    pub fn verify_in(
        &self,
        head: &Parts,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Verified>, Refusal> {
        let accept = Accept { api_key: true, ..Accept::NOTHING };
        match Presented::extract(head, accept, self.header()) {
            Ok(Some(Presented::ApiKey(key))) => self.verify(&key, address, now),
            Ok(_) => Err(Refusal { reason: Reason::CredentialMissing, cause: "no API key" }),
            Err(error) => Err(Refusal { reason: error.reason(), cause: "no readable API key" }),
        }
    }

    /// Whether the request presents what has the form of a key of ours, right or wrong: nobody
    /// else is to see it.
    pub fn names_us(&self, head: &Parts) -> bool {
        let Some(name) = self.header() else { return false };
        let mut values = head.headers.get_all(name).iter();
        values.any(|value| value.to_str().is_ok_and(|text| parse(text).is_some()))
    }

    /// What names each key in the revocations, for those that are configured.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.keys.values().map(|key| key.verified.digest)
    }
}

impl Key {
    fn new(config: &config::ApiKey) -> Self {
        let names = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let identity = Identity {
            subject: Subject::foreign(API_KEY_ISSUER, &config.id),
            username: config.name.as_str().into(),
            source: "".into(),
            issuer: API_KEY_ISSUER.into(),
            login: "".into(),
            session: None,
            roles: names(&config.roles),
            scopes: names(&config.scopes),
            claims: Claims::new(),
        };
        let expires = config.expires.unwrap_or(Timestamp::NEVER);
        Self {
            hash: config.hash,
            networks: config.networks.clone(),
            verified: Arc::new(Verified::without_token(identity, key_digest(config), expires)),
        }
    }
}

/// What names a key in the revocations: another secret under the same id is another key.
pub fn key_digest(key: &config::ApiKey) -> Digest {
    Digest::of_list(&[API_KEY_ISSUER.as_bytes(), key.id.as_bytes(), &key.hash.0])
}

/// A new key: what is presented, and the hash by which it is configured.
pub fn new_key(id: &str) -> (SecretString, Digest) {
    let secret = SecretString::new(Digest(random()).hex());
    let hash = Digest::of(secret.expose().as_bytes());
    (SecretString::new(format!("{PREFIX}{id}_{}", secret.expose())), hash)
}

/// Id and secret of a presented key; an id may have underscores in it, a secret has none.
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
