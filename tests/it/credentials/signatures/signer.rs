//! Programs that sign their requests, and the requests that they make.

use std::path::Path;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use crate::harness::client::TestRequest;
use crate::harness::gateway::START;
use crate::harness::{Client, Reply};

/// A program with a key of its own.
pub struct Signer {
    pub id: String,
    key: SignerKey,
}

enum SignerKey {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(hmac::Algorithm, String),
}

impl Signer {
    fn new(id: &str, key: SignerKey) -> Self {
        Self { id: id.to_owned(), key }
    }

    pub fn rsa(id: &str) -> Self {
        Self::rsa_by(id, &RSA_PKCS1_SHA256)
    }

    pub fn pss(id: &str) -> Self {
        Self::rsa_by(id, &RSA_PSS_SHA256)
    }

    fn rsa_by(id: &str, encoding: &'static dyn RsaEncoding) -> Self {
        Self::new(id, SignerKey::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), encoding))
    }

    pub fn p256(id: &str) -> Self {
        Self::ecdsa(id, &ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    pub fn p256_fixed(id: &str) -> Self {
        Self::ecdsa(id, &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub fn p384(id: &str) -> Self {
        Self::ecdsa(id, &ECDSA_P384_SHA384_ASN1_SIGNING)
    }

    fn ecdsa(id: &str, algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self::new(id, SignerKey::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap()))
    }

    pub fn ed25519(id: &str) -> Self {
        Self::new(id, SignerKey::Ed25519(Ed25519KeyPair::generate().unwrap()))
    }

    pub fn hs256(id: &str) -> Self {
        Self::new(id, SignerKey::Hmac(hmac::HMAC_SHA256, format!("{id:x<32}")))
    }

    pub fn hs512(id: &str) -> Self {
        Self::new(id, SignerKey::Hmac(hmac::HMAC_SHA512, format!("{id:x<64}")))
    }

    /// The section of the key, with further lines. The key is written to `folder`.
    pub fn section(&self, folder: &Path, lines: &str) -> String {
        let path = folder.join(format!("{}.key", self.id));
        let proof = match &self.key {
            SignerKey::Hmac(_, secret) => {
                std::fs::write(&path, secret).unwrap();
                format!("secret = {{ file = {path:?} }}\naccept = [\"readable_secret\"]")
            }
            key => {
                let der = STANDARD.encode(public_der(key));
                let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
                std::fs::write(&path, pem).unwrap();
                format!("public_key_file = {path:?}")
            }
        };
        format!("[[api_key]]\nid = \"{}\"\n{proof}\n{lines}\n", self.id)
    }

    /// The bytes of a signature.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            SignerKey::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
            SignerKey::Ecdsa(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            SignerKey::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            SignerKey::Hmac(algorithm, secret) => {
                let key = hmac::Key::new(*algorithm, secret.as_bytes());
                hmac::sign(&key, message).as_ref().to_vec()
            }
        }
    }
}

fn public_der(key: &SignerKey) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = match key {
        SignerKey::Rsa(key, _) => key.public_key().as_der().unwrap(),
        SignerKey::Ecdsa(key) => key.public_key().as_der().unwrap(),
        SignerKey::Ed25519(key) => key.public_key().as_der().unwrap(),
        SignerKey::Hmac(..) => panic!("a secret is not public"),
    };
    der.as_ref().to_vec()
}

/// A request as it is signed: `$timestamp$method$uri$body`, with the time in milliseconds.
#[derive(Clone)]
pub struct SignedCall {
    pub method: Method,
    pub target: &'static str,
    pub body: Vec<u8>,
    pub time: u64,
}

impl SignedCall {
    pub fn get(target: &'static str) -> Self {
        Self { method: Method::GET, target, body: Vec::new(), time: START.millis() }
    }

    pub fn post(target: &'static str, body: &[u8]) -> Self {
        Self { method: Method::POST, body: body.to_vec(), ..Self::get(target) }
    }

    /// The same at another time.
    pub fn after(&self, millis: i64) -> Self {
        Self { time: self.time.checked_add_signed(millis).unwrap(), ..self.clone() }
    }

    pub fn message(&self) -> Vec<u8> {
        let head = format!("{}{}{}", self.time, self.method, self.target);
        [head.as_bytes(), &self.body].concat()
    }

    /// The signature in base64.
    pub fn signature(&self, signer: &Signer) -> String {
        STANDARD.encode(signer.sign(&self.message()))
    }

    /// The request without any part of a signature.
    pub fn bare<'c>(&self, client: &'c Client) -> TestRequest<'c> {
        client.call(self.method.clone(), self.target).body(self.body.clone())
    }

    /// The request with this signature.
    pub fn with<'c>(&self, client: &'c Client, id: &str, signature: &str) -> TestRequest<'c> {
        let call = self.bare(client).header("x-api-key", id);
        call.header("x-api-timestamp", &self.time.to_string()).header("x-api-signature", signature)
    }

    pub async fn send(&self, client: &Client, signer: &Signer) -> Reply {
        self.with(client, &signer.id, &self.signature(signer)).send().await
    }
}
