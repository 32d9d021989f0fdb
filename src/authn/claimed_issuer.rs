//! Reads which issuer an unverified token names, if any.
//!
//! The result decides to whom the token may be shown: a token that names one issuer is never sent
//! to another one for introspection. It is never used to accept a token. `opaque` is the caller.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::strict_json;

/// The issuer that a token names. The parsing is lenient on purpose: a token that is damaged, or of
/// a form that we refuse, may still be usable at its own issuer. Another issuer must not see it.
#[derive(Debug, PartialEq)]
pub(super) enum ClaimedIssuer {
    /// The token has no readable parts, so nothing says whose it is.
    Opaque,
    By(String),
    /// The token has readable parts, but none of them names an issuer by a string.
    Nobody,
}

impl ClaimedIssuer {
    /// Parses a token, signed or encrypted.
    pub(super) fn of(token: &str) -> Self {
        if !token.contains('.') {
            return Self::Opaque;
        }
        let objects: Vec<_> = token.split('.').filter_map(object).collect();
        let issuer = objects.iter().find_map(|object| object.get("iss"));
        match issuer {
            Some(Value::String(issuer)) => Self::By(issuer.clone()),
            Some(_) => Self::Nobody,
            None if objects.is_empty() => Self::Opaque,
            // An encrypted token (JWE, RFC 7516 §4.1.2). Only its issuer can read the claims.
            None if objects.len() == 1 && objects.iter().any(|one| one.contains_key("enc")) => {
                Self::Opaque
            }
            None => Self::Nobody,
        }
    }
}

/// One part as a JSON object. Padding and repeated members are accepted here.
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).or_else(|_| URL_SAFE.decode(part)).ok()?;
    strict_json::object(&bytes).or_else(|| serde_json::from_slice(&bytes).ok())
}
