//! `[[error.NAME.seen]]`: an answer of another system that means a reason.
//!
//! What the gateway itself answers for a reason is understood without it. It is for systems that say
//! the same in other words: a login page with status 200 and `Fails.` in it. Only `client` looks at
//! it.

use std::collections::BTreeMap;

use http::StatusCode;
use http::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::body::{TEXT, read_answer};
use super::carrier::Carrier;
use super::condition::{Condition, RawConditions};
use super::member::{MemberPath, element_index};
use super::problem::DialectProblems;

/// Stands for any text.
const ANY: char = '*';

/// The answer as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSeenAnswer {
    status: u16,
    /// The body, with `*` for any text.
    text: Option<String>,
    #[serde(default)]
    json: BTreeMap<String, Value>,
    #[serde(default)]
    form: BTreeMap<String, Value>,
    #[serde(default)]
    xml: BTreeMap<String, Value>,
    #[serde(default)]
    fields: BTreeMap<String, Value>,
}

/// An answer of another system, by what is in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeenAnswer {
    status: StatusCode,
    text: Option<String>,
    conditions: Vec<Condition>,
}

impl RawSeenAnswer {
    /// Checks the answer; `None` if it is wrong, and then `problems` says what is.
    pub(crate) fn check(self, at: &str, problems: &mut DialectProblems) -> Option<SeenAnswer> {
        let before = problems.len();
        let status = StatusCode::from_u16(self.status).ok();
        let status = status.filter(|status| (200..600).contains(&status.as_u16()));
        if status.is_none() {
            problems.add(format!("{at}.status"), self.status, "must be between 200 and 599");
        }
        let bodies = [
            self.text.is_some(),
            !self.json.is_empty(),
            !self.form.is_empty(),
            !self.xml.is_empty(),
        ];
        let bodies = bodies.iter().filter(|is_there| **is_there).count();
        if bodies > 1 {
            problems.add(at, "", "has several bodies; keep one of text, json, form, xml");
        }
        // Any answer with such a status would be a refusal: a success, a page on the way, an outage.
        let is_vague = status.is_some_and(|status| !status.is_client_error());
        if bodies == 0 && self.fields.is_empty() && is_vague {
            let message = "says only a status that means other things too: add text, json, form, \
                           xml or fields";
            problems.add(at, self.status, message);
        }
        let conditions = RawConditions {
            json: self.json,
            form: self.form,
            xml: self.xml,
            fields: self.fields,
            ..RawConditions::default()
        };
        let conditions = conditions.check(at, problems);
        let seen = SeenAnswer { status: status?, text: self.text, conditions };
        (problems.len() == before).then_some(seen)
    }
}

impl SeenAnswer {
    /// True if this is the answer.
    pub(crate) fn is(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> bool {
        if status != self.status.as_u16() {
            return false;
        }
        let Ok(text) = std::str::from_utf8(body) else { return false };
        let is_text = self.text.as_ref().is_none_or(|wanted| is_like(wanted, text.trim()));
        is_text
            && self.conditions.iter().all(|condition| {
                let value = match &condition.at {
                    Carrier::Field(name) => {
                        headers.get(name).and_then(|value| value.to_str().ok()).map(Value::from)
                    }
                    Carrier::Member(kind, path) => {
                        read_answer(*kind, text).and_then(|tree| member(&tree, path).cloned())
                    }
                    _ => None,
                };
                condition.expected.holds(value.as_ref())
            })
    }
}

/// The value at a path of an answer. Of an XML element with attributes it is the text.
fn member<'t>(tree: &'t Value, path: &MemberPath) -> Option<&'t Value> {
    let value = path.names().iter().try_fold(tree, |value, name| match element_index(name) {
        Some(index) => value.get(index),
        None => value.get(name),
    })?;
    Some(value.get(TEXT).unwrap_or(value))
}

/// True if the text is the wanted one, in which `*` stands for any text.
fn is_like(wanted: &str, text: &str) -> bool {
    let mut pieces = wanted.trim().split(ANY);
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (wanted, text, is_it) in [
            ("Fails.", "Fails.", true),
            ("Fails.", "Fails. ", false),
            ("Fails.", "It Fails.", false),
            ("*Fails*", "It Fails here", true),
            ("*Fails*", "It fails", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(is_like(wanted, text), is_it, "{wanted:?} {text:?}");
        }
    }
}
