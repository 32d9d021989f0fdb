//! What a token says of its issuer, before anybody has looked whether that is true.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::json;

/// What a token says of its issuer, read as generously as possible: what might be somebody's
/// signed token must not be shown to another because it is damaged or of a form we do not take.
#[derive(Debug, PartialEq)]
pub(super) enum Named {
    /// It has no parts that could be read.
    Opaque,
    By(String),
    /// It has parts, none of which names an issuer.
    Nobody,
}

impl Named {
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
            // RFC 7516 §4.1.2: encrypted, so that only its issuer can read it.
            None if objects.len() == 1 && objects.iter().any(|one| one.contains_key("enc")) => {
                Self::Opaque
            }
            None => Self::Nobody,
        }
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).or_else(|_| URL_SAFE.decode(part)).ok()?;
    json::object(&bytes).or_else(|| serde_json::from_slice(&bytes).ok())
}
