//! `[[issuer]]`: others whose tokens are accepted.

use std::time::Duration;

use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Someone else who signs tokens that we accept.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    pub name: String,
    /// Compared byte for byte with `iss`.
    pub issuer: String,
    pub audience: Audience,
    pub algorithms: Vec<Algorithm>,
    pub keys: IssuerKeys,
    /// Accepted `sub`s; empty: all.
    pub subjects: Vec<String>,
    pub username_claim: Vec<String>,
    /// Path into the claims.
    pub roles_claim: Vec<String>,
    pub scopes_claim: Vec<String>,
    /// Accepted `typ`s, lower-cased, without `application/`.
    pub types: Vec<String>,
    /// A missing `typ` is accepted.
    pub type_optional: bool,
    /// Claims a token must have, `exp` and `sub` among them at the least.
    pub required: Vec<String>,
    pub leeway: Duration,
    /// Longest accepted `exp - iat`.
    pub max_lifetime: Option<Duration>,
    /// Refused from this instant on.
    pub until: Option<Timestamp>,
    /// Accept ID tokens (`nonce`, `at_hash`, `token_use = "id"`) and event tokens.
    pub allow_id_tokens: bool,
}

/// Whom a foreign token must be meant for.
#[derive(Clone, Debug, PartialEq)]
pub enum Audience {
    /// One of these.
    OneOf(Vec<String>),
    /// Anybody; reported loudly.
    Any,
}

/// Where a foreign issuer's keys come from; file contents are read while checking.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerKeys {
    /// The text of a JWKS file (RFC 7517 §5).
    Jwks(String),
    /// The text of a PEM file: a public key or a certificate.
    Pem(String),
    /// A shared HMAC secret.
    Secret(Secret<Vec<u8>>),
}
