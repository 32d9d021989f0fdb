//! A verifying key: one public key or shared secret, bound to one algorithm.
//!
//! The formats (JWK, PEM) are parsed into `KeyParts`. `VerifyingKey::bind` checks that the parts
//! are strong enough and of the algorithm's type. From then on the key's algorithm decides and
//! never the token's: an RSA public key cannot be misused as an HMAC secret (RFC 8725 §3.1).
//! `keyset` and `signing` create these keys.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value, json};

use super::BadKey;
use crate::algorithm::Algorithm;
use crate::secret::{Digest, Secret};

/// The length of an RSA modulus in bytes: at least 2048 bits (RFC 7518 §3.3), at most 8192, because
/// longer keys make every verification slow.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The supported elliptic curves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EllipticCurve {
    P256,
    P384,
}

/// A parsed key that is not bound to an algorithm yet.
#[derive(Clone)]
pub(super) enum KeyParts {
    /// Modulus and exponent, big-endian without leading zeroes.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// An uncompressed point: the byte 4, then x and y.
    Ec { curve: EllipticCurve, point: Vec<u8> },
    /// An Ed25519 point.
    Ed { x: Vec<u8> },
    /// A shared secret.
    Secret(Secret<Vec<u8>>),
}

impl KeyParts {
    /// True if the algorithm works with this type of key.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => is_rsa(algorithm),
            Self::Ec { curve: EllipticCurve::P256, .. } => algorithm == Algorithm::ES256,
            Self::Ec { curve: EllipticCurve::P384, .. } => algorithm == Algorithm::ES384,
            Self::Ed { .. } => algorithm == Algorithm::EdDSA,
            Self::Secret(_) => algorithm.is_symmetric(),
        }
    }

    /// The public members of a JWK (RFC 7517 §4); empty for a secret.
    fn jwk(&self) -> Map<String, Value> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let value = match self {
            Self::Rsa { n, e } => json!({"e": text(e), "kty": "RSA", "n": text(n)}),
            Self::Ec { curve, point } => {
                let name = if *curve == EllipticCurve::P256 { "P-256" } else { "P-384" };
                let (x, y) = halves(point);
                json!({"crv": name, "kty": "EC", "x": text(x), "y": text(y)})
            }
            Self::Ed { x } => json!({"crv": "Ed25519", "kty": "OKP", "x": text(x)}),
            Self::Secret(_) => Value::Null,
        };
        match value {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// An id that is derived from the key: for a public key its thumbprint (RFC 7638). The
    /// thumbprint of a secret would be a hash of the secret (RFC 7638 §7), with which guesses could
    /// be checked. A secret gets a keyed digest instead.
    pub(super) fn kid(&self) -> String {
        if let Self::Secret(secret) = self {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.expose());
            let tag = aws_lc_rs::hmac::sign(&key, b"key id");
            return Digest::of(tag.as_ref()).base64url();
        }
        // RFC 7638 §3.3 requires the members in lexicographic order without white space. `jwk`
        // builds them in this order.
        Digest::of(Value::Object(self.jwk()).to_string().as_bytes()).base64url()
    }
}

/// True if the algorithm works with RSA keys.
pub(super) fn is_rsa(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
    )
}

/// The coordinates x and y of an uncompressed point.
fn halves(point: &[u8]) -> (&[u8], &[u8]) {
    let coordinates = point.get(1..).unwrap_or_default();
    coordinates.split_at(coordinates.len() / 2)
}

/// A key that verifies signatures of exactly one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: Option<Arc<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
    signature_len: usize,
    /// The public JWK members; empty for a secret, which is never published.
    jwk: Map<String, Value>,
}

impl VerifyingKey {
    /// Binds a key to an algorithm. With `weak_secret`, which only takeover issuers have, a secret
    /// may be shorter than the algorithm's hash.
    ///
    /// # Errors
    /// A key of another type, a malformed or weak key, and a point that is not on its curve.
    pub(super) fn bind(
        parts: &KeyParts,
        algorithm: Algorithm,
        kid: Option<Arc<str>>,
        weak_secret: bool,
    ) -> Result<Self, BadKey> {
        if !parts.fits(algorithm) {
            return Err(BadKey("the key's type is not the algorithm's"));
        }
        let (key, signature_len) = match parts {
            KeyParts::Rsa { n, e } => (rsa(n, e)?, n.len()),
            KeyParts::Ec { curve, point } => (ec(*curve, point)?, point.len() - 1),
            KeyParts::Ed { x } if x.len() == 32 => (DecodingKey::from_ed_der(x), 64),
            KeyParts::Ed { .. } => return Err(BadKey("an Ed25519 key has 32 bytes")),
            KeyParts::Secret(secret) => {
                let least = if weak_secret { 1 } else { algorithm.min_secret() };
                if secret.expose().len() < least {
                    return Err(BadKey("the secret is shorter than the algorithm's hash"));
                }
                let key = DecodingKey::from_secret(secret.expose());
                let key = key.map_err(|_| BadKey("the secret is empty"))?;
                (key, algorithm.min_secret())
            }
        };
        Ok(Self { kid, algorithm, key, signature_len, jwk: parts.jwk() })
    }

    /// The key's id, if it has one.
    pub fn kid(&self) -> Option<&Arc<str>> {
        self.kid.as_ref()
    }

    /// The only algorithm that the key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// True if `signature` (base64url) is as long as signatures of this key are.
    pub fn fits_length(&self, signature: &str) -> bool {
        signature.len() == encoded_len(self.signature_len)
    }

    /// True if `signature` (base64url) is this key's signature of `message`.
    pub fn verify(&self, message: &[u8], signature: &str) -> bool {
        // The length is checked before the cryptographic library sees the bytes. A signature of the
        // wrong length cannot be valid, and faults in libraries have come from over-long ones.
        self.fits_length(signature)
            && jsonwebtoken::crypto::verify(
                signature,
                message,
                &self.key,
                to_jsonwebtoken(self.algorithm),
            )
            .unwrap_or(false)
    }

    /// True if the other key is the same under the same id and algorithm. Two secrets are never
    /// considered the same, because nothing of a secret is stored for the comparison.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.published().is_some_and(|published| Some(published) == other.published())
    }

    /// The published form of the key; `None` for a secret.
    pub(super) fn published(&self) -> Option<Value> {
        if self.jwk.is_empty() {
            return None;
        }
        let mut members = self.jwk.clone();
        if let Some(kid) = &self.kid {
            members.insert("kid".to_owned(), Value::from(kid.as_ref()));
        }
        members.insert("use".to_owned(), Value::from("sig"));
        members.insert("alg".to_owned(), Value::from(self.algorithm.as_str()));
        Some(Value::Object(members))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key {:?}", self.algorithm.as_str(), self.kid)
    }
}

/// Checks an RSA key and prepares it.
///
/// # Errors
/// A modulus of the wrong length or form, and an exponent with which signatures could be forged.
fn rsa(n: &[u8], e: &[u8]) -> Result<DecodingKey, BadKey> {
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if n.first().is_none_or(|byte| *byte == 0) || !odd(n) {
        return Err(BadKey("the RSA modulus is malformed"));
    }
    let bits_missing = n.first().map_or(8, |byte| byte.leading_zeros());
    if !RSA_BYTES.contains(&n.len()) || (n.len() == *RSA_BYTES.start() && bits_missing > 0) {
        return Err(BadKey("an RSA key has from 2048 to 8192 bits"));
    }
    // The exponent 1 makes every message its own signature, so anybody could sign.
    if e.len() > 8 || e.first().is_none_or(|byte| *byte == 0) || !odd(e) || e == [1] {
        return Err(BadKey("the RSA exponent is malformed"));
    }
    Ok(DecodingKey::from_rsa_raw_components(n, e))
}

/// Checks that a point is on its curve and prepares the key. A point that is not on the curve
/// allows attacks on the arithmetic (invalid curve attacks).
fn ec(curve: EllipticCurve, point: &[u8]) -> Result<DecodingKey, BadKey> {
    let parsed = match curve {
        EllipticCurve::P256 if point.len() == 65 => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).parse()
        }
        EllipticCurve::P384 if point.len() == 97 => {
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).parse()
        }
        _ => return Err(BadKey("the point's length is not the curve's")),
    };
    parsed.map_err(|_| BadKey("the point is not on the curve"))?;
    Ok(DecodingKey::from_ec_der(point))
}

/// The length of `bytes` bytes in unpadded base64.
fn encoded_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// The algorithm as the signature library names it.
pub(super) fn to_jsonwebtoken(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm as Wire;
    match algorithm {
        Algorithm::HS256 => Wire::HS256,
        Algorithm::HS384 => Wire::HS384,
        Algorithm::HS512 => Wire::HS512,
        Algorithm::RS256 => Wire::RS256,
        Algorithm::RS384 => Wire::RS384,
        Algorithm::RS512 => Wire::RS512,
        Algorithm::PS256 => Wire::PS256,
        Algorithm::PS384 => Wire::PS384,
        Algorithm::PS512 => Wire::PS512,
        Algorithm::ES256 => Wire::ES256,
        Algorithm::ES384 => Wire::ES384,
        Algorithm::EdDSA => Wire::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let parts = KeyParts::Rsa { n: URL_SAFE_NO_PAD.decode(n).unwrap(), e: vec![1, 0, 1] };

        assert_eq!(parts.kid(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        let strong = vec![0xff; 256];
        let short = [vec![0x7f; 1], vec![0xff; 255]].concat();
        let rsa = |n: &[u8], e: &[u8]| KeyParts::Rsa { n: n.to_vec(), e: e.to_vec() };
        for (parts, algorithm, why) in [
            (rsa(&strong[1..], &[3]), Algorithm::RS256, "2040 bits"),
            (rsa(&short, &[3]), Algorithm::PS256, "2047 bits"),
            (rsa(&strong, &[1]), Algorithm::RS256, "anyone can sign"),
            (rsa(&strong, &[2]), Algorithm::RS256, "even exponent"),
            (rsa(&strong, &[1, 0, 1]), Algorithm::HS256, "a public key is no secret"),
            (rsa(&strong, &[1, 0, 1]), Algorithm::ES256, "another family"),
            (
                KeyParts::Ec { curve: EllipticCurve::P256, point: [vec![4], vec![1; 64]].concat() },
                Algorithm::ES256,
                "not on the curve",
            ),
            (KeyParts::Ed { x: vec![1; 31] }, Algorithm::EdDSA, "a byte short"),
            (KeyParts::Secret(Secret::new(vec![1; 31])), Algorithm::HS256, "shorter than its hash"),
            (KeyParts::Secret(Secret::new(vec![1; 63])), Algorithm::HS512, "shorter than its hash"),
            (KeyParts::Secret(Secret::new(vec![])), Algorithm::HS256, "empty"),
        ] {
            assert!(VerifyingKey::bind(&parts, algorithm, None, false).is_err(), "{why}");
        }
    }
}
