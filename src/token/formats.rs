//! Keys as text: JWK (RFC 7517) and PEM (RFC 7468), public and private.
//!
//! This file parses texts into `KeyParts`. It refuses a JWK that is not meant for signatures, and a
//! private key where a public one is expected. It never fetches anything and does not judge the
//! strength of a key; `VerifyingKey::bind` does that. `keyset` calls it for issuers' keys,
//! `signing` for our own.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING as P256, ECDSA_P384_SHA384_FIXED_SIGNING as P384, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::BadKey;
use super::verifying::{EllipticCurve, KeyParts};
use crate::algorithm::Algorithm;
use crate::secret::Secret;

/// Longest accepted key id in bytes, in keys and in the headers of tokens.
pub const MAX_KID: usize = 256;

/// A private key: its public half, and the private half as PKCS #8 (or the bytes of a secret).
pub(super) struct PrivateParts {
    pub(super) public: KeyParts,
    pub(super) material: Secret<Vec<u8>>,
}

/// The members of a JWK besides the key itself.
pub(super) struct JwkFacts {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
}

/// Reads the members that say what a JWK is for.
///
/// # Errors
/// A key that is not meant for signatures (`use`) or not for `operation` (`key_ops`, RFC 7517
/// §4.3), an unknown algorithm, and a key id that is empty or too long.
pub(super) fn jwk_facts(jwk: &Map<String, Value>, operation: &str) -> Result<JwkFacts, BadKey> {
    let text = |name: &str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(BadKey("`kid`, `use` and `alg` are strings")),
    };
    if text("use")?.is_some_and(|usage| usage != "sig") {
        return Err(BadKey("its `use` is not `sig`"));
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|name| name == operation) => {}
        Some(_) => return Err(BadKey("its `key_ops` do not include what it is needed for")),
    }
    let algorithm = match text("alg")? {
        None => None,
        Some(name) => Some(Algorithm::parse(name).ok_or(BadKey("its `alg` is not known here"))?),
    };
    let kid = text("kid")?.map(str::to_owned);
    if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID) {
        return Err(BadKey("its `kid` is empty or too long"));
    }
    Ok(JwkFacts { kid, algorithm })
}

/// The public key, or the secret, of a JWK.
///
/// # Errors
/// A private key, and a key that is malformed or of an unknown type. A private key is refused
/// because its owner published it by mistake: everybody who could read it can sign.
pub(super) fn public_jwk(jwk: &Map<String, Value>) -> Result<KeyParts, BadKey> {
    if jwk.contains_key("d") {
        return Err(BadKey("it is a private key, of which only the public half belongs here"));
    }
    jwk_parts(jwk)
}

/// The public members of a JWK, whether private members are present or not.
fn jwk_parts(jwk: &Map<String, Value>) -> Result<KeyParts, BadKey> {
    let curve = jwk.get("crv").and_then(Value::as_str);
    match (jwk.get("kty").and_then(Value::as_str), curve) {
        (Some("RSA"), _) => Ok(KeyParts::Rsa { n: member(jwk, "n")?, e: member(jwk, "e")? }),
        (Some("EC"), Some("P-256")) => ec_jwk(jwk, EllipticCurve::P256, 32),
        (Some("EC"), Some("P-384")) => ec_jwk(jwk, EllipticCurve::P384, 48),
        (Some("OKP"), Some("Ed25519")) => Ok(KeyParts::Ed { x: member(jwk, "x")? }),
        (Some("oct"), _) => Ok(KeyParts::Secret(Secret::new(member(jwk, "k")?))),
        _ => Err(BadKey("its `kty` or `crv` is not known here")),
    }
}

fn ec_jwk(jwk: &Map<String, Value>, curve: EllipticCurve, size: usize) -> Result<KeyParts, BadKey> {
    let x = member(jwk, "x")?;
    let y = member(jwk, "y")?;
    if x.len() != size || y.len() != size {
        return Err(BadKey("a coordinate's length is not the curve's"));
    }
    Ok(KeyParts::Ec { curve, point: [vec![4], x, y].concat() })
}

/// Decodes a member that is base64url without padding.
fn member(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, BadKey> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(BadKey("a member is missing"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| BadKey("a member is not base64url"))
}

/// The public key of a PEM file, which has a public key or a certificate.
///
/// # Errors
/// A private key, and text that is malformed or of an unknown type.
pub(super) fn public_pem(text: &str) -> Result<KeyParts, BadKey> {
    if PrivateKeyDer::from_pem_slice(text.as_bytes()).is_ok() {
        return Err(BadKey("it is a private key, of which only the public half belongs here"));
    }
    if let Ok(der) = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()) {
        let (_, info) = SubjectPublicKeyInfo::from_der(&der)
            .map_err(|_| BadKey("the public key is malformed"))?;
        return info_parts(&info);
    }
    let der = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| BadKey("it holds neither a `PUBLIC KEY` nor a `CERTIFICATE`"))?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|_| BadKey("the certificate is malformed"))?;
    info_parts(certificate.public_key())
}

/// The key in an X.509 `SubjectPublicKeyInfo` structure.
fn info_parts(info: &SubjectPublicKeyInfo<'_>) -> Result<KeyParts, BadKey> {
    use x509_parser::public_key::PublicKey;
    // 1.3.101.112 is Ed25519 (RFC 8410 §3). The X.509 library does not parse this type, so its
    // bytes are taken as they are.
    if info.algorithm.algorithm.to_id_string() == "1.3.101.112" {
        return Ok(KeyParts::Ed { x: info.subject_public_key.data.to_vec() });
    }
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => Ok(KeyParts::Rsa {
            n: without_zeroes(key.modulus).to_vec(),
            e: without_zeroes(key.exponent).to_vec(),
        }),
        Ok(PublicKey::EC(point)) => {
            let named = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
            let curve = match named.map(|name| name.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => EllipticCurve::P256,
                Some("1.3.132.0.34") => EllipticCurve::P384,
                _ => return Err(BadKey("its curve is not known here")),
            };
            Ok(KeyParts::Ec { curve, point: point.data().to_vec() })
        }
        _ => Err(BadKey("its type is not known here")),
    }
}

/// DER integers may begin with a zero byte that marks them as positive. `KeyParts` has none.
fn without_zeroes(number: &[u8]) -> &[u8] {
    let zeroes = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeroes..).unwrap_or_default()
}

/// The private key of a PEM file: PKCS #8, PKCS #1 or SEC 1, not encrypted.
///
/// # Errors
/// Text without such a key, and a key that the cryptographic library refuses.
pub(super) fn private_pem(text: &str) -> Result<PrivateParts, BadKey> {
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| BadKey("it holds no private key in PEM (encrypted ones are not read)"))?;
    match &der {
        PrivateKeyDer::Pkcs1(der) => {
            let pair = RsaKeyPair::from_der(der.secret_pkcs1_der());
            private_rsa(&pair.map_err(|_| BadKey("the RSA key is malformed or weak"))?)
        }
        PrivateKeyDer::Sec1(der) => private_ec(der.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(der) => private_pkcs8(der.secret_pkcs8_der()),
        _ => Err(BadKey("its format is not known here")),
    }
}

/// A private key in PKCS #8 of any supported type.
pub(super) fn private_pkcs8(der: &[u8]) -> Result<PrivateParts, BadKey> {
    // The structure names its type, and each parser accepts only its own. Trying them in turn is
    // therefore unambiguous.
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
        return private_ed(&pair);
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
        return private_rsa(&pair);
    }
    private_ec(der)
}

/// The private key of a JWK.
///
/// # Errors
/// A missing private member, and parts that do not belong together.
pub(super) fn private_jwk(jwk: &Map<String, Value>) -> Result<PrivateParts, BadKey> {
    let public = jwk_parts(jwk)?;
    match &public {
        KeyParts::Secret(secret) => {
            let material = secret.clone();
            Ok(PrivateParts { public, material })
        }
        KeyParts::Ec { curve, point } => {
            // The library checks that private and public half belong together. If it did not, the
            // gateway would publish a key that verifies none of its tokens. Every login would then
            // succeed and every following request fail.
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                on(*curve),
                &member(jwk, "d")?,
                point,
            )
            .map_err(|_| BadKey("the EC key is malformed"))?;
            ec_pair(*curve, &pair)
        }
        KeyParts::Ed { x } => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&member(jwk, "d")?, x)
                .map_err(|_| BadKey("the Ed25519 key is malformed"))?;
            private_ed(&pair)
        }
        KeyParts::Rsa { n, e } => {
            let parts = KeyPairComponents {
                public_key: RsaPublicKeyComponents { n: n.clone(), e: e.clone() },
                d: member(jwk, "d")?,
                p: member(jwk, "p")?,
                q: member(jwk, "q")?,
                dP: member(jwk, "dp")?,
                dQ: member(jwk, "dq")?,
                qInv: member(jwk, "qi")?,
            };
            let pair = RsaKeyPair::from_components(&parts);
            private_rsa(&pair.map_err(|_| BadKey("the RSA key is malformed or weak"))?)
        }
    }
}

/// The signing algorithm of a curve.
fn on(curve: EllipticCurve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        EllipticCurve::P256 => &P256,
        EllipticCurve::P384 => &P384,
    }
}

/// An EC key of either supported curve.
fn private_ec(der: &[u8]) -> Result<PrivateParts, BadKey> {
    for curve in [EllipticCurve::P256, EllipticCurve::P384] {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(on(curve), der) {
            return ec_pair(curve, &pair);
        }
    }
    Err(BadKey("it is malformed, RSA of fewer than 2048 bits, or of a type not known here"))
}

fn ec_pair(curve: EllipticCurve, pair: &EcdsaKeyPair) -> Result<PrivateParts, BadKey> {
    let der = pair.to_pkcs8v1().map_err(|_| NOT_WRITTEN)?;
    let point = pair.public_key().as_ref().to_vec();
    Ok(PrivateParts {
        public: KeyParts::Ec { curve, point },
        material: Secret::new(der.as_ref().to_vec()),
    })
}

fn private_ed(pair: &Ed25519KeyPair) -> Result<PrivateParts, BadKey> {
    let der = pair.to_pkcs8v1().map_err(|_| NOT_WRITTEN)?;
    Ok(PrivateParts {
        public: KeyParts::Ed { x: pair.public_key().as_ref().to_vec() },
        material: Secret::new(der.as_ref().to_vec()),
    })
}

/// The parts of an RSA key. The library refuses keys of fewer than 2048 bits when it parses them.
pub(super) fn private_rsa(pair: &RsaKeyPair) -> Result<PrivateParts, BadKey> {
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let der =
        AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(pair).map_err(|_| NOT_WRITTEN)?;
    Ok(PrivateParts {
        public: KeyParts::Rsa { n: public.n, e: public.e },
        material: Secret::new(der.as_ref().to_vec()),
    })
}

const NOT_WRITTEN: BadKey = BadKey("the key cannot be written as PKCS #8");
