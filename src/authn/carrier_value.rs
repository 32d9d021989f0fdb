//! The value in one place of a request's head: a field, a scheme of `Authorization`, a cookie, or a
//! parameter of the query.
//!
//! A place that occurs twice is refused: gateway and upstream could each read another one.
//! `call_carriers` and `signature` call this file.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::credential::{CredentialError, single};
use crate::dialect::{Carrier, server};

/// Schemes of `Authorization` that are never taken for a token without a scheme.
const SCHEMES: [&[u8]; 8] =
    [b"basic", b"bearer", b"digest", b"dpop", b"hoba", b"negotiate", b"ntlm", b"scram-sha-256"];

/// The value in a place; `None` if the place is not there.
pub(super) fn value<'h>(
    head: &'h Parts,
    place: &Carrier,
) -> Result<Option<Cow<'h, [u8]>>, CredentialError> {
    match place {
        Carrier::Scheme(scheme) => {
            let field = single(&head.headers, &AUTHORIZATION, "Authorization")?;
            Ok(field.and_then(|value| after(value, scheme)).map(Cow::Borrowed))
        }
        Carrier::Field(name) => {
            let field = single(&head.headers, name, "the field of the token")?;
            Ok(field.map(Cow::Borrowed))
        }
        Carrier::Cookie(name) => {
            let mut values = server::cookie_values(&head.headers, name);
            let first = values.next();
            match values.next() {
                None => Ok(first.map(Cow::Borrowed)),
                Some(_) => Err(CredentialError::Repeated("the cookie of the token")),
            }
        }
        Carrier::Query(name) => {
            let query = head.uri.query().unwrap_or_default();
            let pairs = form_urlencoded::parse(query.as_bytes());
            let mut values = pairs.filter(|(known, _)| known == name);
            let first = values.next();
            match values.next() {
                None => Ok(first.map(|(_, value)| Cow::Owned(value.into_owned().into_bytes()))),
                Some(_) => Err(CredentialError::Repeated("the parameter of the token")),
            }
        }
        // The check of a dialect refuses them for calls.
        Carrier::Variable(_) | Carrier::Member(..) => Ok(None),
    }
}

/// The text after a scheme and one space; with an empty scheme, a value that has none.
pub(super) fn after<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (named, rest) = value.split_at(end);
    if scheme.is_empty() {
        let is_scheme = SCHEMES.iter().any(|known| named.eq_ignore_ascii_case(known));
        return (rest.is_empty() && !is_scheme).then_some(value);
    }
    named.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.get(1..).unwrap_or_default())
}
