//! What is in our tokens.
//!
//! Access tokens follow RFC 9068 (`typ: at+jwt`), refresh tokens are a type of their own
//! (`rt+jwt`) that no route accepts. The standard claims are always there; a dialect adds its
//! own and may replace `sub`, nothing else, so no dialect can make one kind pass for the other.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{KeyError, KeyRing};
use crate::clock::Timestamp;
use crate::config::Login;
use crate::identity::Claims;
use crate::secret::{SecretString, random};
use crate::session::Session;

/// `typ` of our access tokens (RFC 9068 §2.1).
pub const ACCESS_TYPE: &str = "at+jwt";

/// `typ` of our refresh tokens.
pub const REFRESH_TYPE: &str = "rt+jwt";

/// The claim of a refresh token that says which of its session's it is: what is older than the
/// session's working one was retired, and nobody has to keep a list of those.
pub const GENERATION_CLAIM: &str = "gen";

/// What a token is issued for.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    pub session: &'a Session,
    pub login: &'a Login,
    /// The dialect's claims for this kind of token, rendered.
    pub claims: Claims,
    /// The token's id.
    pub jti: &'a str,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

/// What an access token is issued for.
pub type AccessGrant<'a> = Grant<'a>;

/// What a refresh token is issued for.
pub type RefreshGrant<'a> = Grant<'a>;

/// An access token of the session.
pub fn access_token(ring: &KeyRing, grant: &AccessGrant<'_>) -> Result<SecretString, KeyError> {
    let session = grant.session;
    let mut claims = common(grant);
    claims.insert("preferred_username".to_owned(), Value::from(session.username.as_str()));
    claims.insert("roles".to_owned(), Value::from(session.roles.clone()));
    claims.insert("scope".to_owned(), Value::from(session.scopes.join(" ")));
    if let Some(key_hash) = &session.key_hash {
        claims.insert("kh".to_owned(), Value::from(key_hash.base64url()));
    }
    add(&mut claims, &grant.claims);
    ring.sign(grant.login.algorithm, ACCESS_TYPE, &claims)
}

/// A refresh token of the session.
pub fn refresh_token(ring: &KeyRing, grant: &RefreshGrant<'_>) -> Result<SecretString, KeyError> {
    let mut claims = common(grant);
    if let Some(generation) = &grant.session.refresh {
        claims.insert(GENERATION_CLAIM.to_owned(), Value::from(generation.number));
    }
    add(&mut claims, &grant.claims);
    ring.sign(grant.login.algorithm, REFRESH_TYPE, &claims)
}

/// A token id that nobody can guess: 128 random bits.
pub fn new_jti() -> String {
    URL_SAFE_NO_PAD.encode(random::<16>())
}

/// The id of the refresh token that follows `jti`. It is derived, so that a repeated refresh
/// gets the same successor although only hashes are stored; without `secret` nobody can.
pub fn successor_jti(secret: &[u8; 32], jti: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(b"refresh successor\0");
    context.update(jti.as_bytes());
    URL_SAFE_NO_PAD.encode(context.sign().as_ref())
}

/// The claims of every token of ours.
fn common(grant: &Grant<'_>) -> Claims {
    let (session, login) = (grant.session, grant.login);
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

/// Claims that only we write, whatever a dialect says.
const RESERVED: [&str; 15] = [
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
];

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
