//! Typed access to the claims of a token. A claim of the wrong type makes the token invalid.
//!
//! A claim of the wrong type is never treated as absent: an `exp` of `"never"` must not mean a
//! token without expiry. Nothing here reads a clock; times are returned for the caller to compare.
//! The verifiers of own, foreign and introspected tokens use it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::jws::RefusalCause;
use crate::clock::Timestamp;
use crate::identity::Claims;
use crate::secret::Digest;

/// Latest accepted date, in seconds (the end of the year 9999). A later date is a mistake of units,
/// such as milliseconds.
const LAST_SECOND: u64 = 253_402_300_799;

/// A claim that must be a non-empty string if it is present.
///
/// # Errors
/// A value of another type, or an empty string. An empty name must not compare equal to a missing
/// one.
pub(super) fn text<'c>(claims: &'c Claims, name: &str) -> Result<Option<&'c str>, RefusalCause> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err("a claim that must be a string is not one, or is empty"),
    }
}

/// A claim that must be present and a non-empty string.
///
/// # Errors
/// An absent claim, a value of another type, or an empty string.
pub(super) fn required<'c>(claims: &'c Claims, name: &str) -> Result<&'c str, RefusalCause> {
    text(claims, name)?.ok_or("a required claim is missing")
}

/// A NumericDate (RFC 7519 §2), if it is present: a finite number that is not negative.
///
/// # Errors
/// A string, a negative number, and a date after `LAST_SECOND`.
pub(super) fn date(claims: &Claims, name: &str) -> Result<Option<Timestamp>, RefusalCause> {
    const WRONG: RefusalCause = "a claim that must be a date is not one";
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        let date = (seconds <= LAST_SECOND).then_some(Timestamp::from_secs(seconds));
        return date.map(Some).ok_or(WRONG);
    }
    let seconds = value.as_f64().ok_or(WRONG)?;
    // A range contains no NaN, so this test refuses NaN as well as negative and infinite numbers.
    if !(0.0..=LAST_SECOND as f64).contains(&seconds) {
        return Err(WRONG);
    }
    Ok(Some(Timestamp::default().plus(Duration::from_secs_f64(seconds))))
}

/// The dates of a token, each `None` if its claim is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokenDates {
    /// The `iat` claim.
    pub(super) issued: Option<Timestamp>,
    /// The `nbf` claim.
    pub(super) not_before: Option<Timestamp>,
    /// The `exp` claim.
    pub(super) expires: Option<Timestamp>,
}

impl TokenDates {
    /// Reads the dates in the claims.
    ///
    /// # Errors
    /// As `date`, for each of the three claims.
    pub(super) fn parse(claims: &Claims) -> Result<Self, RefusalCause> {
        Ok(Self {
            issued: date(claims, "iat")?,
            not_before: date(claims, "nbf")?,
            expires: date(claims, "exp")?,
        })
    }
}

/// The SHA-256 of the client certificate to which the token is bound (RFC 8705 §3.1), if it is
/// bound. A token with any other confirmation method, such as a DPoP key (RFC 9449), is refused:
/// the gateway cannot check the proof of that key, and without the check a stolen token would work.
pub(super) fn certificate(claims: &Claims) -> Result<Option<Digest>, RefusalCause> {
    const WRONG: RefusalCause = "the token is bound to a key that the gateway cannot check (`cnf`)";
    let Some(bound) = claims.get("cnf") else { return Ok(None) };
    let bound = bound.as_object().filter(|bound| bound.len() == 1).ok_or(WRONG)?;
    let text = bound.get("x5t#S256").and_then(Value::as_str).ok_or(WRONG)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG)?;
    Ok(Some(Digest(bytes.try_into().map_err(|_| WRONG)?)))
}

/// The audience of the token: a string or a list of strings, empty if the claim is absent.
///
/// # Errors
/// A value of another type, an empty list, or a list with a value that is not a string.
pub(super) fn audience(claims: &Claims) -> Result<Vec<&str>, RefusalCause> {
    const WRONG: RefusalCause = "`aud` is neither a string nor a list of strings";
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(several)) if !several.is_empty() => {
            several.iter().map(|one| one.as_str().ok_or(WRONG)).collect()
        }
        Some(_) => Err(WRONG),
    }
}

/// True if one of `accepted` is in the token's audience.
pub(super) fn is_for(audience: &[&str], accepted: &[String]) -> bool {
    accepted.iter().any(|name| audience.contains(&name.as_str()))
}

/// The claim at a path of nested objects.
pub(super) fn at<'c>(claims: &'c Claims, path: &[String]) -> Option<&'c Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(first)?, |value, name| value.get(name))
}

/// Names in a list, or in a string that is separated by spaces or commas. Any other type grants
/// nothing. Roles and scopes are read with it; issuers use both forms (RFC 6749 §3.3 separates
/// scopes by spaces).
pub(super) fn names(value: Option<&Value>) -> Vec<Arc<str>> {
    match value {
        Some(Value::String(text)) => {
            text.split([' ', ',']).filter(|name| !name.is_empty()).map(Arc::<str>::from).collect()
        }
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| !name.is_empty())
            .map(Arc::<str>::from)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Claims {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_date_is_a_finite_number_that_is_not_negative() {
        for (text, expected) in [("0", 0), ("5", 5000), ("5.5", 5500), ("1e3", 1_000_000)] {
            let parsed = claims(&format!(r#"{{"exp":{text}}}"#));
            assert_eq!(date(&parsed, "exp"), Ok(Some(Timestamp::from_millis(expected))));
        }
        for text in [
            "-1",
            "-0.5",
            "1e300",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
            "null",
            "\"5\"",
            "\"never\"",
            "[5]",
            "{}",
            "true",
        ] {
            let parsed = claims(&format!(r#"{{"exp":{text}}}"#));
            assert!(date(&parsed, "exp").is_err(), "{text}");
        }
        assert_eq!(date(&claims("{}"), "exp"), Ok(None));
    }

    #[test]
    fn an_audience_is_a_string_or_a_list_of_strings() {
        assert_eq!(audience(&claims(r#"{"aud":"a"}"#)), Ok(vec!["a"]));
        assert_eq!(audience(&claims(r#"{"aud":["a","b"]}"#)), Ok(vec!["a", "b"]));
        for text in ["123", "{}", "null", "[]", "[\"a\",1]", "true"] {
            assert!(audience(&claims(&format!(r#"{{"aud":{text}}}"#))).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_bound_to_one_certificate_or_refused() {
        let print = URL_SAFE_NO_PAD.encode([7; 32]);
        let bound = |text: &str| certificate(&claims(&format!(r#"{{"cnf":{text}}}"#)));
        assert_eq!(bound(&format!(r#"{{"x5t#S256":"{print}"}}"#)), Ok(Some(Digest([7; 32]))));
        assert_eq!(certificate(&claims("{}")), Ok(None));
        for text in [
            r#"{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#,
            &format!(r#"{{"x5t#S256":"{print}","jkt":"0ZcOCORZNYy"}}"#),
            &format!(r#"{{"x5t#S256":"{print}="}}"#),
            r#"{"x5t#S256":"AAAA"}"#,
            r#"{"x5t#S256":7}"#,
            r#"{"jwk":{"kty":"EC"}}"#,
            "{}",
            "null",
            "[]",
            "\"x5t#S256\"",
        ] {
            assert!(bound(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_come_from_a_list_or_from_text() {
        let parsed = claims(r#"{"a":{"b":["x","y",3,""]},"c":"x y,z","d":7}"#);
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();

        assert_eq!(names(at(&parsed, &path("a/b"))), ["x", "y"].map(Arc::<str>::from));
        assert_eq!(names(at(&parsed, &path("c"))), ["x", "y", "z"].map(Arc::<str>::from));
        assert!(names(at(&parsed, &path("d"))).is_empty(), "a number grants nothing");
        assert!(names(at(&parsed, &path("a/c"))).is_empty(), "nothing there");
        assert!(names(at(&parsed, &[])).is_empty(), "no path");
    }
}
