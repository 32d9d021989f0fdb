//! The template of a whole answer: status, header fields, cookies and body.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Carrier;
use super::body_template::{BodyTemplate, RawBody, default_type};
use super::cookie::RawCookie;
use super::local_response::{LocalResponse, answer};
use super::placeholders::{Placeholder, PlaceholderScope};
use super::problem::DialectProblems;
use super::reply_fields::{ReplyFields, check_content_type};
use super::template::ValueLookup;
use tollhouse_core::clock::Timestamp;

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
    pub(crate) fields: ReplyFields,
    /// `None` for an empty body.
    pub(crate) body: Option<BodyTemplate>,
    pub(crate) content_type: HeaderValue,
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
        let fields = ReplyFields::check(self.headers, self.cookies, scope, at, problems);
        EndpointReply { status, fields, body, content_type }
    }
}

impl EndpointReply {
    /// An empty answer with this status.
    pub(crate) fn empty(status: StatusCode) -> Self {
        let content_type = HeaderValue::from_static("application/json");
        Self { status, fields: ReplyFields::default(), body: None, content_type }
    }

    /// Renders the answer with the values that `look` finds. A value that is missing is rendered as
    /// `null` or as nothing.
    pub(crate) fn render(&self, look: ValueLookup<'_>, now: Timestamp) -> LocalResponse {
        let body = self.body.as_ref().map_or_else(Bytes::new, |body| body.render(look));
        let mut rendered = answer(self.status, &self.content_type, body);
        self.fields.render(look, now, &mut rendered.headers);
        rendered
    }

    /// True if the placeholder occurs anywhere in the answer.
    pub(crate) fn names(&self, wanted: &Placeholder) -> bool {
        self.places().contains(&wanted)
    }

    /// The places in the request whose values the answer shows.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Carrier> {
        self.places().into_iter().filter_map(|place| match place {
            Placeholder::Request(at) => Some(at),
            _ => None,
        })
    }

    /// True if the answer sets a cookie.
    pub(crate) fn sets_cookies(&self) -> bool {
        !self.fields.cookies.is_empty()
    }

    fn places(&self) -> Vec<&Placeholder> {
        let mut found = Vec::new();
        self.fields.places(&mut found);
        if let Some(body) = &self.body {
            body.places(&mut found);
        }
        found
    }
}
