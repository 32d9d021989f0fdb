//! Numbers, times and addresses as text, for lines that are written with every request.
//!
//! `format!` costs several times as much as writing the digits: it is made for padding, precision
//! and types that are not known beforehand. The other functions here fold case and print errors.
//! Nothing here fails.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use crate::clock::Timestamp;

/// `text` without regard to case: each letter is converted to upper and then to lower case, so that
/// letters with the same capital become equal. The conversion is letter by letter, because the
/// lower case of a whole text depends on the position of a sigma.
pub fn fold_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// `fold_case` if `folded`, else the text as it is.
pub fn fold_case_if(folded: bool, text: &str) -> Cow<'_, str> {
    if folded { Cow::Owned(fold_case(text)) } else { Cow::Borrowed(text) }
}

/// Appends `number` in decimal digits.
pub fn decimal(text: &mut Vec<u8>, number: u64) {
    let mut length = 1;
    let mut rest = number / 10;
    while rest > 0 {
        length += 1;
        rest /= 10;
    }
    digits(text, number, length);
}

/// Appends the last `length` decimal digits of `number`, with leading zeros.
pub fn digits(text: &mut Vec<u8>, number: u64, length: usize) {
    let start = text.len();
    text.resize(start + length, b'0');
    let mut rest = number;
    for place in text.iter_mut().skip(start).rev() {
        // Invariant: a remainder of a division by ten is one digit.
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Appends `at` in the format of RFC 3339, in UTC with milliseconds.
pub fn timestamp(text: &mut Vec<u8>, at: Timestamp) {
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

/// Appends `address`. An IPv4 address that is mapped into IPv6 is written as IPv4.
pub fn address(text: &mut Vec<u8>, address: IpAddr) {
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

/// The text of an error, followed by its causes, on one line for a log or an operator.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        // Some errors contain the text of their cause already; it is not repeated.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// The first `most` characters of a text that another system chose, with a space for each control
/// character, so that it can do nothing to a terminal.
pub fn excerpt(text: &str, most: usize) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(most).collect()
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
