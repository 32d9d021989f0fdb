//! Credentials in header fields: Basic (RFC 7617), Bearer (RFC 6750), the pair.
//!
//! A field given twice is ambiguous, a malformed one is answered like a wrong one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use crate::dialect::{Presented, Reason};
use crate::secret::SecretString;

/// `Authorization: Basic base64(name:password)`; the password may hold colons.
///
/// # Errors
/// Where it is given twice, or is not what it says.
pub fn basic(headers: &HeaderMap) -> Result<Option<(String, SecretString)>, Reason> {
    let Some(encoded) = authorization(headers, "basic")? else { return Ok(None) };
    let pair = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.map(SecretString::new).ok_or(Reason::InvalidCredentials)?;
    let (name, password) = pair.expose().split_once(':').ok_or(Reason::InvalidCredentials)?;
    // RFC 7617 §2 forbids control characters. An empty password must never reach a user source:
    // some take it for an anonymous bind, which succeeds.
    if name.is_empty() || password.is_empty() || pair.expose().contains(char::is_control) {
        return Err(Reason::InvalidCredentials);
    }
    Ok(Some((name.to_owned(), password.into())))
}

/// `Authorization: Bearer b64token`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, Reason> {
    let Some(token) = authorization(headers, "bearer")? else { return Ok(None) };
    if is_b64token(token) { Ok(Some(token.into())) } else { Err(Reason::TokenInvalid) }
}

/// `X-Access-Token` with `X-Key`; one without the other is refused.
pub(super) fn token_key(headers: &HeaderMap) -> Result<Option<Presented>, Reason> {
    match (single(headers, "x-access-token")?, single(headers, "x-key")?) {
        (None, None) => Ok(None),
        (Some(token), Some(key)) => {
            let token = token.to_str().ok().filter(|token| is_b64token(token));
            let key = key.to_str().ok().filter(|key| !key.is_empty());
            let (token, key) = token.zip(key).ok_or(Reason::TokenInvalid)?;
            Ok(Some(Presented::Pair { token: token.into(), key: key.into() }))
        }
        (Some(_), None) | (None, Some(_)) => Err(Reason::TokenInvalid),
    }
}

/// What follows the scheme and its one space, if this is the scheme; schemes have no case
/// (RFC 9110 §11.1).
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Result<Option<&'a str>, Reason> {
    let Some(value) = single(headers, AUTHORIZATION.as_str())? else { return Ok(None) };
    // Not ASCII: no scheme that we know.
    let Ok(value) = value.to_str() else { return Ok(None) };
    let (name, rest) = value.split_once(' ').unwrap_or((value, ""));
    Ok(name.eq_ignore_ascii_case(scheme).then_some(rest))
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, Reason> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Reason::AmbiguousCredential),
    }
}

/// RFC 6750 §2.1: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(text: &str) -> bool {
    let stem = text.trim_end_matches('=');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !stem.is_empty() && stem.bytes().all(is_plain)
}
