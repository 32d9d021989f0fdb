//! The parser for the text of a template: splits it at its placeholders.
//!
//! It runs when a dialect is checked, never for a request. Names are looked up in the scope of the
//! template, and a name that the scope does not have is an error with a suggestion.

use super::{ListJoin, TextPart};
use crate::placeholders::PlaceholderScope;

/// Splits `text` into literal pieces and placeholders.
///
/// # Errors
///
/// A message that says what is wrong with the text, and what would be accepted.
pub(super) fn parse(text: &str, scope: PlaceholderScope) -> Result<Vec<TextPart>, String> {
    let part = |piece| match piece {
        TemplatePiece::Text(text) => Ok(TextPart::Text(text)),
        TemplatePiece::Name(name) => place(&name, scope),
    };
    split(text)?.into_iter().map(part).collect()
}

/// A piece of a text with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TemplatePiece {
    Text(String),
    /// What is written after the `$`, without braces. It is not empty.
    Name(String),
}

/// Splits `text` into literal pieces and the names of placeholders, whatever they are.
///
/// # Errors
///
/// A message that says what is wrong with the text.
pub(crate) fn split(text: &str) -> Result<Vec<TemplatePiece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        // `$$` is an escaped dollar sign. It is handled first, so that `$$user` is never read as a
        // placeholder.
        if let Some(tail) = after.strip_prefix('$') {
            literal.push('$');
            rest = tail;
            continue;
        }
        let (inner, tail) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or("has a `${` without its `}`")?,
            None => after.split_at(name_length(after)),
        };
        if !literal.is_empty() {
            pieces.push(TemplatePiece::Text(std::mem::take(&mut literal)));
        }
        if inner.is_empty() {
            return Err("has a `$` without a name; write `$$` for a dollar sign".to_owned());
        }
        pieces.push(TemplatePiece::Name(inner.to_owned()));
        rest = tail;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(TemplatePiece::Text(literal));
    }
    Ok(pieces)
}

/// The length of a placeholder without braces. A dot or `|` belongs to it only if a letter or digit
/// follows: so `$user.name.` at the end of a sentence works as expected. Braces make the end
/// explicit where a letter follows.
fn name_length(text: &str) -> usize {
    let mut end = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next_is_name = characters.peek().is_some_and(|(_, next)| next.is_ascii_alphanumeric());
        let belongs = match character {
            '.' | '|' => end > 0 && next_is_name,
            _ => character.is_ascii_alphanumeric() || character == '_',
        };
        if !belongs {
            break;
        }
        end = at + character.len_utf8();
    }
    end
}

fn place(inner: &str, scope: PlaceholderScope) -> Result<TextPart, String> {
    let (name, join) = match inner.split_once('|') {
        Some((name, filter)) => {
            let join = ListJoin::parse(filter).ok_or_else(|| {
                format!("has no filter `{filter}`; there are `|comma`, `|space` and `|text`")
            })?;
            (name, join)
        }
        None => (inner, ListJoin::None),
    };
    let found = scope.find(name).ok_or_else(|| unknown(name, scope))?;
    Ok(TextPart::Place(found, join))
}

/// Suggests the placeholder that is spelled most alike, if it is close enough, and lists all that
/// the scope has. A placeholder of another scope is thus explained by the list.
fn unknown(name: &str, scope: PlaceholderScope) -> String {
    let accepted = scope.accepted();
    let name = format!("${name}");
    let close = accepted
        .iter()
        .map(|known| (strsim::jaro_winkler(&name, known), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(similarity, _)| *similarity > 0.85);
    let hint = close.map(|(_, known)| format!("; did you mean `{known}`?")).unwrap_or_default();
    format!("`{name}` is no placeholder here{hint} (there are {})", accepted.join(", "))
}
