//! A form (`application/x-www-form-urlencoded`) with the token that a request is about (RFC 7662,
//! section 2.1; RFC 7009, section 2.1).
//!
//! The parameter `token_type_hint` is only a hint where to look first and is ignored. A parameter
//! that occurs twice is refused, whichever it is (RFC 6749, section 3.1), because two readers could
//! take different ones.

use std::collections::HashSet;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::Reason;
use tollhouse_core::secret::SecretString;

/// The value of the parameter `name`. Missing and empty are the same error.
pub(super) fn read(headers: &HeaderMap, body: &[u8], name: &str) -> Result<SecretString, Reason> {
    if !body.is_empty() && !is_form(headers) {
        return Err(Reason::UnsupportedMediaType);
    }
    let mut found = None;
    let mut seen = HashSet::new();
    for (key, value) in form_urlencoded::parse(body) {
        if key == name {
            found = Some(SecretString::new(value.into_owned()));
        }
        // Every name is checked for repetition, not only the one that is wanted: RFC 6749 forbids
        // repeating any parameter.
        if !seen.insert(key) {
            return Err(Reason::MalformedRequest);
        }
    }
    found.filter(|token| !token.expose().is_empty()).ok_or(Reason::MalformedRequest)
}

/// Exactly one `Content-Type` header is accepted; with two, a proxy before the gateway may have
/// seen the other one.
fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
