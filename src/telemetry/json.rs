//! Writes the fields of a line by hand, as a JSON object or as logfmt (`key="value" number=1`).
//!
//! Strings are escaped so that text of a client can neither end a value or a line, nor reach a
//! terminal as a control sequence. The access log and the audit log use it. It is written by hand
//! because the access log needs it once for each request.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use crate::format;

/// A line that is being written; `end` closes it. Keys are written in the order of the calls, and
/// nothing prevents a key from being written twice. Without `end` the line is incomplete and must
/// not be given to a sink. The form is a parameter of the type, so that a line of JSON costs nothing
/// for the other form.
#[derive(Debug)]
pub(super) struct FieldLine<'a, const LOGFMT: bool> {
    line: &'a mut Vec<u8>,
    first: bool,
}

/// A line that is a JSON object.
pub(super) type JsonObject<'a> = FieldLine<'a, false>;
/// A line of logfmt. Its texts are quoted and escaped as in JSON.
pub(super) type LogfmtLine<'a> = FieldLine<'a, true>;

impl<'a, const LOGFMT: bool> FieldLine<'a, LOGFMT> {
    pub(super) fn begin(line: &'a mut Vec<u8>) -> Self {
        if !LOGFMT {
            line.push(b'{');
        }
        Self { line, first: true }
    }

    /// A text of any origin; it is escaped.
    #[inline(always)]
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        string(self.line, value);
    }

    /// A text of the program itself, which contains nothing to escape.
    #[inline(always)]
    pub(super) fn own_text(&mut self, key: &str, value: &'static str) {
        self.key(key);
        self.line.push(b'"');
        self.line.extend_from_slice(value.as_bytes());
        self.line.push(b'"');
    }

    #[inline(always)]
    /// A text, if there is one.
    pub(super) fn text_if(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A value whose `Display` writes only characters that need no escape in JSON. This saves the
    /// escaping of numbers, ids and times, which cannot contain a quote.
    pub(super) fn plain_text(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        // Writing to a `Vec` cannot fail.
        let _ = write!(self.line, "\"{value}\"");
    }

    /// A value whose writer gives only characters that need no escape in JSON.
    #[inline(always)]
    pub(super) fn written(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.line.push(b'"');
        write(self.line);
        self.line.push(b'"');
    }

    /// A number, or `true` or `false`.
    pub(super) fn number(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        let _ = write!(self.line, "{value}");
    }

    /// A whole number.
    #[inline(always)]
    pub(super) fn count(&mut self, key: &str, value: u64) {
        self.key(key);
        format::decimal(self.line, value);
    }

    /// Milliseconds with three decimals, because most answers take less than one millisecond.
    #[inline(always)]
    pub(super) fn millis(&mut self, key: &str, duration: Duration) {
        self.key(key);
        millis(self.line, duration);
    }

    /// Closes the line.
    pub(super) fn end(self) {
        self.line.extend_from_slice(if LOGFMT { b"\n" } else { b"}\n" });
    }

    /// Writes a key. This function and its callers are inlined: the length of a key is then known
    /// at compile time, and writing it takes a few moves instead of a call. The access log writes
    /// some twenty keys for each request.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        let before: &[u8] = match (LOGFMT, self.first) {
            (false, true) => b"\"",
            (false, false) => b",\"",
            (true, true) => b"",
            (true, false) => b" ",
        };
        self.line.extend_from_slice(before);
        self.first = false;
        // A key of the program itself; it contains nothing to escape.
        self.line.extend_from_slice(key.as_bytes());
        self.line.extend_from_slice(if LOGFMT { b"=" } else { b"\":" });
    }
}

/// Writes milliseconds with three decimals.
#[inline(always)]
pub(super) fn millis(line: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    format::decimal(line, micros / 1000);
    line.push(b'.');
    format::digits(line, micros % 1000, 3);
}

/// Writes a string with its quotes, escaped.
fn string(line: &mut Vec<u8>, value: &str) {
    line.push(b'"');
    escaped(line, value);
    line.push(b'"');
}

/// Writes a string without quotes, escaped.
pub(super) fn escaped(line: &mut Vec<u8>, value: &str) {
    // The loop has no early end, so that the compiler can look at many bytes at once.
    let plain = value.bytes().fold(true, |plain, byte| {
        plain & (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
    });
    if plain {
        // Nearly every value is plain text. Copying it is several times faster than writing single
        // characters.
        line.extend_from_slice(value.as_bytes());
        return;
    }
    for character in value.chars() {
        match character {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            // U+2028 and U+2029 end a line for some readers. Bidirectional controls change the
            // order in which a person sees the text. C1 controls reach a terminal as ESC does. A
            // log that is shown with `cat` must not be able to change the screen.
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                let _ = write!(line, "\\u{:04x}", u32::from(character));
            }
            _ => line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// The beginning of `format` with at most `limit` characters. A character is never cut in two.
/// Counting characters is slower than counting bytes, but the limit then means the same for every
/// script.
pub(super) fn capped(text: &str, limit: usize) -> &str {
    let end = text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_comes_back_and_stays_on_one_line() {
        for value in [
            "plain",
            "a\"b\\c",
            "\n{\"outcome\":\"forwarded\"}\n",
            "\r\t\u{0}\u{1b}[31m\u{7f}\u{9b}",
            "\u{2028}\u{2029}\u{202e}",
            "žluťoučký 🐎",
        ] {
            let mut line = Vec::new();
            let mut object = JsonObject::begin(&mut line);
            object.text("value", value);
            object.number("after", 1);
            object.end();

            let text = String::from_utf8(line).unwrap();
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(parsed["value"], value);
            assert_eq!(parsed["after"], 1);
            assert!(text.ends_with("}\n") && text.chars().filter(|c| c.is_control()).count() == 1);
        }
    }

    #[test]
    fn a_cap_counts_characters() {
        assert_eq!(capped("žluť", 2), "žl");
        assert_eq!(capped("ab", 2), "ab");
    }
}
