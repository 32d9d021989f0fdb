//! Which bytes may stand where in a header field or a path, and percent-encoding of all others.

use std::fmt::Write;

/// The characters of a token (RFC 9110, section 5.6.2): names of fields, cookies and schemes.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The characters of a cookie's value (RFC 6265, section 4.1.1).
pub(crate) fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

/// The characters of `token68` (RFC 9110, section 11.2) before its final `=`.
pub(crate) fn is_token68_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)
}

/// The characters of a path segment that never need an escape (RFC 3986, section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The text with every byte percent-encoded (RFC 3986, section 2.1) that `stays` does not accept.
pub(crate) fn percent_encoded(text: &str, stays: impl Fn(u8) -> bool) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        // A byte beyond ASCII is a part of a character, so it is always encoded.
        if byte.is_ascii() && stays(byte) {
            written.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written
}
