//! A form (`application/x-www-form-urlencoded`) with a token that the request is about.
//!
//! RFC 7662 §2.1 and RFC 7009 §2.1. A `token_type_hint` only says where to look first, so it is not
//! looked at; but a parameter that is given twice is refused, whichever it is (RFC 6749 §3.1).

use std::collections::HashSet;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::dialect::Reason;
use crate::secret::SecretString;

/// The parameter called `name`.
pub(super) fn read(headers: &HeaderMap, body: &[u8], name: &str) -> Result<SecretString, Reason> {
    if !body.is_empty() && !is_form(headers) {
        return Err(Reason::UnsupportedMediaType);
    }
    let (mut found, mut seen) = (None, HashSet::new());
    for (key, value) in form_urlencoded::parse(body) {
        if key == name {
            found = Some(SecretString::new(value.into_owned()));
        }
        if !seen.insert(key) {
            return Err(Reason::MalformedRequest);
        }
    }
    found.filter(|token| !token.expose().is_empty()).ok_or(Reason::MalformedRequest)
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
