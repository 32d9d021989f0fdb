//! Tokens of a session as bytes to be sealed, and back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::dialect::client::RemoteTokens;
use crate::secret::{Secret, SecretString};

/// The sealed form. Names are short and never change their meaning; a new field needs a default.
#[derive(Serialize, Deserialize)]
struct EncodedTokens<'a> {
    #[serde(borrow)]
    access: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    refresh: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    /// In milliseconds since 1970, as all times here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_expires: Option<u64>,
}

pub(super) fn encode(tokens: &RemoteTokens) -> Secret<Vec<u8>> {
    let encoded = EncodedTokens {
        access: text(&tokens.access),
        key: tokens.key.as_ref().map(text),
        refresh: tokens.refresh.as_ref().map(text),
        session: tokens.session.clone(),
        expires: tokens.expires.map(|at| at.millis()),
        refresh_expires: tokens.refresh_expires.map(|at| at.millis()),
    };
    // Texts and numbers can always be written as JSON.
    Secret::new(serde_json::to_vec(&encoded).unwrap_or_default())
}

pub(super) fn decode(bytes: &[u8]) -> Option<RemoteTokens> {
    let encoded: EncodedTokens<'_> = serde_json::from_slice(bytes).ok()?;
    Some(RemoteTokens {
        access: secret(encoded.access),
        key: encoded.key.map(secret),
        refresh: encoded.refresh.map(secret),
        session: encoded.session,
        expires: encoded.expires.map(Timestamp::from_millis),
        refresh_expires: encoded.refresh_expires.map(Timestamp::from_millis),
    })
}

fn text(secret: &SecretString) -> Cow<'_, str> {
    secret.expose().as_str().into()
}

fn secret(text: Cow<'_, str>) -> SecretString {
    SecretString::new(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let full = RemoteTokens {
            access: "a\"b\\c".into(),
            key: Some("k".into()),
            refresh: Some("r".into()),
            session: Some("ä".to_owned()),
            expires: Some(Timestamp::from_millis(1_795_339_800_123)),
            refresh_expires: Some(Timestamp::from_millis(1_795_339_900_000)),
        };
        let bare = RemoteTokens {
            access: "a".into(),
            key: None,
            refresh: None,
            session: None,
            expires: None,
            refresh_expires: None,
        };
        for tokens in [full, bare] {
            assert_eq!(decode(encode(&tokens).expose()), Some(tokens));
        }
        assert_eq!(decode(b"{}"), None);
    }
}
