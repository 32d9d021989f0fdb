//! The form of a dialect's errors: reason in; status, headers and body out.
//!
//! A form is built once, from `[error]` tables that are put over each other, and has an answer for
//! every reason; where no table has one it is problem+json (RFC 9457). At request time only the
//! values that differ between requests are filled in: path, request id, time and detail.
//!
//! `Retry-After`, `Allow` and the challenge itself are added by the caller.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use serde_json::{Value, json};

use super::Reason;
use super::body_template::BodyTemplate;
use super::carrier::Carrier;
use super::error_table::{EntryBody, ErrorEntry, ErrorTable};
use super::local_response::{JSON, LocalResponse, answer};
use super::placeholders::{Placeholder, PlaceholderName, PlaceholderScope, with_offset};
use super::problem::DialectProblems;
use super::reply_fields::ReplyFields;
use super::request_values::RequestValues;
use super::seen_answer::SeenAnswer;
use super::template::TemplateNode;
use tollhouse_core::clock::Timestamp;

/// The error answers of one dialect or endpoint. Every reason has one: by an entry of its own, by
/// its status, by the default, or as problem+json. The answers are complete except for the values
/// that differ between requests.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorFormat {
    name: String,
    /// Invariant: one reply for each reason, in the order of `Reason::ALL`.
    replies: Vec<ErrorReply>,
    /// The answers of other systems that mean a reason, the most specific first.
    seen: Vec<(Reason, SeenAnswer)>,
    /// The reply if the list were too short. Because of the invariant it is never used; it avoids
    /// an index that could panic. It is the answer to an internal error.
    last_resort: ErrorReply,
    /// True if any reply shows a value of the request.
    shows_request: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct ErrorReply {
    status: StatusCode,
    title: String,
    /// `None`: the answer has no body.
    body: Option<BodyTemplate>,
    content_type: HeaderValue,
    fields: ReplyFields,
    challenge: bool,
}

/// The values that an error answer may show.
#[derive(Clone, Debug)]
pub struct ErrorValues<'a> {
    pub reason: Reason,
    /// The path that the client requested, without the query: a query may contain secrets.
    pub path: &'a str,
    pub request_id: &'a str,
    /// A sentence for the client, more exact than the reason's title. It must never contain a
    /// cause. It is written into the client's answer as it is.
    pub detail: Option<&'a str>,
    /// The values of the request for `$request.…`; none where it is for no endpoint.
    pub request: &'a RequestValues,
    pub now: Timestamp,
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl ErrorFormat {
    /// The form without a dialect: problem+json (RFC 9457) for every reason.
    pub fn problem() -> Arc<Self> {
        Arc::new(Self::build("problem", &[]))
    }

    /// Builds a form from tables, the most specific table first: an endpoint's table comes before
    /// its dialect's. Each value is taken from the first table that has it.
    pub(super) fn build(name: &str, tables: &[&ErrorTable]) -> Self {
        let replies: Vec<ErrorReply> =
            Reason::ALL.iter().map(|reason| reply(*reason, tables)).collect();
        let shows_request = replies
            .iter()
            .flat_map(ErrorReply::places)
            .any(|place| matches!(place, Placeholder::Request(_)));
        let last_resort = reply(Reason::Internal, &[]);
        let seen = tables.iter().flat_map(|table| &table.seen).cloned().collect();
        Self { name: name.to_owned(), replies, seen, last_resort, shows_request }
    }

    /// The name of the dialect, or `problem`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The status with which this form answers `reason`.
    pub fn status(&self, reason: Reason) -> StatusCode {
        self.reply(reason).status
    }

    /// The body of the answer to `reason`; `client` uses it to recognise such an answer of another
    /// system. `None` if it has none.
    pub(super) fn body(&self, reason: Reason) -> Option<&BodyTemplate> {
        self.reply(reason).body.as_ref()
    }

    /// The header fields and cookies of the answer to `reason`.
    pub(super) fn fields(&self, reason: Reason) -> &ReplyFields {
        &self.reply(reason).fields
    }

    /// The answers of other systems that mean a reason, the most specific first.
    pub(super) fn seen(&self) -> &[(Reason, SeenAnswer)] {
        &self.seen
    }

    /// True if the answer to `reason` may have the header `WWW-Authenticate`.
    pub fn challenge(&self, reason: Reason) -> bool {
        self.reply(reason).challenge
    }

    /// True if any answer shows a value of the request.
    pub(super) fn shows_request(&self) -> bool {
        self.shows_request
    }

    /// The places in the request whose values the answers show.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Carrier> {
        self.replies.iter().flat_map(ErrorReply::places).filter_map(|place| match place {
            Placeholder::Request(at) => Some(at),
            _ => None,
        })
    }

    /// True if a client can tell the two reasons apart by status, headers or body.
    pub fn tells_apart(&self, one: Reason, other: Reason) -> bool {
        self.reply(one) != self.reply(other)
    }

    /// Renders the answer to one request.
    pub fn render(&self, facts: &ErrorValues<'_>) -> LocalResponse {
        let reply = self.reply(facts.reason);
        let look = |place: &Placeholder| facts.value(place, &reply.title);
        let body = reply.body.as_ref().map_or_else(Bytes::new, |body| body.render(&look));
        let mut rendered = answer(reply.status, &reply.content_type, body);
        reply.fields.render(&look, facts.now, &mut rendered.headers);
        rendered
    }

    fn reply(&self, reason: Reason) -> &ErrorReply {
        self.replies.get(reason as usize).unwrap_or(&self.last_resort)
    }
}

impl ErrorReply {
    fn places(&self) -> Vec<&Placeholder> {
        let mut found = Vec::new();
        self.fields.places(&mut found);
        if let Some(body) = &self.body {
            body.places(&mut found);
        }
        found
    }
}

impl ErrorValues<'_> {
    fn value(&self, place: &Placeholder, title: &str) -> Option<Value> {
        let name = match place {
            Placeholder::Named(name) => name,
            Placeholder::Request(at) => return self.request.find(at),
            _ => return None,
        };
        match name {
            PlaceholderName::Path => Some(self.path.into()),
            PlaceholderName::RequestId => Some(self.request_id.into()),
            // `detail` falls back on the title, so that an error always has a sentence for a
            // person.
            PlaceholderName::Detail => Some(self.detail.unwrap_or(title).into()),
            PlaceholderName::Timestamp => Some(with_offset(self.now).into()),
            PlaceholderName::TimestampMs => Some(self.now.millis().into()),
            _ => None,
        }
    }
}

/// The reason whose answer is used for `reason`. Some reasons must not be told apart, for example
/// an unknown user and a wrong password; they differ only if the dialect has an entry for them. A
/// status then cannot reveal a user either.
fn effective_reason(reason: Reason, tables: &[&ErrorTable]) -> Reason {
    // A disabled account always looks like a wrong password: the difference would tell a guesser
    // that the account exists.
    match reason {
        Reason::AccountDisabled => Reason::InvalidCredentials,
        Reason::UnknownUser | Reason::CodeExpired
            if tables.iter().any(|table| table.names(reason)) =>
        {
            reason
        }
        Reason::UnknownUser => Reason::InvalidCredentials,
        Reason::CodeExpired => Reason::CodeInvalid,
        other => other,
    }
}

fn reply(reason: Reason, tables: &[&ErrorTable]) -> ErrorReply {
    let reason = effective_reason(reason, tables);
    let own: Vec<&ErrorEntry> =
        tables.iter().filter_map(|table| table.by_reason.get(&reason)).collect();
    // The entries for a status are chosen by the reason's own status. Such an entry may then change
    // the status; choosing by the changed status could go round in circles. An entry for the reason
    // itself may also set that status.
    let group = own.iter().find_map(|entry| entry.status).unwrap_or(reason.status());
    let layers: Vec<&ErrorEntry> = tables
        .iter()
        .flat_map(|table| [table.by_reason.get(&reason), table.by_status.get(&group.as_u16())])
        .chain(tables.iter().map(|table| table.default.as_ref()))
        .flatten()
        .collect();

    let status = layers.iter().find_map(|entry| entry.status).unwrap_or(reason.status());
    let title = layers.iter().find_map(|entry| entry.title.as_deref()).unwrap_or(reason.title());
    let detail = layers.iter().find_map(|entry| entry.detail.as_deref());
    let slug = layers.iter().find_map(|entry| entry.slug.clone());
    // Values that are the same for each request are filled in now. What remains is either a fixed
    // body or a template with the values of the request.
    let slug = slug.unwrap_or_else(|| reason.code().replace('_', "-"));
    let fixed = |place: &Placeholder| {
        let Placeholder::Named(name) = place else { return None };
        match name {
            PlaceholderName::Null => Some(Value::Null),
            PlaceholderName::Status => Some(status.as_u16().into()),
            PlaceholderName::Phrase => Some(status.canonical_reason().unwrap_or_default().into()),
            PlaceholderName::Title => Some(title.into()),
            PlaceholderName::Detail => detail.map(Value::from),
            PlaceholderName::Code => Some(reason.code().into()),
            PlaceholderName::Slug => Some(slug.as_str().into()),
            _ => None,
        }
    };
    let (body, usual_type) = match layers.iter().find_map(|entry| entry.body.clone()) {
        None => (Some(problem_json()), PROBLEM_JSON),
        Some(EntryBody::Empty) => (None, JSON),
        Some(EntryBody::Template(template, usual_type)) => (Some(template), usual_type),
    };
    // The media type of a body of another kind, in a more general entry, does not count.
    let is_of_kind = |entry: &&&ErrorEntry| match &entry.body {
        Some(EntryBody::Template(_, of_entry)) => *of_entry == usual_type,
        _ => usual_type != PROBLEM_JSON,
    };
    let content_type =
        layers.iter().filter(is_of_kind).find_map(|entry| entry.content_type.clone());
    let content_type = content_type.unwrap_or(usual_type);
    let body = body.map(|body| body.of_type(&content_type).fold(&fixed));
    let fields = layers.iter().find_map(|entry| entry.fields.clone()).unwrap_or_default();
    let fields = fields.fold(&fixed);
    let challenge = layers.iter().find_map(|entry| entry.challenge).unwrap_or(true);
    ErrorReply { status, title: title.to_owned(), body, content_type, fields, challenge }
}

/// RFC 9457: with the type `about:blank` the title is the phrase of the status. Programs should
/// compare `code`, which is one of the names in `Reason` and never changes.
fn problem_json() -> BodyTemplate {
    let form = json!({
        "type": "about:blank",
        "title": "$phrase",
        "status": "$status",
        "detail": "$detail",
        "instance": "$path",
        "code": "$code",
        "request_id": "$request_id",
    });
    let scope = PlaceholderScope::ERROR;
    BodyTemplate::Json(TemplateNode::compile(form, scope, "", &mut DialectProblems::default()))
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, CONTENT_TYPE};

    use super::*;
    use crate::{Dialect, RawDialect};

    fn facts(reason: Reason) -> ErrorValues<'static> {
        const NOTHING: &RequestValues = &RequestValues(Vec::new());
        let now = Timestamp::from_millis(1_677_273_555_137);
        ErrorValues { reason, path: "/a\"b", request_id: "r1", detail: None, request: NOTHING, now }
    }

    fn body(form: &ErrorFormat, reason: Reason) -> String {
        String::from_utf8(form.render(&facts(reason)).body.to_vec()).expect("text")
    }

    fn dialect(errors: &str) -> Dialect {
        let endpoint = "[[endpoint]]\nstep = 'login'\nrequest = 'POST /l'\n\
                        credential = [{ basic = {} }]\nreply = {}\n";
        let raw: RawDialect =
            toml::from_str(&format!("name = 'x'\n{endpoint}{errors}")).expect("x");
        Dialect::check(raw).expect("no problems")
    }

    #[test]
    fn what_nobody_said_is_problem_json() {
        let answer = ErrorFormat::problem().render(&facts(Reason::TokenExpired));

        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.headers.contains(&(CONTENT_TYPE, PROBLEM_JSON)));
        assert!(answer.headers.contains(&(CACHE_CONTROL, HeaderValue::from_static("no-store"))));
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            concat!(
                r#"{"type":"about:blank","title":"Unauthorized","status":401,"#,
                r#""detail":"The token has expired","instance":"/a\"b","#,
                r#""code":"token_expired","request_id":"r1"}"#
            )
        );
    }

    #[test]
    fn a_request_may_say_more_unless_the_dialect_fixed_it() {
        let exact = ErrorValues { detail: Some("twice"), ..facts(Reason::MalformedRequest) };
        let told = ErrorFormat::problem().render(&exact);
        let fixed = dialect("[error]\n400 = { detail = 'no' }").errors.render(&exact);

        assert!(String::from_utf8_lossy(&told.body).contains(r#""detail":"twice""#));
        assert!(String::from_utf8_lossy(&fixed.body).contains(r#""detail":"no""#));
    }

    #[test]
    fn the_more_particular_entry_wins() {
        let form = dialect(
            "[error]\ndefault = { json = { e = '$title' }, challenge = false }\n\
             401 = { status = 403, title = 'by status' }\ntoken_expired = { title = 'own' }\n\
             token_revoked = { status = 410, empty = true }",
        )
        .errors;

        assert_eq!(body(&form, Reason::TokenInvalid), r#"{"e":"by status"}"#);
        assert_eq!(body(&form, Reason::TokenExpired), r#"{"e":"own"}"#);
        assert_eq!(body(&form, Reason::NotFound), r#"{"e":"Not found"}"#);
        assert_eq!(body(&form, Reason::TokenRevoked), "");
        assert_eq!(form.status(Reason::TokenExpired), StatusCode::FORBIDDEN);
        assert_eq!(form.status(Reason::TokenRevoked), StatusCode::GONE);
        assert!(!form.challenge(Reason::TokenInvalid));
    }

    #[test]
    fn unknown_and_disabled_users_are_told_apart_only_on_request() {
        let plain = dialect("");
        let telling = dialect("[error]\nunknown_user = { status = 404 }");

        for reason in [Reason::UnknownUser, Reason::AccountDisabled] {
            assert_eq!(
                body(&plain.errors, reason),
                body(&plain.errors, Reason::InvalidCredentials)
            );
        }
        assert!(!plain.tells_unknown_user);
        assert!(telling.tells_unknown_user);
    }
}
