//! One-time codes of six digits: making them, and the digests that the store keeps of them.
//!
//! The digests are keyed with the secret of the store. A plain hash of a code would protect
//! nothing, because a million hashes are computed at once. `second_step` is the only caller; this
//! file neither sends nor stores codes.

use aws_lc_rs::hmac;

use crate::secret::{self, Digest, SecretString};
use crate::session::TotpSecret;

const DIGITS: u32 = 6;

/// A new code of six digits. Each of the million codes is equally likely.
pub(super) fn new_code() -> SecretString {
    let codes = 10_u32.pow(DIGITS);
    // Rejection sampling: a number beyond the last complete million would make small codes more
    // likely than others, so it is drawn again.
    let fair = u32::MAX - u32::MAX % codes;
    let drawn = std::iter::repeat_with(|| u32::from_be_bytes(secret::random()))
        .find(|drawn| *drawn < fair)
        .unwrap_or_default();
    SecretString::new(format!("{:06}", drawn % codes))
}

/// The digest of a mailed code that the store keeps. It is keyed, because a thief of the store
/// could compute the plain digests of all codes in a moment, and it covers the login key, so equal
/// codes of two accounts have different digests.
pub(super) fn code_digest(store_secret: &[u8; 32], key: &Digest, code: &SecretString) -> Digest {
    keyed(store_secret, b"one-time code", &[&key.0, code.expose().as_bytes()])
}

/// The digest that stands for a login which waits for an authenticator. It covers the
/// authenticator's secret, so a login that waits does not survive a new secret.
pub(super) fn authenticator_digest(
    store_secret: &[u8; 32],
    key: &Digest,
    totp: &TotpSecret,
) -> Digest {
    keyed(store_secret, b"authenticator", &[&key.0, totp.secret.expose()])
}

fn keyed(store_secret: &[u8; 32], purpose: &[u8], parts: &[&[u8]]) -> Digest {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, store_secret);
    // `purpose` separates the two kinds of digests under one key: a digest made for one can never
    // be valid for the other.
    let mut context = hmac::Context::with_key(&mac);
    context.update(purpose);
    for part in parts {
        context.update(part);
    }
    Digest::of(context.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_six_digits_and_keep_leading_zeros() {
        for _ in 0..1000 {
            let code = new_code();
            assert_eq!(code.expose().len(), 6);
            assert!(code.expose().bytes().all(|byte| byte.is_ascii_digit()));
        }
    }

    #[test]
    fn the_same_code_for_another_account_has_another_digest() {
        let code = SecretString::from("000000");
        let [one, two] =
            [b"one", b"two"].map(|name| code_digest(&[7; 32], &Digest::of(name), &code));
        assert_ne!(one, two);
    }
}
