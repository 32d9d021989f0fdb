//! The claims of the gateway's own access and refresh tokens.
//!
//! Access tokens follow RFC 9068 (`typ: at+jwt`). Refresh tokens have a type of their own
//! (`rt+jwt`) that no route accepts. The standard claims are always present. A dialect adds claims
//! and may replace `sub`, but no other standard claim, so no dialect can make one kind of token
//! pass for the other. `login` is the caller; the signature is made by the key ring.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{KeyError, KeyRing};
use crate::clock::Timestamp;
use crate::identity::{Claims, SessionId};
use crate::secret::{SecretString, random};
use crate::session::Session;
use crate::settings::LoginSettings;

/// The `typ` of access tokens (RFC 9068 §2.1).
pub const ACCESS_TYPE: &str = "at+jwt";

/// The `typ` of refresh tokens.
pub const REFRESH_TYPE: &str = "rt+jwt";

/// The claim with the position of a refresh token in its session's series. A token with a lower
/// number than the session's current one is retired. The comparison replaces a list of used tokens,
/// which would grow with every refresh.
pub const GENERATION_CLAIM: &str = "gen";

/// The claim of a refresh token with the id of the program that it was issued to. No other program
/// can use the token (RFC 6749, section 6).
pub const PROGRAM_CLAIM: &str = "prg";

/// The facts from which a token is issued.
#[derive(Clone, Debug)]
pub struct TokenGrant<'a> {
    pub session: &'a Session,
    pub login: &'a LoginSettings,
    /// The dialect's claims for this kind of token, already rendered.
    pub claims: Claims,
    /// The id of the token (`jti`).
    pub jti: &'a str,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

/// The facts for an access token.
pub type AccessGrant<'a> = TokenGrant<'a>;

/// The facts for a refresh token.
pub type RefreshGrant<'a> = TokenGrant<'a>;

/// Issues an access token of the session.
///
/// # Errors
/// No key signs the login's algorithm, or the signature could not be made.
pub fn access_token(ring: &KeyRing, grant: &AccessGrant<'_>) -> Result<SecretString, KeyError> {
    ring.sign(grant.login.algorithm, ACCESS_TYPE, &access_claims(grant))
}

/// The claims of an access token of the session.
pub(super) fn access_claims(grant: &AccessGrant<'_>) -> Claims {
    let session = grant.session;
    let mut claims = common(grant);
    claims.insert("preferred_username".to_owned(), Value::from(session.username.as_str()));
    claims.insert("roles".to_owned(), Value::from(session.roles.clone()));
    claims.insert("scope".to_owned(), Value::from(session.scopes.join(" ")));
    if let Some(key_hash) = &session.key_hash {
        claims.insert("kh".to_owned(), Value::from(key_hash.base64url()));
    }
    add(&mut claims, &grant.claims);
    claims
}

/// Issues a refresh token of the session. `program` is the id of the program that it is issued to,
/// where the login knows programs.
///
/// # Errors
/// No key signs the login's algorithm, or the signature could not be made.
pub fn refresh_token(
    ring: &KeyRing,
    grant: &RefreshGrant<'_>,
    program: Option<&str>,
) -> Result<SecretString, KeyError> {
    let mut claims = common(grant);
    if let Some(program) = program {
        claims.insert(PROGRAM_CLAIM.to_owned(), Value::from(program));
    }
    if let Some(generation) = &grant.session.refresh {
        claims.insert(GENERATION_CLAIM.to_owned(), Value::from(generation.number));
    }
    add(&mut claims, &grant.claims);
    ring.sign(grant.login.algorithm, REFRESH_TYPE, &claims)
}

/// A token id of 128 random bits, which nobody can guess.
pub fn new_jti() -> String {
    URL_SAFE_NO_PAD.encode(random::<16>())
}

/// The id of the refresh token that follows `jti`. It is derived by HMAC, so that a repeated
/// refresh (a client that lost the answer) yields the same successor, although the store has only
/// hashes. Without `secret` the successor cannot be computed.
pub fn successor_jti(secret: &[u8; 32], jti: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    // The text separates this use of the secret from any other. The NUL marks the end of the text,
    // so that no id can extend it.
    context.update(b"refresh successor\0");
    context.update(jti.as_bytes());
    URL_SAFE_NO_PAD.encode(context.sign().as_ref())
}

/// The value by which requests of a session show that its own pages sent them. It does not depend on
/// the token, so it stays the same for the session's life, and nobody can compute it without
/// `secret`.
pub fn csrf_token(secret: &[u8; 32], session: SessionId) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(b"csrf value\0");
    context.update(session.to_string().as_bytes());
    SecretString::new(URL_SAFE_NO_PAD.encode(context.sign().as_ref()))
}

/// The claims of every own token.
fn common(grant: &TokenGrant<'_>) -> Claims {
    let session = grant.session;
    let login = grant.login;
    // RFC 7519 §4.1.3: a single audience may be a plain string. Some clients do not parse a list.
    let audience = match login.audience.as_slice() {
        [one] => Value::from(one.as_str()),
        several => Value::from(several.to_vec()),
    };
    let issued = Value::from(grant.issued.secs());
    [
        ("iss", Value::from(login.issuer.as_str())),
        ("aud", audience),
        ("sub", Value::from(session.subject.as_str())),
        ("iat", issued.clone()),
        ("nbf", issued),
        ("exp", Value::from(grant.expires.secs())),
        ("jti", Value::from(grant.jti)),
        ("sid", Value::from(session.id.to_string())),
        ("client_id", Value::from(login.name.as_str())),
        ("uid", Value::from(session.subject.as_str())),
        ("src", Value::from(session.source.as_str())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Claims that only the gateway sets, whatever a dialect configures.
const RESERVED: [&str; 16] = [
    "iss",
    "aud",
    "iat",
    "nbf",
    "exp",
    "jti",
    "sid",
    "client_id",
    "uid",
    "src",
    "preferred_username",
    "roles",
    "scope",
    "kh",
    GENERATION_CLAIM,
    PROGRAM_CLAIM,
];

/// Adds the dialect's claims, except reserved ones. Of the standard claims only a non-empty `sub`
/// is accepted: verification uses `uid` for the identity, so a replaced `sub` grants nothing.
fn add(claims: &mut Claims, dialect: &Claims) {
    for (name, value) in dialect {
        let taken = match name.as_str() {
            "sub" => value.as_str().is_some_and(|sub| !sub.is_empty()),
            name => !RESERVED.contains(&name),
        };
        if taken {
            claims.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_derived_from_its_predecessor_and_the_secret() {
        let first = successor_jti(&[1; 32], "a");

        assert_eq!(first, successor_jti(&[1; 32], "a"));
        assert_ne!(first, successor_jti(&[2; 32], "a"));
        assert_ne!(first, successor_jti(&[1; 32], "b"));
        assert_eq!(first.len(), 43);
    }

    #[test]
    fn a_dialect_adds_claims_and_replaces_only_the_subject() {
        let object = |text| serde_json::from_str::<Claims>(text).unwrap();
        let mut claims = object(r#"{"sub":"id","exp":1,"uid":"id"}"#);

        add(&mut claims, &object(r#"{"sub":"bob","exp":9,"uid":"x","kh":"x","usefor":"access"}"#));

        assert_eq!(claims, object(r#"{"sub":"bob","exp":1,"uid":"id","usefor":"access"}"#));
    }
}
