//! Signing keys of the provider, and how they are published.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;

/// A key pair with its name.
#[derive(Clone, Debug)]
pub struct IssuerKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub pem: String,
    public: Value,
}

impl IssuerKey {
    /// RSA keys are slow to make: the same name is the same key.
    pub fn rs256(kid: &str) -> Self {
        let pair = rsa_pair(kid);
        let der = pair.public_key_raw().to_vec();
        let (_, key) = RSAPublicKey::from_der(&der).unwrap();
        let number = |bytes: &[u8]| {
            let start = bytes.iter().position(|byte| *byte != 0).unwrap();
            URL_SAFE_NO_PAD.encode(&bytes[start..])
        };
        let public = json!({ "kty": "RSA", "n": number(key.modulus), "e": number(key.exponent) });
        Self { kid: kid.to_owned(), algorithm: Algorithm::RS256, pem: pair.serialize_pem(), public }
    }

    pub fn es256(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..65]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let public = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        Self { kid: kid.to_owned(), algorithm: Algorithm::ES256, pem: pair.serialize_pem(), public }
    }

    /// As the provider publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.public.clone();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(format!("{:?}", self.algorithm));
        jwk
    }

    /// Any header and payload, signed as they are.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = format!("{header}.{payload}");
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding(), self.algorithm);
        format!("{message}.{}", signature.unwrap())
    }

    pub fn encoding(&self) -> EncodingKey {
        match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(self.pem.as_bytes()).unwrap(),
            _ => EncodingKey::from_ec_pem(self.pem.as_bytes()).unwrap(),
        }
    }
}

/// The same name is the same pair for a whole process: tokens are told apart by their issuer too.
fn rsa_pair(kid: &str) -> KeyPair {
    static MADE: OnceLock<Mutex<HashMap<String, String>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap();
    let pem = made.entry(kid.to_owned()).or_insert_with(|| {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        pair.serialize_pem()
    });
    KeyPair::from_pem_and_sign_algo(pem, &PKCS_RSA_SHA256).unwrap()
}
