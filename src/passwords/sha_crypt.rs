//! SHA-crypt hashes, `$5$` and `$6$`, as `mkpasswd` and Apache's `htpasswd -2` and `-5` make them.
//!
//! The number of rounds is bounded in both directions. Such a hash is outdated but not weak: it is
//! replaced by Argon2id at the next login, where the source allows that.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use sha_crypt::{PasswordVerifier, ShaCrypt};

use super::digests::ShaVariant;
use super::fields::{self, MIN_SALT};
use super::{BadHash, HashCost, HashError, HashFormat, ParsedHash, head};
use crate::secret;

/// The number of rounds if the hash does not say one.
const DEFAULT_ROUNDS: u32 = 5000;
/// Lower bound of the rounds. Some implementations raise a smaller number to this one, others
/// refuse it, so its meaning is not clear.
const MIN_ROUNDS: u32 = 1000;
/// Upper bound of the rounds: about a second of work. The default of passlib is 656 000.
const MAX_ROUNDS: u32 = 1_000_000;
/// Longest salt in characters: the function itself ignores the rest.
const MAX_SALT: usize = 16;
/// Longest password in bytes. crypt(3) accepts no longer one, so no hash of one exists; and each
/// round reads the whole password, so the length must be bounded.
const MAX_PASSWORD: usize = 512;
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::CRYPT, NO_PAD);

const MALFORMED: BadHash = BadHash::Malformed { scheme: "SHA-crypt" };

pub(super) fn read(text: &str, variant: ShaVariant) -> ParsedHash {
    let fields: Vec<&str> = text.split('$').collect();
    let (rounds, salt, output) = match fields.as_slice() {
        [_, _, rounds, salt, output] => {
            let rounds = rounds.strip_prefix("rounds=").and_then(fields::number);
            (rounds.ok_or(MALFORMED)?, salt, output)
        }
        [_, _, salt, output] => (DEFAULT_ROUNDS, salt, output),
        _ => return Err(MALFORMED),
    };
    let salt_fits = (MIN_SALT..=MAX_SALT).contains(&salt.len())
        && salt.bytes().all(|byte| value(byte).is_some());
    if !salt_fits || !is_output(output, variant) {
        return Err(MALFORMED);
    }
    if rounds < MIN_ROUNDS {
        return Err(BadHash::TooQuick { limit: "SHA-crypt's rounds are at least 1000" });
    }
    if rounds > MAX_ROUNDS {
        return Err(BadHash::TooCostly { limit: "SHA-crypt's rounds are at most 1000000" });
    }
    Ok((HashFormat::ShaCrypt(text.into()), HashCost::ShaCrypt { variant, rounds }))
}

/// The value of a character in the base64 of crypt(3); salts consist of these characters too.
fn value(byte: u8) -> Option<usize> {
    alphabet::CRYPT.as_str().bytes().position(|known| known == byte)
}

/// The last character encodes fewer bits than the others. A text with other bits there was not
/// written by SHA-crypt, and two texts would otherwise mean one hash.
fn is_output(text: &str, variant: ShaVariant) -> bool {
    let (length, last) = variant.output();
    text.len() == length
        && text.bytes().all(|byte| value(byte).is_some())
        && text.bytes().last().and_then(value).is_some_and(|value| value < last)
}

pub(super) fn verify(password: &[u8], text: &str) -> Result<bool, HashError> {
    match ShaCrypt::default().verify_password(head(password, MAX_PASSWORD), text) {
        Ok(()) => Ok(password.len() <= MAX_PASSWORD),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(HashError::new(error)),
    }
}

pub(super) fn dummy(variant: ShaVariant, rounds: u32) -> (String, HashFormat) {
    let (scheme, output) = match variant {
        // The last group of the output has one byte in its lowest place, as SHA-crypt writes it.
        ShaVariant::Sha256 => ("5", BASE64.encode(secret::random::<30>()) + "..."),
        ShaVariant::Sha512 => ("6", BASE64.encode(secret::random::<63>()) + ".."),
    };
    let salt = BASE64.encode(secret::random::<12>());
    let text = format!("${scheme}$rounds={rounds}${salt}${output}");
    let form = HashFormat::ShaCrypt(text.as_str().into());
    (text, form)
}
