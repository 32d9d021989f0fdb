//! Credentials in header fields: Basic (RFC 7617) and Bearer (RFC 6750).
//!
//! A field that occurs twice is ambiguous and refused. A malformed credential gets the same answer
//! as a wrong one, so that its form tells nothing. `server::read` and `authn` use these functions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use crate::Reason;
use crate::octets::is_token68_byte;
use tollhouse_core::secret::SecretString;

/// Reads `Authorization: Basic base64(name:password)`. The password may contain colons.
///
/// # Errors
///
/// If the header occurs twice, or is not well-formed.
pub fn basic(headers: &HeaderMap) -> Result<Option<(String, SecretString)>, Reason> {
    let Some(encoded) = authorization(headers, "basic")? else { return Ok(None) };
    let pair = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.map(SecretString::new).ok_or(Reason::InvalidCredentials)?;
    let (name, password) = pair.expose().split_once(':').ok_or(Reason::InvalidCredentials)?;
    // RFC 7617, section 2, forbids control characters. An empty password must never reach a user
    // source: some directories take it for an anonymous bind, which succeeds (RFC 4513, section
    // 5.1.2).
    if name.is_empty() || password.is_empty() || pair.expose().contains(char::is_control) {
        return Err(Reason::InvalidCredentials);
    }
    Ok(Some((name.to_owned(), password.into())))
}

/// Reads `Authorization: Bearer` with a token of the form that RFC 6750 defines.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, Reason> {
    let Some(token) = authorization(headers, "bearer")? else { return Ok(None) };
    if is_b64token(token) { Ok(Some(token.into())) } else { Err(Reason::TokenInvalid) }
}

/// The part after the scheme and one space, if the header has this scheme. Schemes are compared
/// without regard to case (RFC 9110, section 11.1). `None` for another scheme, which may be meant
/// for the upstream.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Result<Option<&'a str>, Reason> {
    let Some(value) = single(headers, AUTHORIZATION.as_str())? else { return Ok(None) };
    // A value that is not ASCII has none of the schemes that the gateway knows.
    let Ok(value) = value.to_str() else { return Ok(None) };
    let (name, rest) = value.split_once(' ').unwrap_or((value, ""));
    Ok(name.eq_ignore_ascii_case(scheme).then_some(rest))
}

/// Two `Authorization` headers: the gateway and the upstream might each take another one (RFC 9110,
/// section 5.3, allows only lists to be repeated).
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a HeaderValue>, Reason> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Reason::AmbiguousCredential),
    }
}

/// The text of a field that has visible ASCII characters and spaces only.
pub(super) fn visible(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().filter(|text| !text.contains('\t'))
}

/// RFC 6750, section 2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
pub(super) fn is_b64token(text: &str) -> bool {
    let stem = text.trim_end_matches('=');
    !stem.is_empty() && stem.bytes().all(is_token68_byte)
}
