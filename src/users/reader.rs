//! The reader for single values of a users file; each bad value becomes a problem with its line and
//! a remedy.
//!
//! `table` calls it for each key. It never stops at the first problem, and no message repeats a
//! password or hash.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeValue};
use uuid::Uuid;

use super::canonical::canonical_name;
use super::problem::FileProblem;
use super::source::LoginName;
use crate::identity::{Claims, RESERVED_CLAIMS};
use crate::passwords::{BadHash, StoredHash};
use crate::settings::AllowWeak;

/// Longest text that is accepted, in bytes. With a longer name the user could not log in.
const MAX_TEXT: usize = LoginName::LONGEST;

/// Reads values and collects problems. It has the whole text, to compute line numbers.
pub(super) struct FileReader<'t> {
    text: &'t str,
    allowed: &'t AllowWeak,
    problems: Vec<FileProblem>,
}

impl<'t> FileReader<'t> {
    pub(super) fn new(text: &'t str, allowed: &'t AllowWeak) -> Self {
        Self { text, allowed, problems: Vec::new() }
    }

    /// Notes a problem at the position `span`.
    pub(super) fn add(&mut self, span: Range<usize>, path: &str, message: impl Into<String>) {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.problems.push(FileProblem { line, path: path.to_owned(), message: message.into() });
    }

    /// All problems, in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<FileProblem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }

    fn string(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Option<String> {
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Some(text.into_owned()),
            other => {
                self.add(span, path, format!("is {}; write a string", article(&other)));
                None
            }
        }
    }

    /// A text that can be a name: not empty, not too long, without control characters, and without
    /// space around it.
    fn text(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Option<String> {
        let span = value.span();
        let text = self.string(value, path)?;
        let Some(problem) = text_problem(&text) else { return Some(text) };
        self.add(span, path, problem);
        None
    }

    pub(super) fn name(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Option<String> {
        self.text(value, path)
    }

    pub(super) fn id(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Option<String> {
        let span = value.span();
        let text = self.string(value, path)?;
        // An id is stored in one spelling only, so that a log and a token show the same bytes.
        let id = Uuid::try_parse(&text).ok().map(|id| id.hyphenated().to_string());
        if id.is_none() {
            self.add(
                span,
                path,
                "is not a UUID; leave it out, or let `tollhouse user add` make one",
            );
        }
        id
    }

    pub(super) fn email(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Option<String> {
        let span = value.span();
        let text = self.text(value, path)?;
        if is_address(&text) {
            return Some(text);
        }
        self.add(span, path, "is not an e-mail address like `name@example.com`");
        None
    }

    pub(super) fn password(
        &mut self,
        value: Spanned<DeValue<'_>>,
        path: &str,
    ) -> Option<StoredHash> {
        let span = value.span();
        let text = self.string(value, path)?;
        match StoredHash::parse_allowing(&text, self.allowed) {
            Ok(hash) => Some(hash),
            Err(bad @ BadHash::TooCostly { .. }) => {
                self.add(span, path, bad.to_string());
                None
            }
            Err(bad) => {
                self.add(span, path, format!("{bad}; make one with `tollhouse hash`"));
                None
            }
        }
    }

    /// A list of role or scope names. Scopes must be scope tokens (RFC 6749, section 3.3), because
    /// a token carries all of them in one string, separated by spaces.
    pub(super) fn words(
        &mut self,
        value: Spanned<DeValue<'_>>,
        path: &str,
        scopes: bool,
    ) -> Vec<String> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            self.add(span, path, "is a list of strings, for example [\"admin\"]");
            return Vec::new();
        };
        let mut words = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let span = item.span();
            let path = format!("{path}[{index}]");
            let Some(word) = self.text(item, &path) else { continue };
            if scopes && !is_scope(&word) {
                self.add(span, &path, "is not a scope: no spaces, quotes, \\ or non-ASCII letters");
            } else {
                words.push(word);
            }
        }
        words
    }

    pub(super) fn boolean(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> bool {
        let span = value.span();
        match value.into_inner() {
            DeValue::Boolean(value) => value,
            other => {
                self.add(span, path, format!("is {}; write true or false", article(&other)));
                false
            }
        }
    }

    pub(super) fn claims(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Claims {
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            self.add(span, path, "is a table, for example { tenant = \"acme\" }");
            return Claims::new();
        };
        let mut claims = Claims::new();
        for (key, value) in table {
            // The gateway sets these claims itself; a user source must not be able to change who a
            // token is about or how long it is valid.
            let path = format!("{path}.{}", key.get_ref());
            if RESERVED_CLAIMS.contains(&key.get_ref().as_ref()) {
                self.add(key.span(), &path, "is a claim that the gateway sets itself");
            } else if let Some(value) = self.claim(value, &path) {
                claims.insert(key.into_inner().into_owned(), value);
            }
        }
        claims
    }

    fn claim(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Option<Value> {
        let span = value.span();
        let json = match value.into_inner() {
            DeValue::String(text) => Some(Value::String(text.into_owned())),
            DeValue::Boolean(value) => Some(Value::Bool(value)),
            DeValue::Datetime(time) => Some(Value::String(time.to_string())),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from)
            }
            // JSON has neither infinity nor NaN.
            DeValue::Float(number) => number
                .as_str()
                .parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map(Value::Number),
            DeValue::Array(items) => {
                let items = items.into_iter().enumerate();
                return items
                    .map(|(index, item)| self.claim(item, &format!("{path}[{index}]")))
                    .collect::<Option<Vec<_>>>()
                    .map(Value::Array);
            }
            DeValue::Table(table) => {
                let entries = table.into_iter();
                return entries
                    .map(|(key, value)| self.member(key, value, path))
                    .collect::<Option<Claims>>()
                    .map(Value::Object);
            }
        };
        if json.is_none() {
            self.add(span, path, "is a number that JSON cannot carry");
        }
        json
    }

    fn member(
        &mut self,
        key: Spanned<DeString<'_>>,
        value: Spanned<DeValue<'_>>,
        path: &str,
    ) -> Option<(String, Value)> {
        let key = key.into_inner().into_owned();
        let value = self.claim(value, &format!("{path}.{key}"))?;
        Some((key, value))
    }
}

/// The reason why a text cannot be a name; `None` if it can.
pub(super) fn text_problem(text: &str) -> Option<String> {
    if canonical_name(text).is_empty() {
        Some("is empty".to_owned())
    } else if text.len() > MAX_TEXT {
        Some(format!("is longer than {MAX_TEXT} bytes"))
    } else if text.chars().any(char::is_control) {
        Some("has a control character in it".to_owned())
    } else if text.trim() != text {
        Some("has space around it; remove that".to_owned())
    } else {
        None
    }
}

/// True for a scope token (RFC 6749, section 3.3).
pub(super) fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// True if mail could be sent to the address: one `@` with text on both sides, no spaces or control
/// characters, nothing that could end a header line. Whether the mailbox exists is known to the
/// mail server only.
pub(super) fn is_address(text: &str) -> bool {
    // Control characters are refused because the address goes into a mail header: a line break
    // could add further headers or recipients.
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |part: &str| {
        !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || c.is_control() || c == '@')
    };
    plain(local) && plain(domain)
}

/// The known word that `word` is probably a misspelling of.
pub(super) fn closest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |near: &str| strsim::damerau_levenshtein(&word.to_lowercase(), near);
    known
        .iter()
        .map(|near| (distance(near), *near))
        .filter(|(distance, near)| *distance <= near.len().div_ceil(3))
        .min()
        .map(|(_, near)| near)
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
