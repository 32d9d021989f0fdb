//! One JSON object a line, written by hand.
//!
//! Strings are escaped so that nothing a client sends can end a value, a line, or reach a
//! terminal as a control sequence. Used by the access record and the audit log.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use crate::text;

/// An object being written; `end` closes it and the line.
#[derive(Debug)]
pub(super) struct Object<'a> {
    line: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(line: &'a mut Vec<u8>) -> Self {
        line.push(b'{');
        Self { line, first: true }
    }

    #[inline(always)]
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        string(self.line, value);
    }

    /// A text of ours, without anything to escape.
    #[inline(always)]
    pub(super) fn own_text(&mut self, key: &str, value: &'static str) {
        self.key(key);
        self.line.push(b'"');
        self.line.extend_from_slice(value.as_bytes());
        self.line.push(b'"');
    }

    #[inline(always)]
    pub(super) fn text_if(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A value whose `Display` writes only characters that JSON takes as they are.
    pub(super) fn plain_text(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        // Writing to a `Vec` cannot fail.
        let _ = write!(self.line, "\"{value}\"");
    }

    /// A value whose writer gives only characters that JSON takes as they are.
    #[inline(always)]
    pub(super) fn written(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.line.push(b'"');
        write(self.line);
        self.line.push(b'"');
    }

    /// A number or a truth value.
    pub(super) fn number(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        let _ = write!(self.line, "{value}");
    }

    /// A whole number.
    #[inline(always)]
    pub(super) fn count(&mut self, key: &str, value: u64) {
        self.key(key);
        text::decimal(self.line, value);
    }

    /// Milliseconds to the microsecond, because most answers take less than one.
    #[inline(always)]
    pub(super) fn millis(&mut self, key: &str, duration: Duration) {
        self.key(key);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        text::decimal(self.line, micros / 1000);
        self.line.push(b'.');
        text::digits(self.line, micros % 1000, 3);
    }

    pub(super) fn end(self) {
        self.line.extend_from_slice(b"}\n");
    }

    /// Inlined, as all that call it are: the length of a name is known where it is written, so
    /// that it takes a few moves and no call.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        self.line.extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        // A name of ours: there is nothing to escape in it.
        self.line.extend_from_slice(key.as_bytes());
        self.line.extend_from_slice(b"\":");
    }
}

fn string(line: &mut Vec<u8>, value: &str) {
    line.push(b'"');
    // Without an early end the compiler looks at many bytes at once.
    let plain = value.bytes().fold(true, |plain, byte| {
        plain & (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\')
    });
    if plain {
        // Nearly every value; a copy is several times quicker than letter by letter.
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
        return;
    }
    for character in value.chars() {
        match character {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            // U+2028 and U+2029 end a line for some readers; a bidi control reorders what a
            // person sees; C1 controls reach the terminal like ESC does.
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
    line.push(b'"');
}

/// The longest beginning of `text` with at most `limit` characters.
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
            let mut object = Object::begin(&mut line);
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
