//! Keys as text: JWK (RFC 7517) and PEM (RFC 7468), public and private.
//!
//! Reads what a file says into `KeyParts`. A JWK that is not meant for signatures, or that is a
//! private key where a public one is expected, is refused. Nothing is ever fetched.

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
use super::verifying::{Curve, KeyParts};
use crate::algorithm::Algorithm;
use crate::secret::Secret;

/// Longest key id that is taken, here and in a token's header.
pub const MAX_KID: usize = 256;

/// A private key: what it publishes, and itself as PKCS #8 (or the secret's bytes).
pub(super) struct PrivateParts {
    pub(super) public: KeyParts,
    pub(super) material: Secret<Vec<u8>>,
}

/// What a JWK says beside the key.
pub(super) struct JwkFacts {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
}

/// The members that say what a JWK is for; refuses one that is not for signatures.
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

/// The public key (or secret) of a JWK.
pub(super) fn public_jwk(jwk: &Map<String, Value>) -> Result<KeyParts, BadKey> {
    if jwk.contains_key("d") {
        return Err(BadKey("it is a private key, of which only the public half belongs here"));
    }
    jwk_parts(jwk)
}

fn jwk_parts(jwk: &Map<String, Value>) -> Result<KeyParts, BadKey> {
    let curve = jwk.get("crv").and_then(Value::as_str);
    match (jwk.get("kty").and_then(Value::as_str), curve) {
        (Some("RSA"), _) => Ok(KeyParts::Rsa { n: member(jwk, "n")?, e: member(jwk, "e")? }),
        (Some("EC"), Some("P-256")) => ec_jwk(jwk, Curve::P256, 32),
        (Some("EC"), Some("P-384")) => ec_jwk(jwk, Curve::P384, 48),
        (Some("OKP"), Some("Ed25519")) => Ok(KeyParts::Ed { x: member(jwk, "x")? }),
        (Some("oct"), _) => Ok(KeyParts::Secret(Secret::new(member(jwk, "k")?))),
        _ => Err(BadKey("its `kty` or `crv` is not known here")),
    }
}

fn ec_jwk(jwk: &Map<String, Value>, curve: Curve, size: usize) -> Result<KeyParts, BadKey> {
    let (x, y) = (member(jwk, "x")?, member(jwk, "y")?);
    if x.len() != size || y.len() != size {
        return Err(BadKey("a coordinate's length is not the curve's"));
    }
    Ok(KeyParts::Ec { curve, point: [vec![4], x, y].concat() })
}

fn member(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, BadKey> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(BadKey("a member is missing"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| BadKey("a member is not base64url"))
}

/// The public key of a PEM file: a public key, or a certificate that holds one.
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

fn info_parts(info: &SubjectPublicKeyInfo<'_>) -> Result<KeyParts, BadKey> {
    use x509_parser::public_key::PublicKey;
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
                Some("1.2.840.10045.3.1.7") => Curve::P256,
                Some("1.3.132.0.34") => Curve::P384,
                _ => return Err(BadKey("its curve is not known here")),
            };
            Ok(KeyParts::Ec { curve, point: point.data().to_vec() })
        }
        _ => Err(BadKey("its type is not known here")),
    }
}

fn without_zeroes(number: &[u8]) -> &[u8] {
    let zeroes = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeroes..).unwrap_or_default()
}

/// The private key of a PEM file: PKCS #8, PKCS #1 or SEC 1, not encrypted.
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

/// A private key in PKCS #8, of whichever type it is.
pub(super) fn private_pkcs8(der: &[u8]) -> Result<PrivateParts, BadKey> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
        return private_ed(&pair);
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
        return private_rsa(&pair);
    }
    private_ec(der)
}

/// A private key as a JWK.
pub(super) fn private_jwk(jwk: &Map<String, Value>) -> Result<PrivateParts, BadKey> {
    let public = jwk_parts(jwk)?;
    match &public {
        KeyParts::Secret(secret) => {
            let material = secret.clone();
            Ok(PrivateParts { public, material })
        }
        KeyParts::Ec { curve, point } => {
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

fn on(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &P256,
        Curve::P384 => &P384,
    }
}

fn private_ec(der: &[u8]) -> Result<PrivateParts, BadKey> {
    for curve in [Curve::P256, Curve::P384] {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(on(curve), der) {
            return ec_pair(curve, &pair);
        }
    }
    Err(BadKey("it is malformed, RSA of fewer than 2048 bits, or of a type not known here"))
}

fn ec_pair(curve: Curve, pair: &EcdsaKeyPair) -> Result<PrivateParts, BadKey> {
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
