//! Parsers for the parts of a hash's text: decimal numbers, named parameters, salts and outputs.
//!
//! They are strict: each value has one spelling only, and lengths are bounded, so that a damaged or
//! home-made hash is noticed when it is read and not at a login.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Shortest salt and output in bytes. Shorter ones belong to a truncated or home-made hash.
pub(super) const MIN_SALT: usize = 8;
pub(super) const MIN_OUTPUT: usize = 16;
/// Longest salt in bytes. No known system makes longer ones; together with the length of the text
/// it bounds how much is hashed.
pub(super) const MAX_SALT: usize = 128;

/// Standard base64 with or without padding, because other systems write both.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A decimal number without sign or leading zeros.
pub(super) fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = text.len() > 1 && text.starts_with('0');
    if plain && !leads { text.parse().ok() } else { None }
}

/// The values of a text such as `ln=16,r=8,p=1`. The names must be these, in this order.
pub(super) fn numbers<const N: usize>(text: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut parts = text.split(',');
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = number(parts.next()?.strip_prefix(name)?.strip_prefix('=')?)?;
    }
    parts.next().is_none().then_some(values)
}

/// Bytes in base64. passlib writes `.` instead of `+`.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    if text.contains('.') {
        return LENIENT.decode(text.replace('.', "+")).ok();
    }
    LENIENT.decode(text).ok()
}

/// A salt in base64, of acceptable length.
pub(super) fn salt(text: &str) -> Option<Vec<u8>> {
    base64(text).filter(|salt| (MIN_SALT..=MAX_SALT).contains(&salt.len()))
}

/// Bytes in hex.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}
