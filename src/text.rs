//! Numbers, times and addresses as text, for what is written with every request.
//!
//! `format!` costs several times as much as the digits: its machinery is made for padding,
//! precision and types that are not known beforehand.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use crate::clock::Timestamp;

/// `text` without regard to case: each letter upper- and then lower-cased, so that letters with one
/// capital are one. Letter by letter, because a whole text's lower case depends on where a sigma
/// stands.
pub(crate) fn fold_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// `fold_case`, where `folded` says so.
pub(crate) fn fold_case_if(folded: bool, text: &str) -> Cow<'_, str> {
    if folded { Cow::Owned(fold_case(text)) } else { Cow::Borrowed(text) }
}

/// Appends `number` in decimal digits.
pub(crate) fn decimal(text: &mut Vec<u8>, number: u64) {
    let mut length = 1;
    let mut rest = number / 10;
    while rest > 0 {
        length += 1;
        rest /= 10;
    }
    digits(text, number, length);
}

/// Appends the last `length` decimal digits of `number`, with zeroes before them.
pub(crate) fn digits(text: &mut Vec<u8>, number: u64, length: usize) {
    let start = text.len();
    text.resize(start + length, b'0');
    let mut rest = number;
    for place in text.iter_mut().skip(start).rev() {
        // Invariant: a remainder of ten is a digit.
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Appends `at` as RFC 3339 has it, in UTC with milliseconds.
pub(crate) fn timestamp(text: &mut Vec<u8>, at: Timestamp) {
    let (year, month, day) = at.date();
    let seconds = at.secs() % 86_400;
    digits(text, year, 4);
    for (before, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', seconds / 3600),
        (b':', seconds / 60 % 60),
        (b':', seconds % 60),
    ] {
        text.push(before);
        digits(text, number, 2);
    }
    text.push(b'.');
    digits(text, at.millis() % 1000, 3);
    text.push(b'Z');
}

/// Appends `address`, an IPv4 address that is written as IPv6 in its own form.
pub(crate) fn address(text: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, rest @ ..] = v4.octets();
            decimal(text, first.into());
            for octet in rest {
                text.push(b'.');
                decimal(text, octet.into());
            }
        }
        IpAddr::V6(v6) => {
            // Writing to a `Vec` cannot fail.
            let _ = write!(text, "{v6}");
        }
    }
}

/// An error with everything that led to it, for a log or an operator.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        // Some errors say their source's words as their own.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_and_addresses_are_written_as_the_standard_library_does() {
        for number in [0, 7, 10, 99, 100, 65_535, u64::MAX] {
            assert_eq!(written(|text| decimal(text, number)), number.to_string());
        }
        assert_eq!(written(|text| digits(text, 7, 3)), "007");
        for plain in ["127.0.0.1", "255.255.255.255", "2001:db8::1"] {
            assert_eq!(written(|text| address(text, plain.parse().unwrap())), plain);
        }
        assert_eq!(written(|text| address(text, "::ffff:192.0.2.1".parse().unwrap())), "192.0.2.1");
    }

    #[test]
    fn times_are_written_as_their_display_does() {
        for millis in [0, 951_782_400_001, 1_795_339_800_999] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(written(|text| timestamp(text, at)), at.to_string());
        }
    }
}
