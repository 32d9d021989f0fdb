//! ECDSA signatures as ASN.1, turned into the form that has the two numbers one after the other.
//!
//! Verification knows that form alone. The reading is strict (DER): a number has one spelling only.
//! `signature` calls it.

/// The tags of DER.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// Longer contents would need a length of several bytes, which no signature of our curves has.
const LONGEST: usize = 0x7f;

/// The two numbers of a signature, each of `size` bytes. `None` if the bytes are not such a
/// signature in DER.
pub(super) fn fixed_from_der(der: &[u8], size: usize) -> Option<Vec<u8>> {
    let (content, []) = value(der, SEQUENCE)? else { return None };
    let (r, rest) = value(content, INTEGER)?;
    let (s, []) = value(rest, INTEGER)? else { return None };
    let mut fixed = vec![0; size * 2];
    let (first, second) = fixed.split_at_mut(size);
    write_number(r, first)?;
    write_number(s, second)?;
    Some(fixed)
}

/// The contents of an element with this tag, and the bytes after it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let ([found, length], rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(*length);
    (*found == tag && length <= LONGEST).then(|| rest.split_at_checked(length))?
}

/// Writes a positive number, right-aligned. A leading zero has to be there exactly where the number
/// would else be negative.
fn write_number(number: &[u8], to: &mut [u8]) -> Option<()> {
    let digits = match number {
        [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => rest,
        [first, ..] if (1..0x80).contains(first) => number,
        _ => return None,
    };
    let start = to.len().checked_sub(digits.len())?;
    to.get_mut(start..)?.copy_from_slice(digits);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_spelling() {
        for (der, expected, why) in [
            (&[0x30, 6, 2, 1, 1, 2, 1, 2][..], Some(vec![0, 1, 0, 2]), "small"),
            (&[0x30, 8, 2, 2, 0, 0x80, 2, 2, 1, 2], Some(vec![0, 0x80, 1, 2]), "with its sign"),
            (&[0x30, 9, 2, 3, 0, 0x80, 1, 2, 2, 1, 2], Some(vec![0x80, 1, 1, 2]), "whole"),
            (&[0x30, 7, 2, 2, 0, 1, 2, 1, 2], None, "a zero too many"),
            (&[0x30, 6, 2, 1, 0x80, 2, 1, 2], None, "negative"),
            (&[0x30, 6, 2, 1, 0, 2, 1, 2], None, "zero"),
            (&[0x30, 5, 2, 0, 2, 1, 2], None, "no digits"),
            (&[0x30, 9, 2, 3, 1, 0, 0, 2, 2, 1, 2], None, "too large"),
            (&[0x30, 6, 2, 1, 1, 2, 1, 2, 0], None, "bytes after it"),
            (&[0x30, 7, 2, 1, 1, 2, 1, 2, 0], None, "bytes within it"),
            (&[0x30, 7, 2, 1, 1, 2, 1, 2], None, "cut short"),
            (&[0x30, 0x81, 6, 2, 1, 1, 2, 1, 2], None, "a long form of the length"),
            (&[0x31, 6, 2, 1, 1, 2, 1, 2], None, "another tag"),
            (&[], None, "empty"),
        ] {
            assert_eq!(fixed_from_der(der, 2), expected, "{why}");
        }
    }
}
