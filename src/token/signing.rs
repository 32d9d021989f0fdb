//! One signing key: creation, parsing, writing, and signatures.
//!
//! The private half leaves this file only as the text that `folder` stores. `Debug` shows the
//! algorithm and the id only, so that a log line cannot reveal the key. `ring` is the caller.

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
use super::verifying::{KeyParts, VerifyingKey, to_jsonwebtoken};
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

/// The remarks in a key file besides the key itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeyNotes {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) created: Option<Timestamp>,
    pub(super) signs_from: Option<Timestamp>,
}

impl SigningKey {
    /// Creates a key with the randomness of the cryptographic library.
    ///
    /// # Errors
    /// The library fails.
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Crypto(algorithm);
        let parts = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                // The buffer on the stack is overwritten after use, so that no copy of the secret
                // stays in memory.
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

    /// Binds a key to one algorithm. Without an id it gets one that is derived from the key. The
    /// derived id is the same in every process, so that several gateways with one folder agree on
    /// it.
    pub(super) fn bind(
        parts: PrivateParts,
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Result<Self, BadKey> {
        let kid: Arc<str> = kid.unwrap_or_else(|| parts.public.kid()).into();
        let public = VerifyingKey::bind(&parts.public, algorithm, Some(kid.clone()), false)?;
        let material = parts.material.expose();
        // The signature library accepts RSA keys as PKCS #1 only. It unwraps PKCS #8 only from PEM,
        // hence the detour for RSA.
        let encoding = match &parts.public {
            KeyParts::Secret(_) => {
                EncodingKey::from_secret(material).map_err(|_| BadKey("the secret is empty"))?
            }
            KeyParts::Ec { .. } => EncodingKey::from_ec_der(material),
            KeyParts::Ed { .. } => EncodingKey::from_ed_der(material),
            KeyParts::Rsa { .. } => EncodingKey::from_rsa_pem(pem(material).expose().as_bytes())
                .map_err(|_| BadKey("the RSA key is malformed"))?,
        };
        Ok(Self { kid, algorithm, encoding, material: parts.material, public: Arc::new(public) })
    }

    /// Parses a PEM or a JWK. If the text does not name the algorithm, the first of `preferred`
    /// that fits the key is used, else the usual algorithm of the key's type.
    ///
    /// # Errors
    /// Text in neither format, and a key that no algorithm fits or that is too weak.
    pub(super) fn parse(text: &str, preferred: &[Algorithm]) -> Result<(Self, KeyNotes), BadKey> {
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

    /// The text of the key file: PEM with remarks before it (RFC 7468 §2 allows such text), or a
    /// JWK for a shared secret. It includes the times, because the rotation depends on them.
    pub(super) fn write(&self, created: Timestamp, signs_from: Timestamp) -> SecretString {
        let kid = &self.kid;
        let algorithm = self.algorithm.as_str();
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

    /// Signs a token in compact form (RFC 7515 §7.1).
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub(super) fn sign(&self, typ: &str, claims: &Claims) -> Result<SecretString, KeyError> {
        // `kid` and `alg` are always present, so that a verifier never has to guess the key.
        let header = json!({"typ": typ, "alg": self.algorithm.as_str(), "kid": self.kid.as_ref()});
        self.sign_under(&header, claims)
    }

    /// Signs a token with this header, which has to name the key's algorithm.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub(super) fn sign_under(
        &self,
        header: &Value,
        claims: &Claims,
    ) -> Result<SecretString, KeyError> {
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let claims = serde_json::to_string(claims).map_err(|_| KeyError::Crypto(self.algorithm))?;
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature = jsonwebtoken::crypto::sign(
            token.as_bytes(),
            &self.encoding,
            to_jsonwebtoken(self.algorithm),
        )
        .map_err(|_| KeyError::Crypto(self.algorithm))?;
        token.push('.');
        token.push_str(&signature);
        Ok(Secret::new(token))
    }

    /// Checks that the key verifies its own signature and refuses a signature of another message. A
    /// key with mismatched halves is found here and not by the first client.
    pub(super) fn self_test(&self) -> Result<(), KeyError> {
        let token = self.sign("self-test", &Claims::new())?;
        let sound = token.expose().rsplit_once('.').is_some_and(|(message, signature)| {
            self.public.verify(message.as_bytes(), signature)
                && !self.public.verify(b"another message", signature)
        });
        let kid = self.kid.to_string();
        let algorithm = self.algorithm;
        if sound { Ok(()) } else { Err(KeyError::SelfTest { kid, algorithm }) }
    }

    /// The key's id.
    pub(super) fn kid(&self) -> &Arc<str> {
        &self.kid
    }

    /// The one algorithm of the key.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, which verifies.
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

/// A PKCS #8 structure as PEM, in lines of 64 characters (RFC 7468 §3).
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
    // The encoded text is the key, too; its buffer is overwritten before it is freed.
    encoded.zeroize();
    Secret::new(text)
}

/// The remarks in a JWK.
fn jwk_notes(jwk: &Map<String, Value>) -> Result<KeyNotes, BadKey> {
    let facts = formats::jwk_facts(jwk, "sign")?;
    let at = |name: &str| jwk.get(name).and_then(Value::as_u64).map(Timestamp::from_secs);
    Ok(KeyNotes {
        kid: facts.kid,
        algorithm: facts.algorithm,
        created: at("created"),
        signs_from: at("signs_from"),
    })
}

/// The remarks before a PEM block. Unknown lines are skipped: tools such as OpenSSL write their
/// own. A file that the gateway did not write may therefore lack every remark; its name and its
/// modification time then stand in for them.
fn pem_notes(text: &str) -> Result<KeyNotes, BadKey> {
    let mut notes = KeyNotes::default();
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
        let created = Timestamp::from_secs(5);
        let signs_from = Timestamp::from_secs(9);
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
