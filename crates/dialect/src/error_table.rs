//! The `[error]` table of a dialect: as it is written, and as it is checked.
//!
//! A key is the code of a reason, a status, or `default`. Each entry has only the values that it
//! wants to change. `error_format` puts the entries over each other, the most specific first; this
//! file decides nothing about an answer.

use std::collections::BTreeMap;

use http::StatusCode;
use http::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Reason;
use super::body_template::{BodyTemplate, RawBody, default_type};
use super::cookie::RawCookie;
use super::placeholders::PlaceholderScope;
use super::problem::DialectProblems;
use super::reply_fields::{ReplyFields, check_content_type};
use super::seen_answer::{RawSeenAnswer, SeenAnswer};

/// One entry of `[error]` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawError {
    status: Option<u16>,
    /// The value of `$title`.
    title: Option<String>,
    /// The value of `$detail`, instead of the gateway's own sentence about the request.
    detail: Option<String>,
    /// The value of `$slug`; the default is the reason's code with hyphens.
    slug: Option<String>,
    json: Option<Value>,
    form: Option<Map<String, Value>>,
    text: Option<String>,
    xml: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    cookies: Option<Vec<RawCookie>>,
    /// The answer has no body at all.
    empty: bool,
    content_type: Option<String>,
    /// `false`: the answer never has the header `WWW-Authenticate`.
    challenge: Option<bool>,
    /// Answers of another system that mean the reason.
    seen: Vec<RawSeenAnswer>,
}

/// One checked entry. A value that is `None` is taken from the next, more general entry: of the
/// status, of the default, and finally from problem+json.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorEntry {
    pub(super) status: Option<StatusCode>,
    pub(super) title: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) slug: Option<String>,
    pub(super) body: Option<EntryBody>,
    pub(super) fields: Option<ReplyFields>,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) challenge: Option<bool>,
}

#[derive(Clone, Debug)]
pub(super) enum EntryBody {
    Empty,
    /// A body, and its media type where the entry names none.
    Template(BodyTemplate, HeaderValue),
}

/// A complete `[error]` table, checked. Entries for reasons are more specific than entries for
/// statuses, and the default is the most general. Invariant: entries for statuses are for 400 to
/// 599.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorTable {
    pub(super) by_reason: BTreeMap<Reason, ErrorEntry>,
    pub(super) by_status: BTreeMap<u16, ErrorEntry>,
    pub(super) default: Option<ErrorEntry>,
    /// The answers of other systems that mean a reason.
    pub(super) seen: Vec<(Reason, SeenAnswer)>,
}

impl ErrorTable {
    /// Checks a table. `at` is the key path of the table, for the problems found. Unknown keys are
    /// reported with the names that exist.
    pub(super) fn check(
        raw: BTreeMap<String, RawError>,
        at: &str,
        problems: &mut DialectProblems,
    ) -> Self {
        let mut entries = Self::default();
        for (key, mut raw) in raw {
            let at = format!("{at}.{key}");
            let seen = std::mem::take(&mut raw.seen);
            let reason = Reason::from_code(&key);
            let is_only_seen = !seen.is_empty() && raw == RawError::default();
            if !seen.is_empty() && reason.is_none() {
                let message = "goes with a reason: an answer of another system means one";
                problems.add(format!("{at}.seen"), "", message);
            }
            for (number, seen) in seen.into_iter().enumerate() {
                let seen = seen.check(&format!("{at}.seen[{number}]"), problems);
                entries.seen.extend(reason.zip(seen));
            }
            // What is said of other systems changes nothing in the gateway's own answers.
            if is_only_seen && reason.is_some() {
                continue;
            }
            let entry = raw.check(&at, problems);
            // A default with a status would give every error the same status, including "try again
            // later" and "never try this again".
            if key == "default" {
                if entry.status.is_some() {
                    problems.add(&at, "", "has a status, but each reason has its own");
                }
                entries.default = Some(entry);
            } else if let Some(reason) = Reason::from_code(&key) {
                if reason == Reason::AccountDisabled {
                    // A different answer would show a guesser which accounts exist and were closed.
                    problems.add(&at, &key, "is always answered like `invalid_credentials`");
                }
                entries.by_reason.insert(reason, entry);
            // Only errors have entries here; a status outside 400 to 599 is a typing mistake.
            } else if let Some(status) = key.parse().ok().filter(|at| (400..600).contains(at)) {
                entries.by_status.insert(status, entry);
            } else {
                problems.add(&at, &key, no_such_reason(&key));
            }
        }
        entries
    }

    /// True if the table has an entry for this very reason.
    pub(super) fn names(&self, reason: Reason) -> bool {
        self.by_reason.contains_key(&reason)
    }
}

impl RawError {
    fn check(self, at: &str, problems: &mut DialectProblems) -> ErrorEntry {
        let status = self.status.and_then(|code| {
            let status = StatusCode::from_u16(code).ok();
            let is_final = |status: &StatusCode| (200..600).contains(&status.as_u16());
            let status = status.filter(is_final);
            if status.is_none() {
                problems.add(format!("{at}.status"), code, "must be between 200 and 599");
            }
            status
        });
        let content_type = check_content_type(self.content_type, at, problems);
        let raw = RawBody { json: self.json, form: self.form, text: self.text, xml: self.xml };
        let usual_type = default_type(&raw);
        let written_as = content_type.as_ref().unwrap_or(&usual_type);
        let scope = PlaceholderScope::ERROR;
        let template = BodyTemplate::check(raw, written_as, scope, at, problems);
        if self.empty && template.is_some() {
            problems.add(at, "", "has a body and `empty = true`; keep one of them");
        }
        let body = match template {
            Some(template) => Some(EntryBody::Template(template, usual_type)),
            None => self.empty.then_some(EntryBody::Empty),
        };
        let has_fields = self.headers.is_some() || self.cookies.is_some();
        let (headers, cookies) =
            (self.headers.unwrap_or_default(), self.cookies.unwrap_or_default());
        let fields = ReplyFields::check(headers, cookies, scope, at, problems);
        ErrorEntry {
            status,
            title: self.title,
            detail: self.detail,
            slug: self.slug,
            body,
            fields: has_fields.then_some(fields),
            content_type,
            challenge: self.challenge,
        }
    }
}

/// Names the reason that is spelled most alike, if one is close enough to be what the operator
/// meant.
fn no_such_reason(key: &str) -> String {
    let close = Reason::ALL
        .iter()
        .map(|reason| (strsim::jaro_winkler(key, reason.code()), reason.code()))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(similarity, _)| *similarity > 0.85);
    let hint = close.map(|(_, code)| format!("; did you mean `{code}`?")).unwrap_or_default();
    let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    format!("is no reason{hint} (there are default, a status, {})", codes.join(", "))
}
