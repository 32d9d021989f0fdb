//! One-time codes: six digits that nobody can guess or look up.

use aws_lc_rs::hmac;

use crate::secret::{self, Digest, SecretString};
use crate::session::Totp;

const DIGITS: u32 = 6;

/// A code of six digits, each of the million equally likely.
pub(super) fn new_code() -> SecretString {
    let codes = 10_u32.pow(DIGITS);
    // A draw past the last whole million would make small codes likelier: draw again.
    let fair = u32::MAX - u32::MAX % codes;
    let drawn = std::iter::repeat_with(|| u32::from_be_bytes(secret::random()))
        .find(|drawn| *drawn < fair)
        .unwrap_or_default();
    SecretString::new(format!("{:06}", drawn % codes))
}

/// What is kept of a code: keyed, because a million digests are computed in a blink.
pub(super) fn code_digest(store_secret: &[u8; 32], key: &Digest, code: &SecretString) -> Digest {
    keyed(store_secret, b"one-time code", &[&key.0, code.expose().as_bytes()])
}

/// What is kept of a login that waits for an authenticator: tells its secret from every other.
pub(super) fn authenticator_digest(store_secret: &[u8; 32], key: &Digest, totp: &Totp) -> Digest {
    keyed(store_secret, b"authenticator", &[&key.0, totp.secret.expose()])
}

fn keyed(store_secret: &[u8; 32], purpose: &[u8], parts: &[&[u8]]) -> Digest {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, store_secret);
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
