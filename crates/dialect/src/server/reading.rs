//! A request at a login endpoint, and the values in it: read once, in one way only.
//!
//! A value that occurs twice is refused, because the gateway and another reader could take different
//! ones. A value of another type than expected is refused and never converted.

use std::collections::HashSet;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue};
use http::request::Parts;
use serde_json::Value;

use super::header::{bearer, single, visible};
use crate::body::{BodyFormat, BodyValue, ParsedBody};
use crate::carrier::Carrier;
use crate::condition::Condition;
use crate::octets::is_cookie_octet;
use crate::{Endpoint, NameOrigin, NameSource, Reason};
use tollhouse_core::secret::SecretString;

/// Longest value of a token or name in the head, in bytes.
const LONGEST: usize = 8192;

/// Longest text of the request that an answer shows, in bytes.
const LONGEST_SHOWN: usize = 256;

/// The variables of an endpoint's path with their decoded values in one request.
pub type PathVariables = [(String, String)];

/// A request whose body has been read as what it says it is.
pub(super) struct RequestReading<'r> {
    head: &'r Parts,
    variables: &'r PathVariables,
    body: ParsedBody,
}

impl<'r> RequestReading<'r> {
    /// Reads the body, if the endpoint takes anything from it. Some clients send one with every
    /// request; an endpoint that takes everything from the head ignores it.
    pub(super) fn new(
        endpoint: &Endpoint,
        head: &'r Parts,
        variables: &'r PathVariables,
        body: &[u8],
    ) -> Result<Self, Reason> {
        let body = if endpoint.accepts.kinds.is_empty() {
            ParsedBody::empty()
        } else {
            ParsedBody::read(&head.headers, body, &endpoint.accepts)?
        };
        Ok(Self { head, variables, body })
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// True if a field is there, even an empty one.
    pub(super) fn has(&self, at: &Carrier) -> bool {
        matches!(at, Carrier::Field(name) if self.head.headers.contains_key(name))
    }

    /// The kind of body that the request has.
    pub(super) fn body_kind(&self) -> Option<BodyFormat> {
        self.body.kind()
    }

    /// The text in a place. Missing and empty are the same.
    pub(super) fn text(&self, at: &Carrier) -> Result<Option<SecretString>, Reason> {
        let found = match at {
            Carrier::Member(kind, path) => self.body.text(*kind, path)?.cloned(),
            Carrier::Variable(name) => {
                let found = self.variables.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.as_str().into())
            }
            Carrier::Scheme(scheme) => scheme_value(&self.head.headers, scheme)?,
            Carrier::Field(name) => {
                let value = single(&self.head.headers, name.as_str())?;
                value.map(field_text).transpose()?
            }
            Carrier::Cookie(name) => cookie(&self.head.headers, name)?,
            Carrier::Query(name) => query(self.head.uri.query().unwrap_or_default(), name)?,
        };
        Ok(found.filter(|text| !text.expose().is_empty()))
    }

    /// The name in a place, without what stands around it.
    pub(super) fn name(&self, at: &NameSource) -> Result<Option<String>, Reason> {
        match &at.from {
            NameOrigin::Fixed(name) => Ok(Some(name.clone())),
            NameOrigin::Carrier(carrier) => {
                Ok(self.text(carrier)?.map(|name| at.strip(name.expose()).to_owned()))
            }
        }
    }

    /// The value in a place as an answer may show it: a text of at most 256 bytes, a number or a flag.
    pub(super) fn shown(&self, at: &Carrier) -> Option<Value> {
        match at {
            Carrier::Member(kind, path) => self.body.scalar(*kind, path),
            at => {
                let text = self.text(at).ok().flatten()?;
                (text.expose().len() <= LONGEST_SHOWN).then(|| text.expose().as_str().into())
            }
        }
    }

    /// True if the request has a name that others may read as this one: it differs in case, or in what
    /// PHP reads as an underscore, or is in the query instead of the form or the other way round.
    pub(super) fn has_other_spelling(&self, at: &Carrier) -> bool {
        let wanted = match at {
            Carrier::Member(BodyFormat::Json | BodyFormat::Xml, _) => None,
            Carrier::Member(_, path) => Some(path.names().join(".")),
            Carrier::Query(name) => Some(name.clone()),
            _ => return false,
        };
        let Some(wanted) = wanted else {
            return matches!(at, Carrier::Member(kind, path)
                if self.body.has_other_spelling(*kind, path));
        };
        let is_like = |name: &str| lenient_name(name) == lenient_name(&wanted);
        let in_query = self.head.uri.query().unwrap_or_default();
        let mut parameters = in_query.split(['&', ';']).filter_map(|pair| {
            form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name)
        });
        // Behind a semicolon it is another parameter for some readers, and was none here.
        let is_plain = !in_query.contains(';');
        let is_there = |name: &str| matches!(at, Carrier::Query(own) if own == name && is_plain);
        parameters.any(|name| is_like(&name) && !is_there(&name))
            || self.body.flat_names().any(|name| {
                is_like(name) && !(matches!(at, Carrier::Member(..)) && *name == wanted)
            })
    }

    /// True if the value in the place of the condition is one that others may take for the expected
    /// one: another case, spaces around it, another spelling of a number, or a list with it.
    pub(super) fn resembles(&self, condition: &Condition) -> bool {
        match &condition.at {
            Carrier::Member(kind, path) => match self.body.value(*kind, path) {
                None | Some(BodyValue::Null) => false,
                // A list, an object or a long text may contain the expected value.
                Some(_) => {
                    let value = self.body.scalar(*kind, path);
                    value.is_none_or(|value| condition.expected.is_like(&value))
                }
            },
            // Of something that is there twice, anybody may read either.
            at => self.text(at).map_or(true, |text| {
                let value = text.map(|text| Value::from(text.expose().as_str()));
                value.is_some_and(|value| condition.expected.is_like(&value))
            }),
        }
    }

    /// True if the request has the value that the condition demands.
    pub(super) fn fulfils(&self, condition: &Condition) -> Result<bool, Reason> {
        let value = match &condition.at {
            Carrier::Member(kind, path) => match self.body.value(*kind, path) {
                None | Some(BodyValue::Null) => None,
                // A list, an object or a long text is present, but equal to no expected value.
                Some(_) => Some(self.body.scalar(*kind, path).unwrap_or(Value::Array(Vec::new()))),
            },
            at => self.text(at)?.map(|text| text.expose().as_str().into()),
        };
        Ok(condition.expected.holds(value.as_ref()))
    }
}

/// The name of a parameter or a cookie in one spelling for all that some server takes for the same:
/// ASP.NET ignores case, and PHP reads dots, spaces and brackets as underscores.
pub fn lenient_name(name: &str) -> String {
    name.trim_start().to_lowercase().replace(['.', ' ', '['], "_")
}

/// The value of `Authorization` with this scheme; with an empty scheme, the whole value if it
/// has no space.
fn scheme_value(headers: &HeaderMap, scheme: &str) -> Result<Option<SecretString>, Reason> {
    if scheme.eq_ignore_ascii_case("bearer") {
        return bearer(headers);
    }
    let Some(value) = single(headers, AUTHORIZATION.as_str())? else { return Ok(None) };
    let Some(value) = visible(value) else { return Ok(None) };
    if scheme.is_empty() {
        let is_bare = !value.contains(' ');
        return Ok(is_bare.then(|| value.into()));
    }
    let Some((name, token)) = value.split_once(' ') else { return Ok(None) };
    if !name.eq_ignore_ascii_case(scheme) {
        return Ok(None);
    }
    let is_token = !token.is_empty() && !token.contains(' ') && token.len() <= LONGEST;
    is_token.then(|| Some(token.into())).ok_or(Reason::TokenInvalid)
}

fn field_text(value: &HeaderValue) -> Result<SecretString, Reason> {
    let text = visible(value).filter(|text| text.len() <= LONGEST);
    text.map(SecretString::from).ok_or(Reason::TokenInvalid)
}

/// The value of a cookie. A name that occurs twice is ambiguous.
fn cookie(headers: &HeaderMap, wanted: &str) -> Result<Option<SecretString>, Reason> {
    let mut values = cookie_values(headers, wanted);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reason::AmbiguousCredential);
    }
    let is_value = value.len() <= LONGEST && value.iter().copied().all(is_cookie_octet);
    let value = std::str::from_utf8(value).ok().filter(|_| is_value);
    value.map(|value| Some(value.into())).ok_or(Reason::TokenInvalid)
}

/// The values of all cookies with this name, without quotation marks (RFC 6265, section 5.4). HTTP/2
/// may cut the field into several (RFC 9113, section 8.2.3), so all of them are looked at.
pub fn cookie_values<'h>(headers: &'h HeaderMap, wanted: &str) -> impl Iterator<Item = &'h [u8]> {
    let fields = headers.get_all(COOKIE).into_iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let end = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(end);
        let value = value.get(1..).filter(|_| name == wanted.as_bytes())?;
        let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(inner.unwrap_or(value))
    })
}

/// The value of a parameter of the query. A parameter that occurs twice is ambiguous, whichever it
/// is.
fn query(query: &str, wanted: &str) -> Result<Option<SecretString>, Reason> {
    let mut seen = HashSet::new();
    let mut found = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        // Bytes that are no UTF-8 would be replaced, and two names could become one.
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            return Err(Reason::MalformedRequest);
        }
        if name == wanted {
            found = Some(SecretString::new(value.into_owned()));
        }
        if !seen.insert(name) {
            return Err(Reason::AmbiguousCredential);
        }
    }
    Ok(found)
}
