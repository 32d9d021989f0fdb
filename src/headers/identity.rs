//! The caller's identity in header fields for the upstream (`X-Auth-…`).
//!
//! `%`, control characters and non-ASCII characters are percent-encoded as UTF-8, in lists the
//! comma, too. Therefore no name can look like another name or like two names. A value that is
//! absent gets no field. The pipeline sets these fields after the client's own were removed.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::identity::{Identity, IdentityField, SessionId};

const X_AUTH_SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const X_AUTH_USERNAME: HeaderName = HeaderName::from_static("x-auth-username");
const X_AUTH_ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const X_AUTH_SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
const X_AUTH_SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const X_AUTH_SOURCE: HeaderName = HeaderName::from_static("x-auth-source");

const TEXT: &AsciiSet = &CONTROLS.add(b'%');
const ITEM: &AsciiSet = &TEXT.add(b',');

/// The identity as header fields. A token that is used often keeps the result
/// (`VerifiedCredential::identity_headers`).
pub fn identity_fields(identity: &Identity) -> Vec<IdentityField> {
    let session = identity.session.as_ref().map(SessionId::to_string);
    let said = [
        (X_AUTH_SUBJECT, text(identity.subject.as_str())),
        (X_AUTH_USERNAME, text(&identity.username)),
        (X_AUTH_ROLES, list(&identity.roles)),
        (X_AUTH_SCOPES, list(&identity.scopes)),
        (X_AUTH_SESSION, session.map_or(Cow::Borrowed(""), Cow::Owned)),
        (X_AUTH_SOURCE, text(&identity.source)),
    ];
    let field = |(name, value): (HeaderName, Cow<'_, str>)| {
        let value = HeaderValue::from_str(&value).ok().filter(|value| !value.is_empty())?;
        Some((name, value))
    };
    said.into_iter().filter_map(field).collect()
}

/// Sets the identity fields. Invariant: `strip_inbound` has removed all such fields of the client,
/// including those that are not set here. An absent value leaves no field, so an upstream can tell
/// "no roles" from a forged list.
pub fn set_identity(headers: &mut HeaderMap, fields: &[IdentityField]) {
    for (name, value) in fields {
        headers.insert(name.clone(), value.clone());
    }
}

/// A single value in the encoding of these fields.
pub(super) fn text(value: &str) -> Cow<'_, str> {
    encode(value, TEXT)
}

/// A list in the encoding of these fields. Empty items are left out.
pub(super) fn list(items: &[Arc<str>]) -> Cow<'_, str> {
    match items {
        [] => Cow::Borrowed(""),
        [only] => encode(only, ITEM),
        _ => {
            let items = items.iter().filter(|item| !item.is_empty());
            Cow::Owned(items.map(|item| encode(item, ITEM)).collect::<Vec<_>>().join(","))
        }
    }
}

/// One item of a list that the caller joins.
pub(super) fn item(value: &str) -> Cow<'_, str> {
    encode(value, ITEM)
}

/// Percent-encodes a value.
fn encode<'a>(value: &'a str, set: &'static AsciiSet) -> Cow<'a, str> {
    let encoded: Cow<'a, str> = utf8_percent_encode(value, set).into();
    // A recipient drops spaces at both ends of a value (RFC 9110 §5.5). Unencoded, two names that
    // differ in such spaces would become one.
    let inner = encoded.trim_matches(' ');
    if inner.len() == encoded.len() {
        return encoded;
    }
    let leading = encoded.len() - encoded.trim_start_matches(' ').len();
    let trailing = encoded.len() - inner.len() - leading;
    Cow::Owned(format!("{}{inner}{}", "%20".repeat(leading), "%20".repeat(trailing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_look_like_others() {
        for (value, as_text, as_item, why) in [
            ("ann", "ann", "ann", "plain text stays"),
            ("a,b", "a,b", "a%2Cb", "a comma would make two items"),
            ("100%", "100%25", "100%25", "the escape itself is escaped"),
            ("zoë\r\n", "zo%C3%AB%0D%0A", "zo%C3%AB%0D%0A", "non-ASCII and controls"),
            (" ann ", "%20ann%20", "%20ann%20", "spaces at the ends would be lost"),
            ("ann b", "ann b", "ann b", "a space between stays"),
        ] {
            assert_eq!(text(value), as_text, "{why}");
            assert_eq!(item(value), as_item, "{why}");
        }
    }
}
