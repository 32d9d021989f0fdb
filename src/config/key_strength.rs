//! Checks whether an external issuer's keys can be used with its algorithms.
//!
//! This is best effort, and done before the first token arrives. Keys that are too weak (RFC 7518,
//! section 3.3: RSA below 2048 bits) or of a kind that no algorithm uses are refused here. Anything
//! that cannot be decided is left to the verification of tokens, which binds each key to one
//! algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use serde_json::Value;
use x509_parser::prelude::{FromDer, Pem, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::{PublicKey, RSAPublicKey};

use crate::algorithm::Algorithm;

/// The least size of an RSA key (RFC 7518, sections 3.3 and 3.5).
const MIN_RSA_BITS: usize = 2048;

/// Checks the text of a PEM file: a public key, or a certificate whose public key is used. The
/// error says what is wrong with it, to follow the file's name. Only the first section of the file
/// is looked at.
pub(super) fn check_pem(text: &str, algorithms: &[Algorithm]) -> Result<(), String> {
    let none = || "names a file without a public key in PEM form".to_owned();
    let unreadable = || "names a file whose key cannot be read".to_owned();
    let pem = Pem::iter_from_buffer(text.as_bytes()).flatten().next().ok_or_else(none)?;
    let der = pem.contents.as_slice();
    match pem.label.as_str() {
        "PUBLIC KEY" => {
            let (_, key) = SubjectPublicKeyInfo::from_der(der).map_err(|_| unreadable())?;
            check_public(&key, algorithms)
        }
        "CERTIFICATE" => {
            let (_, certificate) = X509Certificate::from_der(der).map_err(|_| unreadable())?;
            check_public(certificate.public_key(), algorithms)
        }
        "RSA PUBLIC KEY" => {
            let (_, key) = RSAPublicKey::from_der(der).map_err(|_| unreadable())?;
            check_rsa(key.modulus, algorithms)
        }
        // A private key in the gateway's hands would be a second place from which it can be stolen,
        // and verification does not need it. The issuer should learn that its private key has
        // been given away.
        label if label.ends_with("PRIVATE KEY") => {
            Err("names a private key: only the issuer may have it, give its public key".to_owned())
        }
        _ => Err(none()),
    }
}

fn check_public(key: &SubjectPublicKeyInfo<'_>, algorithms: &[Algorithm]) -> Result<(), String> {
    use Algorithm::{ES256, ES384, EdDSA};
    if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
        return check_rsa(rsa.modulus, algorithms);
    }
    let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let curve = curve.map(|oid| oid.to_id_string());
    // The named curves of RFC 5480, section 2.1.1.1, and Ed25519 of RFC 8410, section 3.
    let (name, fits) = match (key.algorithm.algorithm.to_id_string().as_str(), curve.as_deref()) {
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => ("P-256", ES256),
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => ("P-384", ES384),
        ("1.3.101.112", _) => ("Ed25519", EdDSA),
        _ => return Err("names a key of a kind that none of our algorithms uses".to_owned()),
    };
    if algorithms.contains(&fits) {
        Ok(())
    } else {
        Err(format!("names a key on {name}, which is for {}", fits.as_str()))
    }
}

/// Checks an RSA key's size, and that an RSA algorithm is among those of the issuer.
fn check_rsa(modulus: &[u8], algorithms: &[Algorithm]) -> Result<(), String> {
    // The size is the position of the highest bit that is set. Encodings may have zero bytes before
    // it.
    let significant = modulus.iter().skip_while(|byte| **byte == 0);
    let bits = significant.clone().count() * 8
        - significant.clone().next().map_or(0, |first| first.leading_zeros() as usize);
    if bits < MIN_RSA_BITS {
        return Err(format!("names an RSA key of {bits} bits: at least {MIN_RSA_BITS} are needed"));
    }
    let is_rsa = |algorithm: &Algorithm| {
        let name = algorithm.as_str();
        name.starts_with("RS") || name.starts_with("PS")
    };
    if algorithms.iter().any(is_rsa) {
        Ok(())
    } else {
        Err("names an RSA key, which is for RS256 to PS512".to_owned())
    }
}

/// Checks the text of a JWKS file (RFC 7517, section 5). `weak` permits HMAC secrets that are
/// shorter than their hash. The error names the number of the faulty key. Every key of the set is
/// checked, because a token may name any of them.
pub(super) fn check_jwks(text: &str, algorithms: &[Algorithm], weak: bool) -> Result<(), String> {
    let set: Value = serde_json::from_str(text)
        .map_err(|error| format!("names a file that is no JSON: {error}"))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("names a file without a list of `keys` (RFC 7517 §5)")?;
    if keys.is_empty() {
        return Err("names a key set without keys".to_owned());
    }
    for (number, key) in keys.iter().enumerate() {
        check_jwk(key, algorithms, weak).map_err(|fault| format!("keys[{number}] {fault}"))?;
    }
    Ok(())
}

fn check_jwk(key: &Value, algorithms: &[Algorithm], weak: bool) -> Result<(), String> {
    let member = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| member(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match member("kty") {
        Some("RSA") => {
            let modulus = bytes("n").ok_or("has no `n` in base64url")?;
            // A key set may hold keys of several algorithms. Only the strength is checked here;
            // verification picks a key by its algorithm. An issuer may publish keys for algorithms
            // that are not accepted here, and that is no fault.
            check_rsa(&modulus, Algorithm::ALL)
        }
        Some("oct") => {
            let secret = bytes("k").ok_or("has no `k` in base64url")?;
            if weak { Ok(()) } else { check_secret(secret.len(), algorithms) }
        }
        Some("EC" | "OKP") => match bytes("x") {
            Some(_) => Ok(()),
            None => Err("has no `x` in base64url".to_owned()),
        },
        _ => Err("has no `kty` of RSA, EC, OKP or oct".to_owned()),
    }
}

/// Parses the address of an issuer's document or endpoint. Plain HTTP is refused unless it was
/// allowed: whoever can change the answer on its way can sign tokens with keys of their own. The
/// error says what is wrong with the address, without quoting it.
pub(super) fn check_url(text: &str, allow_http: bool) -> Result<Uri, String> {
    // A user and password in the address would appear in logs and messages; a fragment is never
    // sent.
    if text.contains(['@', '#']) {
        return Err("must be without a user, password or fragment".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| "is no URL".to_owned())?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    match uri.scheme_str() {
        Some("https") if has_host => Ok(uri),
        Some("http") if has_host && allow_http => Ok(uri),
        Some("http") => Err("must be https: allow_http = true accepts the risk".to_owned()),
        _ => Err("must be an https URL".to_owned()),
    }
}

/// Checks the length of an HMAC secret: at least as long as the output of the hash (RFC 7518,
/// section 3.2). With several algorithms the one with the longest hash decides, since the secret is
/// used for all of them.
pub(super) fn check_secret(length: usize, algorithms: &[Algorithm]) -> Result<(), String> {
    let longest = algorithms.iter().max_by_key(|algorithm| algorithm.min_secret());
    match longest {
        Some(algorithm) if length < algorithm.min_secret() => Err(format!(
            "has {length} bytes: {} needs at least {}",
            algorithm.as_str(),
            algorithm.min_secret()
        )),
        _ => Ok(()),
    }
}
