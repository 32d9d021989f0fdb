//! The header fields and cookies of an answer.

use std::collections::BTreeMap;

use http::header::{HeaderName, HeaderValue, SET_COOKIE};

use super::cookie::{CookieTemplate, RawCookie};
use super::octets::percent_encoded;
use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::DialectProblems;
use super::template::{TextPart, ValueLookup};
use tollhouse_core::clock::Timestamp;

/// The header fields and cookies that an answer sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReplyFields {
    pub(crate) headers: Vec<(HeaderName, Vec<TextPart>)>,
    pub(crate) cookies: Vec<CookieTemplate>,
}

/// Reads a `content_type`.
pub(crate) fn check_content_type(
    text: Option<String>,
    at: &str,
    problems: &mut DialectProblems,
) -> Option<HeaderValue> {
    let text = text?;
    let value = HeaderValue::from_str(&text).ok().filter(|_| text.contains('/'));
    if value.is_none() {
        problems.add(format!("{at}.content_type"), &text, "is no media type");
    }
    value
}

impl ReplyFields {
    pub(crate) fn check(
        headers: BTreeMap<String, String>,
        cookies: Vec<RawCookie>,
        scope: PlaceholderScope,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Self {
        let mut checked = Self::default();
        for (name, text) in headers {
            let at = format!("{at}.headers.{name}");
            match own_field(&name) {
                Some(name) => {
                    let parts = TextPart::compile(&text, scope, &at, problems);
                    let mut places = Vec::new();
                    TextPart::places(&parts, &mut places);
                    let leads = matches!(name.as_str(), "location" | "refresh" | "link");
                    if leads && places.iter().any(|place| matches!(place, Placeholder::Request(_)))
                    {
                        let message = "would lead wherever the client says: `$request` does not go \
                                       into this field";
                        problems.add(&at, &text, message);
                    }
                    if parts.iter().any(|part| !part.is_writable()) {
                        problems.add(&at, &text, "has characters that no header field can have");
                    }
                    checked.headers.push((name, parts));
                }
                None => {
                    let message = "is no field that an answer may set here: what frames, caches or \
                                   types it is the gateway's, cookies are `cookies`, CORS is `cors`";
                    problems.add(&at, &name, message);
                }
            }
        }
        for (number, cookie) in cookies.into_iter().enumerate() {
            let at = format!("{at}.cookies[{number}]");
            checked.cookies.extend(cookie.check(scope, &at, problems));
        }
        checked
    }

    /// The same with the values in header fields that are known already; see `TemplateNode::fold`.
    pub(crate) fn fold(self, look: ValueLookup<'_>) -> Self {
        let fold = |(name, parts)| (name, TextPart::fold(parts, look, str::to_owned));
        let headers = self.headers.into_iter().map(fold).collect();
        let cookies = self.cookies.into_iter().map(|cookie| cookie.fold(look)).collect();
        Self { headers, cookies }
    }

    /// Renders the fields, cookies last.
    pub(crate) fn render(
        &self,
        look: ValueLookup<'_>,
        now: Timestamp,
        headers: &mut Vec<(HeaderName, HeaderValue)>,
    ) {
        for (name, parts) in &self.headers {
            let text: String = parts.iter().map(|part| part.render(look)).collect();
            headers.push((name.clone(), field_value(&text)));
        }
        for cookie in &self.cookies {
            headers.push((SET_COOKIE, cookie.render(look, now)));
        }
    }

    pub(crate) fn places<'t>(&'t self, found: &mut Vec<&'t Placeholder>) {
        self.headers.iter().for_each(|(_, parts)| TextPart::places(parts, found));
        self.cookies.iter().for_each(|cookie| cookie.places(found));
    }
}

/// A value of a header field. What no field can have is percent-encoded UTF-8: it must neither end
/// the field nor be read differently by others (RFC 9110, section 5.5).
fn field_value(text: &str) -> HeaderValue {
    let written = percent_encoded(text.trim(), |byte| byte.is_ascii_graphic() || byte == b' ');
    let mut value = HeaderValue::from_str(&written).unwrap_or(HeaderValue::from_static(""));
    // It may be a token.
    value.set_sensitive(true);
    value
}

/// The field with this name, if an answer may set it.
fn own_field(name: &str) -> Option<HeaderName> {
    const GATEWAYS: &[&str] = &[
        "age",
        "alt-svc",
        "cache-control",
        "connection",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "vary",
        "via",
        "www-authenticate",
        "x-request-id",
    ];
    let name = HeaderName::try_from(name).ok()?;
    let text = name.as_str();
    let is_own = !GATEWAYS.contains(&text)
        && !text.starts_with("content-")
        && !text.starts_with("access-control-");
    is_own.then_some(name)
}
