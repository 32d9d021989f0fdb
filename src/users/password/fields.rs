//! The parts of a hash's text: decimal numbers, named parameters, salts and outputs.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Shorter salts and outputs are a truncated or home-made hash.
pub(super) const MIN_SALT: usize = 8;
pub(super) const MIN_OUTPUT: usize = 16;
/// Longer ones are nobody's; together with the text's length this bounds what is hashed.
pub(super) const MAX_SALT: usize = 128;

/// Standard base64 as others write it: with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A number in its one decimal spelling.
pub(super) fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = text.len() > 1 && text.starts_with('0');
    if plain && !leads { text.parse().ok() } else { None }
}

/// The values of `ln=16,r=8,p=1`, which have to be these in this order.
pub(super) fn numbers<const N: usize>(text: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut parts = text.split(',');
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = number(parts.next()?.strip_prefix(name)?.strip_prefix('=')?)?;
    }
    parts.next().is_none().then_some(values)
}

/// Bytes in base64; passlib writes `.` for `+`.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    if text.contains('.') {
        return LENIENT.decode(text.replace('.', "+")).ok();
    }
    LENIENT.decode(text).ok()
}

/// A salt in base64.
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
