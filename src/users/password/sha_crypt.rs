//! SHA-crypt, `$5$` and `$6$`: what `mkpasswd` and `htpasswd -2` and `-5` make.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use sha_crypt::{PasswordVerifier, ShaCrypt};

use super::fields::{self, MIN_SALT};
use super::{BadHash, Cost, Form, HashError, Read, head};
use crate::secret;

/// Without a word the rounds are these.
const DEFAULT_ROUNDS: u32 = 5000;
/// Fewer count as this many to some and are refused by others.
const MIN_ROUNDS: u32 = 1000;
/// passlib's default is 656 000; this is about a second of work.
const MAX_ROUNDS: u32 = 1_000_000;
/// Longer salts are cut by the function itself.
const MAX_SALT: usize = 16;
/// crypt(3) takes no longer password, so none was ever stored; and each round reads all of it.
const MAX_PASSWORD: usize = 512;
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::CRYPT, NO_PAD);

const MALFORMED: BadHash = BadHash::Malformed { scheme: "SHA-crypt" };

/// The digest that is iterated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    Sha256,
    Sha512,
}

impl Variant {
    /// Characters of the output, and how many values the last of them can have.
    fn output(self) -> (usize, usize) {
        match self {
            Self::Sha256 => (43, 16),
            Self::Sha512 => (86, 4),
        }
    }
}

pub(super) fn read(text: &str, variant: Variant) -> Read {
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
    Ok((Form::ShaCrypt(text.into()), Cost::ShaCrypt { variant, rounds }))
}

/// What a character stands for in crypt(3)'s base64, of which salts are made, too.
fn value(byte: u8) -> Option<usize> {
    alphabet::CRYPT.as_str().bytes().position(|known| known == byte)
}

fn is_output(text: &str, variant: Variant) -> bool {
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

pub(super) fn dummy(variant: Variant, rounds: u32) -> (String, Form) {
    let (scheme, output) = match variant {
        // A byte in the least place of the last group, as the function writes it.
        Variant::Sha256 => ("5", BASE64.encode(secret::random::<30>()) + "..."),
        Variant::Sha512 => ("6", BASE64.encode(secret::random::<63>()) + ".."),
    };
    let salt = BASE64.encode(secret::random::<12>());
    let text = format!("${scheme}$rounds={rounds}${salt}${output}");
    let form = Form::ShaCrypt(text.as_str().into());
    (text, form)
}
