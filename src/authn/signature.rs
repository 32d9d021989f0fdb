//! Signatures of requests: a key's id, a time, and a signature of the whole request.
//!
//! What can be refused without the body is refused first: an unknown key, a wrong network, a time out
//! of the window, a signature that no key of that type makes. Key ids are no secret, so it does not
//! matter that this shows which ids exist. The signature is verified next, and only then does the
//! caller learn whether the key may be used. The algorithm belongs to the key and never to the
//! request. The pipeline reads the body and calls this file in that order.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::carrier_value::value;
use super::credential::CredentialError;
use super::ecdsa_form::fixed_from_der;
use super::known_key::KnownKey;
use super::seen_signatures::SignedOnce;
use super::verified::{TokenError, VerifiedCredential};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::dialect::Carrier;
use crate::secret::{Digest, SecretString};
use crate::session::Revocations;
use crate::settings::{
    ApiKey, Config, EcdsaForm, KeyProof, SignatureEncoding, SignatureSettings, SignedPart, TimeUnit,
};
use crate::token::VerifyingKey;

/// The longest text of a signature: more than RSA with 8192 bits needs in hex.
const LONGEST_SIGNATURE: usize = 2048;
/// The longest time, in digits: milliseconds of the year 33 658.
const LONGEST_TIME: usize = 15;

/// One way to sign requests, with the keys that can.
#[derive(Debug)]
pub struct SignatureVerifier {
    settings: SignatureSettings,
    places: [Carrier; 3],
    keys: HashMap<String, SignatureKey>,
    revocations: Arc<Revocations>,
}

#[derive(Debug)]
struct SignatureKey {
    key: VerifyingKey,
    known: KnownKey,
}

/// The parts of a signature as they are presented.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestSignature {
    key: String,
    signature: SecretString,
    timestamp: String,
}

/// The parts of a request that a signature can cover.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    pub method: Method,
    /// Path and query as received.
    pub target: PathAndQuery,
    /// The host that the client named, with its port if it named one.
    pub host: String,
    pub body: Bytes,
}

/// A signature of a key that is known, before it is verified.
#[derive(Clone, Debug)]
pub struct PendingSignature {
    verifier: Arc<SignatureVerifier>,
    presented: RequestSignature,
    /// The signature in base64url, as keys verify it.
    signature: String,
    at: Timestamp,
}

impl SignatureVerifier {
    /// Prepares every `[[signature]]` of a configuration.
    pub fn all(config: &Config, revocations: &Arc<Revocations>) -> Vec<Arc<Self>> {
        let prepare = |settings: &SignatureSettings| {
            let signing = |key: &ApiKey| Some((key.id.clone(), SignatureKey::new(key, settings)?));
            Arc::new(Self {
                settings: settings.clone(),
                places: settings.places().map(Carrier::clone),
                keys: config.api_keys.keys.iter().filter_map(signing).collect(),
                revocations: revocations.clone(),
            })
        };
        config.signatures.iter().map(prepare).collect()
    }

    /// The name of the section.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The places of the key's id, the signature and the time.
    pub fn places(&self) -> &[Carrier] {
        &self.places
    }

    /// True if the body has to be read before the signature can be verified.
    pub fn needs_body(&self) -> bool {
        self.settings.signed.has_body()
    }

    /// Extracts the parts of a signature; `None` if the request has none of them.
    ///
    /// # Errors
    /// A part that occurs twice, is missing beside others, or is no text.
    pub(super) fn extract(
        &self,
        head: &Parts,
    ) -> Result<Option<RequestSignature>, CredentialError> {
        let [key, signature, timestamp] = &self.places;
        let parts = (value(head, key)?, value(head, signature)?, value(head, timestamp)?);
        let (key, signature, timestamp) = match parts {
            (None, None, None) => return Ok(None),
            (Some(key), Some(signature), Some(timestamp)) => (key, signature, timestamp),
            _ => return Err(CredentialError::Half),
        };
        let text = |part: &[u8]| {
            let text = std::str::from_utf8(part).map(str::to_owned);
            text.map_err(|_| CredentialError::Malformed("a part of the signature is no text"))
        };
        Ok(Some(RequestSignature {
            key: text(&key)?,
            signature: SecretString::new(text(&signature)?),
            timestamp: text(&timestamp)?,
        }))
    }

    /// Finds the key of a signature and checks all that needs no body.
    ///
    /// # Errors
    /// `TokenInvalid`, whatever is wrong.
    pub fn find(
        self: &Arc<Self>,
        presented: RequestSignature,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<PendingSignature, TokenError> {
        let signing = self.keys.get(&presented.key);
        let signing = signing.ok_or(TokenError::invalid("no such key that signs like this"))?;
        signing.known.check_network(address)?;
        let at = self.time(&presented.timestamp);
        let at = at.ok_or(TokenError::invalid("the time of the signature is no number"))?;
        let signature = self.signature(presented.signature.expose(), signing.key.algorithm());
        let signature = signature.filter(|text| signing.key.fits_length(text));
        let signature = signature.ok_or(TokenError::invalid("no signature that the key makes"))?;
        let pending = PendingSignature { verifier: self.clone(), presented, signature, at };
        pending.check_time(now)?;
        Ok(pending)
    }

    /// The time that was signed. Digits alone: a sign or a space would be another spelling of it.
    fn time(&self, text: &str) -> Option<Timestamp> {
        let is_number = (1..=LONGEST_TIME).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = text.parse().ok().filter(|_| is_number)?;
        Some(match self.settings.timestamp.unit {
            TimeUnit::Seconds => Timestamp::from_secs(number),
            TimeUnit::Milliseconds => Timestamp::from_millis(number),
        })
    }

    /// A signature in base64url; `None` if it is not written as it has to be.
    fn signature(&self, text: &str, algorithm: Algorithm) -> Option<String> {
        if text.len() > LONGEST_SIGNATURE {
            return None;
        }
        let bytes = match self.settings.encoding {
            SignatureEncoding::Base64 => STANDARD.decode(text).ok()?,
            SignatureEncoding::Base64Url => URL_SAFE_NO_PAD.decode(text).ok()?,
            SignatureEncoding::Hex => from_hex(text)?,
        };
        let size = match algorithm {
            Algorithm::ES256 => Some(32),
            Algorithm::ES384 => Some(48),
            _ => None,
        };
        let bytes = match (size, self.settings.ecdsa) {
            (Some(size), EcdsaForm::Der) => fixed_from_der(&bytes, size)?,
            (Some(_), EcdsaForm::Fixed) | (None, _) => bytes,
        };
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The bytes that a request's signature covers.
    fn signed_bytes(&self, presented: &RequestSignature, request: &SignedRequest) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(request.body.len() + request.target.as_str().len() + 128);
        for part in &self.settings.signed.0 {
            match part {
                SignedPart::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                SignedPart::Timestamp => bytes.extend_from_slice(presented.timestamp.as_bytes()),
                SignedPart::Method => bytes.extend_from_slice(request.method.as_str().as_bytes()),
                SignedPart::Uri => bytes.extend_from_slice(request.target.as_str().as_bytes()),
                SignedPart::Path => bytes.extend_from_slice(request.target.path().as_bytes()),
                SignedPart::Query => {
                    let query = request.target.query().unwrap_or_default();
                    bytes.extend_from_slice(query.as_bytes());
                }
                SignedPart::Host => bytes.extend_from_slice(request.host.as_bytes()),
                SignedPart::Key => bytes.extend_from_slice(presented.key.as_bytes()),
                SignedPart::Body => bytes.extend_from_slice(&request.body),
                SignedPart::BodyDigest => {
                    bytes.extend_from_slice(Digest::of(&request.body).hex().as_bytes());
                }
            }
        }
        bytes
    }
}

impl SignatureKey {
    /// `None` if the key does not sign, or not by an algorithm of `settings`.
    fn new(config: &ApiKey, settings: &SignatureSettings) -> Option<Self> {
        let key = match &config.proof {
            KeyProof::Hash(_) => return None,
            KeyProof::PublicKey(text) => VerifyingKey::from_pem(text, &settings.algorithms).ok()?,
            KeyProof::Secret(secret) => {
                VerifyingKey::from_secret(secret, &settings.algorithms).ok()?
            }
        };
        Some(Self { key, known: KnownKey::new(config) })
    }
}

impl PendingSignature {
    /// How long the request may still take to arrive. Later its time is too old.
    pub fn time_left(&self, now: Timestamp) -> std::time::Duration {
        self.at.plus(self.verifier.settings.timestamp.skew).since(now)
    }

    /// Verifies the signature.
    ///
    /// # Errors
    /// `TokenInvalid` if it is not the signature of this request with this key.
    pub fn verify(&self, request: &SignedRequest) -> Result<SignedOnce, TokenError> {
        let signing = self.signing()?;
        let bytes = self.verifier.signed_bytes(&self.presented, request);
        if !signing.key.verify(&bytes, &self.signature) {
            return Err(TokenError::invalid("not the signature of this request"));
        }
        let key = signing.known.digest();
        Ok(SignedOnce { key, signed: Digest::of_list(&[b"signed request", &bytes]), at: self.at })
    }

    /// The identity of the key, once its signature was verified.
    ///
    /// # Errors
    /// `TokenInvalid` if the request took too long to arrive, `TokenExpired` and `TokenRevoked`.
    pub fn identity(&self, now: Timestamp) -> Result<Arc<VerifiedCredential>, TokenError> {
        self.check_time(now)?;
        self.signing()?.known.check_usable(now, &self.verifier.revocations)
    }

    fn signing(&self) -> Result<&SignatureKey, TokenError> {
        let signing = self.verifier.keys.get(&self.presented.key);
        signing.ok_or(TokenError::invalid("no such key that signs like this"))
    }

    fn check_time(&self, now: Timestamp) -> Result<(), TokenError> {
        let skew = self.verifier.settings.timestamp.skew;
        if self.at.plus(skew) < now {
            return Err(TokenError::invalid("the signed request is too old"));
        }
        if self.at > now.plus(skew) {
            return Err(TokenError::invalid("the signed request is from the future"));
        }
        Ok(())
    }
}

/// The bytes of hexadecimal digits in either case.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}
