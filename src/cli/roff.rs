//! Text in roff, the language of the manual's pages.

use std::fmt::Write as _;

/// One line of text in roff, escaped, so that nothing in it is a request or an escape sequence.
/// Characters beyond ASCII are written as code points, which every version of roff understands.
pub(super) fn escaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 8);
    // A line that begins with one of these would be a request to roff. `\&` is a character without
    // width.
    if line.starts_with(['.', '\'']) {
        text.push_str("\\&");
    }
    for letter in line.chars() {
        match letter {
            '\\' => text.push_str("\\e"),
            '-' => text.push_str("\\-"),
            // ASCII signs that roff would otherwise print as typographic ones, which cannot be
            // pasted.
            '\'' => text.push_str("\\(aq"),
            '`' => text.push_str("\\(ga"),
            '^' => text.push_str("\\(ha"),
            '~' => text.push_str("\\(ti"),
            '"' => text.push_str("\\(dq"),
            ' '..='}' => text.push(letter),
            other => {
                let _ = write!(text, "\\[u{:04X}]", u32::from(other));
            }
        }
    }
    text
}
