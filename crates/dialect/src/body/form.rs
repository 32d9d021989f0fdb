//! Forms: `application/x-www-form-urlencoded`, as the WHATWG URL standard parses it.
//!
//! That parser accepts anything. This one refuses what readers of forms do not agree about: a name
//! that occurs twice, a percent sign that begins no escape, bytes that are no UTF-8 once decoded,
//! and a semicolon, which older readers take for a separator like `&`. Every encoder escapes it.

use super::value::{BodyValue, Members, UniqueMembers};
use tollhouse_core::secret::SecretString;

/// Reads a form; `None` if it could be read in another way too.
pub(super) fn read(text: &str) -> Option<Members> {
    if text.contains(';') {
        return None;
    }
    let mut members = UniqueMembers::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        members.add(decode(name)?, BodyValue::Text(SecretString::new(decode(value)?)))?;
    }
    Some(members.finish())
}

/// Decodes plus signs and percent escapes; `None` if an escape is incomplete or the result is not
/// UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
