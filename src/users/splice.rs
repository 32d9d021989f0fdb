//! Cutting and joining the text of a users file at the positions that the TOML parser reports.
//!
//! Nothing here checks whether the result is right: `edit` parses the new text and compares it with
//! the expected users before the file is written.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use uuid::Uuid;

use super::new_user::NewUser;

/// The content of a file from which the last user was removed.
pub(super) const FIRST_LINE: &str = "# Users of the gateway. Change them with `tollhouse user`.\n";

/// The positions of one user's values in the text, as byte ranges.
pub(super) struct UserSpan {
    /// The position of the value of `name`.
    pub(super) name: Range<usize>,
    pub(super) password: Range<usize>,
    pub(super) disabled: Option<Range<usize>>,
}

impl UserSpan {
    pub(super) fn of(text: &str, index: usize) -> Option<Self> {
        let (root, _) = DeTable::parse_recoverable(text);
        let users = root.get_ref().iter().find(|(key, _)| key.get_ref() == "user")?;
        let user = users.1.get_ref().as_array()?.get(index)?.get_ref().as_table()?;
        let value = |wanted: &str| {
            let found = user.iter().find(|(key, _)| key.get_ref() == wanted);
            found.map(|(_, value)| value.span())
        };
        Some(Self {
            name: value("name")?,
            password: value("password")?,
            disabled: value("disabled"),
        })
    }
}

/// The positions where the users begin, at their `[[user]]` lines. `None` if the users are written
/// in another style, for example as inline tables: then a user cannot be cut out safely.
fn headers(text: &str) -> Option<Vec<usize>> {
    let (root, _) = DeTable::parse_recoverable(text);
    let users = root.get_ref().iter().find(|(key, _)| key.get_ref() == "user")?;
    let DeValue::Array(users) = users.1.get_ref() else { return None };
    let starts = users.iter().map(|user| user.span().start);
    starts
        .map(|start| text.get(start..)?.starts_with("[[").then(|| line_start(text, start)))
        .collect()
}

/// The text without the lines of one user and the comment directly above them.
pub(super) fn without(text: &str, index: usize) -> Option<String> {
    let headers = headers(text)?;
    let start = above_comment(text, *headers.get(index)?);
    let end = headers.get(index + 1).map_or(text.len(), |next| above_comment(text, *next));
    let mut new = spliced(text, start..end, "");
    if new.trim().is_empty() {
        // An empty file would be refused as damaged when it is read again, so a comment stays.
        new = FIRST_LINE.to_owned();
    }
    Some(new)
}

/// The start of the comment lines directly above a line. A comment that begins the file is about
/// the file and not about its first user, so it does not count.
fn above_comment(text: &str, line: usize) -> usize {
    let mut start = line;
    while start > 0 {
        let previous = line_start(text, start - 1);
        let is_comment = text.get(previous..start).is_some_and(|l| l.trim_start().starts_with('#'));
        if !is_comment {
            return start;
        }
        start = previous;
    }
    line
}

/// The start of the line that contains the position `at`.
fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// The text with `range` replaced by `with`.
pub(super) fn spliced(text: &str, range: Range<usize>, with: &str) -> String {
    let before = text.get(..range.start).unwrap_or_default();
    let after = text.get(range.end..).unwrap_or_default();
    format!("{before}{with}{after}")
}

/// The text with a new line `disabled = true` after the line of the name, with the same
/// indentation.
pub(super) fn inserted(text: &str, name: Range<usize>) -> String {
    let rest = text.get(name.end..).unwrap_or_default();
    let Some(newline) = rest.find('\n') else {
        return format!("{text}\ndisabled = true\n");
    };
    let at = name.end + newline + 1;
    let line = text.get(line_start(text, name.start)..name.start).unwrap_or_default();
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    spliced(text, at..at, &format!("{indent}disabled = true\n"))
}

/// The text with a new user at its end.
pub(super) fn appended(text: &str, user: &NewUser) -> String {
    let mut new = text.to_owned();
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    if !new.is_empty() {
        new.push('\n');
    }
    new.push_str(&block(user));
    new
}

/// One `[[user]]` section as text, with a new random id.
pub(super) fn block(user: &NewUser) -> String {
    let list = |items: &[String]| {
        let items: Vec<_> = items.iter().map(|item| literal(item)).collect();
        format!("[{}]", items.join(", "))
    };
    let mut lines = vec![
        "[[user]]".to_owned(),
        format!("id = {}", literal(&Uuid::new_v4().to_string())),
        format!("name = {}", literal(&user.name)),
    ];
    lines.extend(user.email.as_ref().map(|email| format!("email = {}", literal(email))));
    lines.push(format!("password = {}", literal(user.password.as_str())));
    lines.push(format!("roles = {}", list(&user.roles)));
    if !user.scopes.is_empty() {
        lines.push(format!("scopes = {}", list(&user.scopes)));
    }
    if !user.claims.is_empty() {
        let claims = user.claims.iter().map(|(key, value)| (literal(key), literal(value)));
        let claims: Vec<_> = claims.map(|(key, value)| format!("{key} = {value}")).collect();
        lines.push(format!("claims = {{ {} }}", claims.join(", ")));
    }
    lines.join("\n") + "\n"
}

/// A TOML basic string. Quotes, backslashes and control characters are escaped, so that no value
/// can end its string or begin another key.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
