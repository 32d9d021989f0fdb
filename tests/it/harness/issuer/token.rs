//! Tokens of the provider, claim by claim.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::Header;
use serde_json::{Value, json};
use tollhouse::clock::Timestamp;

use super::AUDIENCE;
use super::keys::IssuerKey;

/// A token being written; `text` signs it.
#[derive(Clone, Debug)]
pub struct TokenMint {
    key: IssuerKey,
    header: Header,
    claims: Value,
}

impl TokenMint {
    /// Of an hour from the system's time on: say `at` where the gateway's clock is a test's.
    pub(super) fn new(issuer: &str, key: IssuerKey) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.kid.clone());
        let claims = json!({ "iss": issuer, "sub": "7", "aud": AUDIENCE });
        Self { key, header, claims }.at(Timestamp::from_secs(now.as_secs()))
    }

    /// As Auth0 issues them for an API: a database user, the API and its userinfo as audience.
    pub fn auth0(self) -> Self {
        let userinfo = format!("{}userinfo", self.claims["iss"].as_str().unwrap());
        self.sub("auth0|123")
            .claim("aud", json!([AUDIENCE, userinfo]))
            .claim("azp", json!("client-1"))
            .claim("scope", json!("openid read:stats"))
            .claim("permissions", json!(["read:stats", "write:stats"]))
    }

    /// Issued at `now`, for an hour.
    pub fn at(self, now: Timestamp) -> Self {
        self.claim("iat", json!(now.secs())).claim("exp", json!(now.secs() + 3600))
    }

    pub fn sub(self, subject: &str) -> Self {
        self.claim("sub", json!(subject))
    }

    /// Sets a claim; `null` removes it.
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        let claims = self.claims.as_object_mut().unwrap();
        match value {
            Value::Null => drop(claims.remove(name)),
            value => drop(claims.insert(name.to_owned(), value)),
        }
        self
    }

    /// Sets several claims.
    pub fn claims(self, changes: &Value) -> Self {
        let changes = changes.as_object().unwrap();
        changes.iter().fold(self, |mint, (name, value)| mint.claim(name, value.clone()))
    }

    pub fn kid(mut self, kid: Option<&str>) -> Self {
        self.header.kid = kid.map(str::to_owned);
        self
    }

    pub fn typ(mut self, typ: Option<&str>) -> Self {
        self.header.typ = typ.map(str::to_owned);
        self
    }

    /// Signed with another key, under that key's name.
    pub fn signed_by(mut self, key: &IssuerKey) -> Self {
        self.header.kid = Some(key.kid.clone());
        self.header.alg = key.algorithm;
        self.key = key.clone();
        self
    }

    /// What it says, to be signed in another way.
    pub fn payload(&self) -> String {
        self.claims.to_string()
    }

    pub fn text(&self) -> String {
        jsonwebtoken::encode(&self.header, &self.claims, &self.key.encoding()).unwrap()
    }
}
