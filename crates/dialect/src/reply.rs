//! The template of a whole answer: status, header fields, cookies and body.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, SET_COOKIE};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::body_template::{BodyTemplate, RawBody, default_type};
use super::cookie::{CookieTemplate, RawCookie};
use super::definition::Dialect;
use super::error_format::answer;
use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::DialectProblems;
use super::template::{TemplateNode, TextPart, ValueLookup};
use super::{Carrier, LocalResponse, TemplateValues};

/// An answer as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawReply {
    #[serde(default = "RawReply::ok")]
    status: u16,
    json: Option<Value>,
    form: Option<Map<String, Value>>,
    text: Option<String>,
    xml: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    cookies: Vec<RawCookie>,
}

/// A template of an answer in case of success.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointReply {
    pub(crate) status: StatusCode,
    pub(crate) extras: ReplyExtras,
    /// `None` for an empty body.
    pub(crate) body: Option<BodyTemplate>,
    pub(crate) content_type: HeaderValue,
}

/// What an answer has beside its status and its body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReplyExtras {
    pub(crate) headers: Vec<(HeaderName, Vec<TextPart>)>,
    pub(crate) cookies: Vec<CookieTemplate>,
}

impl RawReply {
    fn ok() -> u16 {
        200
    }

    /// Checks an answer whose placeholders are those of `scope`.
    pub(crate) fn check(
        self,
        scope: PlaceholderScope,
        at: &str,
        problems: &mut DialectProblems,
    ) -> EndpointReply {
        let is_final = |status: &StatusCode| !status.is_informational() && status.as_u16() < 600;
        let status = StatusCode::from_u16(self.status).ok().filter(is_final);
        if status.is_none() {
            problems.add(format!("{at}.status"), self.status, "must be between 200 and 599");
        }
        let status = status.unwrap_or_default();
        let raw = RawBody { json: self.json, form: self.form, text: self.text, xml: self.xml };
        let own_type = check_content_type(self.content_type, at, problems);
        let content_type = own_type.unwrap_or_else(|| default_type(&raw));
        let body = BodyTemplate::check(raw, &content_type, scope, at, problems);
        let has_no_body = matches!(status.as_u16(), 204 | 205 | 304);
        if has_no_body && body.is_some() {
            let message = format!("cannot go with status {}, which has no body", status.as_u16());
            let key =
                if body.as_ref().is_some_and(|body| body.json().is_some()) { ".json" } else { "" };
            problems.add(format!("{at}{key}"), "", message);
        }
        let extras = ReplyExtras::check(self.headers, self.cookies, scope, at, problems);
        EndpointReply { status, extras, body, content_type }
    }
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

impl ReplyExtras {
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
        now: tollhouse_core::clock::Timestamp,
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
    let mut written = String::with_capacity(text.len());
    for character in text.trim().chars() {
        if character.is_ascii_graphic() || character == ' ' {
            written.push(character);
            continue;
        }
        let mut buffer = [0; 4];
        for byte in character.encode_utf8(&mut buffer).bytes() {
            written.push_str(&format!("%{byte:02X}"));
        }
    }
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

impl EndpointReply {
    /// An empty answer with this status.
    pub(crate) fn empty(status: StatusCode) -> Self {
        let content_type = HeaderValue::from_static("application/json");
        Self { status, extras: ReplyExtras::default(), body: None, content_type }
    }

    /// Renders the answer. A value that is missing is rendered as `null` or as nothing.
    pub(crate) fn render(&self, values: &TemplateValues, dialect: &Dialect) -> LocalResponse {
        let look = |place: &Placeholder| place.value(values, dialect);
        let body = self.body.as_ref().map_or_else(Bytes::new, |body| body.render(&look));
        let mut rendered = answer(self.status, &self.content_type, body);
        self.extras.render(&look, values.now, &mut rendered.headers);
        rendered
    }

    /// The template of a JSON body, for reading an answer backwards.
    pub(crate) fn json(&self) -> Option<&TemplateNode> {
        self.body.as_ref().and_then(BodyTemplate::json)
    }

    /// True if the placeholder occurs anywhere in the answer.
    pub(crate) fn names(&self, wanted: &Placeholder) -> bool {
        self.places().contains(&wanted)
    }

    /// What it shows of the request.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Carrier> {
        self.places().into_iter().filter_map(|place| match place {
            Placeholder::Request(at) => Some(at),
            _ => None,
        })
    }

    /// True if the answer sets a cookie.
    pub(crate) fn sets_cookies(&self) -> bool {
        !self.extras.cookies.is_empty()
    }

    fn places(&self) -> Vec<&Placeholder> {
        let mut found = Vec::new();
        self.extras.places(&mut found);
        if let Some(body) = &self.body {
            body.places(&mut found);
        }
        found
    }
}
