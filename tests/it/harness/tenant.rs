//! An Auth0 tenant whose key set is a file, and the access tokens that it makes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

use super::gateway::START;

/// The tenant's name for itself.
pub const AUTH0: &str = "https://tenant.eu.auth0.com/";

/// The tenant.
pub struct Tenant {
    dir: tempfile::TempDir,
    key: KeyPair,
    kid: &'static str,
}

impl Tenant {
    pub fn new() -> Self {
        let tenant = Self { dir: tempfile::tempdir().unwrap(), key: key(), kid: "first" };
        tenant.publish();
        tenant
    }

    /// Signs with another key from now on.
    pub fn rotate(&mut self) {
        (self.key, self.kid) = (key(), "second");
        self.publish();
    }

    fn publish(&self) {
        let point = self.key.der_bytes();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": x, "y": y,
        });
        let set = json!({ "keys": [key] }).to_string();
        std::fs::write(self.dir.path().join("jwks.json"), set).unwrap();
    }

    /// The `[[issuer]]`, with further keys.
    pub fn issuer(&self, keys: &str) -> String {
        format!(
            "[[issuer]]\nname = \"auth0\"\nissuer = \"{AUTH0}\"\nalgorithms = [\"ES256\"]\n\
             audience = [\"https://core.example/api\"]\nclient_id = \"k2Yx0\"\n\
             jwks_file = {:?}\n{keys}",
            self.dir.path().join("jwks.json")
        )
    }

    /// An access token as Auth0 makes them, changed: `null` removes a claim.
    pub fn token(&self, changes: Value) -> String {
        let mut claims = json!({
            "iss": AUTH0, "sub": "auth0|123",
            "aud": ["https://core.example/api", "https://tenant.eu.auth0.com/userinfo"],
            "azp": "k2Yx0", "scope": "openid profile", "permissions": ["process:read"],
            "iat": START.secs(), "exp": START.secs() + 24 * 3600,
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        let key = self.key.serialize_pem();
        let key = jsonwebtoken::EncodingKey::from_ec_pem(key.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}
