//! Splits a text at its `$placeholders`, for templates in `gateway.toml`.
//!
//! Each kind of template has placeholders of its own, and says how long a name is. `$$` stands for a
//! dollar sign.

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextPiece<'t> {
    /// Text that stays as it is. It is never empty.
    Plain(String),
    /// The name of a placeholder. It is empty if no name follows the dollar sign.
    Name(&'t str),
}

/// The pieces of `text`. `name` gives the placeholder's name at the beginning of the text behind a
/// dollar sign.
pub(super) fn pieces(text: &str, name: impl Fn(&str) -> &str) -> Vec<TextPiece<'_>> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            plain.push('$');
            rest = after;
            continue;
        }
        if !plain.is_empty() {
            pieces.push(TextPiece::Plain(std::mem::take(&mut plain)));
        }
        let found = name(after);
        pieces.push(TextPiece::Name(found));
        rest = after.strip_prefix(found).unwrap_or_default();
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(TextPiece::Plain(plain));
    }
    pieces
}
