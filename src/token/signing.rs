//! One signing key: made, read from text, written as text, and used.
//!
//! The private half never leaves this file but to the folder that keeps it; `Debug` shows the id.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value, json};
use zeroize::Zeroize;

use super::formats::{self, PrivateParts};
use super::verifying::{KeyParts, VerifyingKey, wire};
use super::{BadKey, KeyError};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::identity::Claims;
use crate::secret::{Secret, SecretString, random};

/// A key that signs our tokens with exactly one algorithm.
pub(super) struct SigningKey {
    kid: Arc<str>,
    algorithm: Algorithm,
    encoding: EncodingKey,
    material: Secret<Vec<u8>>,
    public: Arc<VerifyingKey>,
}

/// What a file says beside the key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Notes {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) created: Option<Timestamp>,
    pub(super) signs_from: Option<Timestamp>,
}

impl SigningKey {
    /// Makes a key.
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Crypto(algorithm);
        let parts = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let mut bytes = random::<64>();
                let secret =
                    Secret::new(bytes.iter().copied().take(algorithm.min_secret()).collect());
                bytes.zeroize();
                PrivateParts { public: KeyParts::Secret(secret.clone()), material: secret }
            }
            Algorithm::ES256 => pkcs8(
                &EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                    .and_then(|pair| pair.to_pkcs8v1())
                    .map_err(failed)?,
            )?,
            Algorithm::ES384 => pkcs8(
                &EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)
                    .and_then(|pair| pair.to_pkcs8v1())
                    .map_err(failed)?,
            )?,
            Algorithm::EdDSA => pkcs8(
                &Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map_err(failed)?,
            )?,
            _ => formats::private_rsa(&RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?)?,
        };
        Ok(Self::bind(parts, algorithm, None)?)
    }

    fn bind(
        parts: PrivateParts,
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Result<Self, BadKey> {
        let kid: Arc<str> = kid.unwrap_or_else(|| parts.public.kid()).into();
        let public = VerifyingKey::bind(&parts.public, algorithm, Some(kid.clone()), false)?;
        let material = parts.material.expose();
        // The signature library takes RSA keys in PKCS #1 only, and unwraps PKCS #8 from PEM only.
        let encoding = match &parts.public {
            KeyParts::Secret(_) => EncodingKey::from_secret(material),
            KeyParts::Ec { .. } => EncodingKey::from_ec_der(material),
            KeyParts::Ed { .. } => EncodingKey::from_ed_der(material),
            KeyParts::Rsa { .. } => EncodingKey::from_rsa_pem(pem(material).expose().as_bytes())
                .map_err(|_| BadKey("the RSA key is malformed"))?,
        };
        Ok(Self { kid, algorithm, encoding, material: parts.material, public: Arc::new(public) })
    }

    /// Reads a PEM or JWK. Where the text does not name the algorithm, it is the first of
    /// `preferred` that fits the key, else the key type's usual one.
    pub(super) fn parse(text: &str, preferred: &[Algorithm]) -> Result<(Self, Notes), BadKey> {
        let (parts, notes) = if text.trim_start().starts_with('{') {
            let value: Value = serde_json::from_str(text)
                .map_err(|_| BadKey("it is not JSON, though it begins so"))?;
            let jwk = value.as_object().ok_or(BadKey("it is not a JWK"))?;
            (formats::private_jwk(jwk)?, jwk_notes(jwk)?)
        } else {
            (formats::private_pem(text)?, pem_notes(text)?)
        };
        let usual = [Algorithm::RS256, Algorithm::HS256];
        let algorithm = notes
            .algorithm
            .or_else(|| preferred.iter().copied().find(|one| parts.public.fits(*one)))
            .or_else(|| usual.into_iter().find(|one| parts.public.fits(*one)))
            .or_else(|| Algorithm::ALL.iter().copied().find(|one| parts.public.fits(*one)))
            .ok_or(BadKey("no algorithm fits the key"))?;
        Ok((Self::bind(parts, algorithm, notes.kid.clone())?, notes))
    }

    /// The text a file keeps: PEM with remarks before it (RFC 7468 §2), or a JWK for a secret.
    pub(super) fn write(&self, created: Timestamp, signs_from: Timestamp) -> SecretString {
        let (kid, algorithm) = (&self.kid, self.algorithm.as_str());
        if self.algorithm.is_symmetric() {
            let jwk = json!({
                "kty": "oct", "use": "sig", "alg": algorithm, "kid": kid.as_ref(),
                "k": URL_SAFE_NO_PAD.encode(self.material.expose()),
                "created": created.secs(), "signs_from": signs_from.secs(),
            });
            return Secret::new(format!("{jwk}\n"));
        }
        let remarks = format!(
            "A signing key: whoever has it can make tokens.\nkid: {kid}\nalgorithm: {algorithm}\n\
             created: {}\nsigns_from: {}\n",
            created.secs(),
            signs_from.secs()
        );
        Secret::new(remarks + pem(self.material.expose()).expose())
    }

    /// A signed token (RFC 7515 §7.1).
    pub(super) fn sign(&self, typ: &str, claims: &Claims) -> Result<SecretString, KeyError> {
        let header = json!({"typ": typ, "alg": self.algorithm.as_str(), "kid": self.kid.as_ref()});
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let claims = serde_json::to_string(claims).map_err(|_| KeyError::Crypto(self.algorithm))?;
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(token.as_bytes(), &self.encoding, wire(self.algorithm))
                .map_err(|_| KeyError::Crypto(self.algorithm))?;
        token.push('.');
        token.push_str(&signature);
        Ok(Secret::new(token))
    }

    /// Proves that what it signs verifies, before a client has to find out.
    pub(super) fn self_test(&self) -> Result<(), KeyError> {
        let token = self.sign("self-test", &Claims::new())?;
        let sound = token.expose().rsplit_once('.').is_some_and(|(message, signature)| {
            self.public.verify(message.as_bytes(), signature)
                && !self.public.verify(b"another message", signature)
        });
        let (kid, algorithm) = (self.kid.to_string(), self.algorithm);
        if sound { Ok(()) } else { Err(KeyError::SelfTest { kid, algorithm }) }
    }

    pub(super) fn kid(&self) -> &Arc<str> {
        &self.kid
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn public(&self) -> &Arc<VerifyingKey> {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signing key `{}`", self.algorithm.as_str(), self.kid)
    }
}

fn pkcs8(document: &aws_lc_rs::pkcs8::Document) -> Result<PrivateParts, BadKey> {
    formats::private_pkcs8(document.as_ref())
}

fn pem(der: &[u8]) -> SecretString {
    let mut encoded = STANDARD.encode(der);
    let mut text = String::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    encoded.zeroize();
    Secret::new(text)
}

fn jwk_notes(jwk: &Map<String, Value>) -> Result<Notes, BadKey> {
    let facts = formats::jwk_facts(jwk, "sign")?;
    let at = |name: &str| jwk.get(name).and_then(Value::as_u64).map(Timestamp::from_secs);
    Ok(Notes {
        kid: facts.kid,
        algorithm: facts.algorithm,
        created: at("created"),
        signs_from: at("signs_from"),
    })
}

fn pem_notes(text: &str) -> Result<Notes, BadKey> {
    let mut notes = Notes::default();
    for line in text.lines().take_while(|line| !line.starts_with("-----BEGIN")) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let at = || value.parse().ok().map(Timestamp::from_secs);
        match name {
            "kid" if value.is_empty() || value.len() > formats::MAX_KID => {
                return Err(BadKey("its `kid` is empty or too long"));
            }
            "kid" => notes.kid = Some(value.to_owned()),
            "algorithm" => {
                notes.algorithm = Some(
                    Algorithm::parse(value).ok_or(BadKey("its `algorithm` is not known here"))?,
                );
            }
            "created" => notes.created = at(),
            "signs_from" => notes.signs_from = at(),
            _ => {}
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::super::verifying::is_rsa;
    use super::*;

    #[test]
    fn keys_survive_writing_and_reading() {
        let (created, signs_from) = (Timestamp::from_secs(5), Timestamp::from_secs(9));
        for algorithm in Algorithm::ALL.iter().copied().filter(|one| !is_rsa(*one)) {
            let made = SigningKey::generate(algorithm).unwrap();

            let (read, notes) =
                SigningKey::parse(made.write(created, signs_from).expose(), &[]).unwrap();

            assert_eq!((read.kid(), read.algorithm()), (made.kid(), algorithm));
            assert_eq!((notes.created, notes.signs_from), (Some(created), Some(signs_from)));
            let token = made.sign("at+jwt", &Claims::new()).unwrap();
            let (message, signature) = token.expose().rsplit_once('.').unwrap();
            assert!(read.public().verify(message.as_bytes(), signature), "{algorithm:?}");
        }
    }

    #[test]
    fn one_rsa_key_signs_with_each_rsa_algorithm_and_passes_its_self_test() {
        let text = SigningKey::generate(Algorithm::RS256).unwrap();
        let text = text.write(Timestamp::default(), Timestamp::default());
        for algorithm in Algorithm::ALL.iter().copied().filter(|one| is_rsa(*one)) {
            let line = format!("algorithm: {}", algorithm.as_str());
            let (key, _) =
                SigningKey::parse(&text.expose().replace("algorithm: RS256", &line), &[]).unwrap();

            key.self_test().unwrap();
        }
    }
}
