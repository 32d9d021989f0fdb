//! PBKDF2 (RFC 8018) in the forms of PHC, passlib, Django and Spring Security.
//!
//! SHA-1 inside PBKDF2 is no weaker for passwords than SHA-256: the known attacks on SHA-1 find
//! collisions, which does not help against HMAC. What counts is the number of iterations, and that
//! is bounded in both directions.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::digests::HmacDigest;
use super::fields::{self, MAX_SALT, MIN_OUTPUT, MIN_SALT};
use super::{BadHash, HashCost, HashFormat, ParsedHash};
use crate::secret;

/// Upper bound of the iterations: about two seconds of work. OWASP recommends up to 1.4 million.
const MAX_ROUNDS: u32 = 4_000_000;
/// Lower bound of the iterations, from RFC 8018, section 4.2.
const MIN_ITERATIONS: u32 = 1000;
const MAX_OUTPUT: usize = 64;

const MALFORMED: BadHash = BadHash::Malformed { scheme: "pbkdf2" };

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pbkdf2Hash {
    prf: HmacDigest,
    iterations: NonZeroU32,
    salt: Vec<u8>,
    output: Vec<u8>,
}

/// The parameters that Spring does not write into the hash: digest, iterations, and length of the
/// salt. They depend on the version of Spring Security.
pub(super) struct SpringParameters {
    prf: HmacDigest,
    iterations: u32,
    /// In bytes.
    salt: usize,
}

pub(super) const SPRING_5_5: SpringParameters =
    SpringParameters { prf: HmacDigest::Sha1, iterations: 185_000, salt: 8 };
pub(super) const SPRING_5_8: SpringParameters =
    SpringParameters { prf: HmacDigest::Sha256, iterations: 310_000, salt: 16 };

/// Reads `$pbkdf2-sha256$i=600000,l=32$salt$output`, or passlib's form
/// `$pbkdf2-sha256$29000$salt$output`, in which SHA-1 is called `$pbkdf2$`.
pub(super) fn read(text: &str) -> ParsedHash {
    let fields: Vec<&str> = text.split('$').collect();
    let [_, scheme, params, salt, output] = fields.as_slice() else { return Err(MALFORMED) };
    let prf = match scheme.strip_prefix("pbkdf2-") {
        Some(name) => HmacDigest::named(name).ok_or(BadHash::Unknown)?,
        None if *scheme == "pbkdf2" => HmacDigest::Sha1,
        None => return Err(BadHash::Unknown),
    };
    let salt = fields::salt(salt).ok_or(MALFORMED)?;
    let output = fields::base64(output).ok_or(MALFORMED)?;
    let iterations = if let Some([iterations, length]) = fields::numbers(params, ["i", "l"]) {
        (usize::try_from(length) == Ok(output.len())).then_some(iterations)
    } else if let Some([iterations]) = fields::numbers(params, ["i"]) {
        Some(iterations)
    } else {
        fields::number(params)
    };
    stored(prf, iterations.ok_or(MALFORMED)?, salt, output)
}

/// Reads Django's form, `pbkdf2_sha256$870000$salt$output`. The salt is text and not base64.
pub(super) fn read_django(text: &str) -> ParsedHash {
    let fields: Vec<&str> = text.split('$').collect();
    let [scheme, iterations, salt, output] = fields.as_slice() else { return Err(MALFORMED) };
    let name =
        scheme.strip_prefix("pbkdf2_").and_then(HmacDigest::named).ok_or(BadHash::Unknown)?;
    let iterations = fields::number(iterations).ok_or(MALFORMED)?;
    let output = fields::base64(output).ok_or(MALFORMED)?;
    if !(MIN_SALT..=MAX_SALT).contains(&salt.len()) {
        return Err(MALFORMED);
    }
    stored(name, iterations, salt.as_bytes().to_vec(), output)
}

/// Reads Spring's form: salt and output together in hex.
pub(super) fn read_spring(text: &str, spring: SpringParameters) -> ParsedHash {
    let SpringParameters { prf, iterations, salt } = spring;
    let mut bytes = fields::hex(text).ok_or(MALFORMED)?;
    if bytes.len() != salt + 32 {
        return Err(MALFORMED);
    }
    let output = bytes.split_off(salt);
    stored(prf, iterations, bytes, output)
}

fn stored(prf: HmacDigest, iterations: u32, salt: Vec<u8>, output: Vec<u8>) -> ParsedHash {
    if !(MIN_OUTPUT..=MAX_OUTPUT).contains(&output.len()) {
        return Err(MALFORMED);
    }
    if iterations < MIN_ITERATIONS {
        return Err(BadHash::TooQuick { limit: "PBKDF2's iterations are at least 1000" });
    }
    // Verifying computes every block of the output, each with all iterations. The cost therefore
    // counts iterations times blocks.
    let blocks = u32::try_from(output.len().div_ceil(prf.block())).map_err(|_| MALFORMED)?;
    let rounds = iterations.checked_mul(blocks).filter(|rounds| *rounds <= MAX_ROUNDS);
    let (Some(rounds), Some(iterations)) = (rounds, NonZeroU32::new(iterations)) else {
        return Err(BadHash::TooCostly { limit: "PBKDF2's iterations are at most 4000000" });
    };
    let stored = Pbkdf2Hash { prf, iterations, salt, output };
    Ok((HashFormat::Pbkdf2(stored), HashCost::Pbkdf2 { prf, rounds }))
}

impl Pbkdf2Hash {
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        // The library compares in constant time.
        let prf = self.prf.algorithm();
        let output = &self.output;
        pbkdf2::verify(prf, self.iterations, &self.salt, password, output).is_ok()
    }
}

pub(super) fn dummy(prf: HmacDigest, rounds: u32) -> (String, HashFormat) {
    let salt = secret::random::<16>();
    let mut output = secret::random::<64>().to_vec();
    output.truncate(prf.block());
    let text = format!(
        "$pbkdf2-{}$i={rounds}${}${}",
        prf.name(),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(&output)
    );
    let iterations = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
    (text, HashFormat::Pbkdf2(Pbkdf2Hash { prf, iterations, salt: salt.to_vec(), output }))
}
