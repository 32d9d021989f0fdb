//! Argon2 in the PHC string format: the hashes that the gateway makes (Argon2id), and all variants
//! that other systems made.
//!
//! The text of a hash says how much memory and work it needs. Both are bounded when the hash is
//! read, so that a line in a users file cannot exhaust the machine at each login.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::fields::{MIN_OUTPUT, MIN_SALT};
use super::{BadHash, HashCost, HashError, HashFormat, ParsedHash};
use crate::secret;

/// Memory in KiB, passes and lanes of the hashes that the gateway makes: the first choice of the
/// OWASP Password Storage Cheat Sheet for Argon2id.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
pub(super) const OURS: HashCost = HashCost::Argon2 { memory: MEMORY, passes: PASSES, lanes: LANES };

/// Most memory in KiB that one hash may ask for. With more, a handful of logins at the same time
/// could exhaust a small machine.
const MAX_MEMORY: u32 = 256 * 1024;
/// Bound on memory times passes: about a second of work.
const MAX_WORK: u64 = 1024 * 1024;
const MAX_LANES: u32 = 16;

const MALFORMED: BadHash = BadHash::Malformed { scheme: "argon2" };

pub(super) fn read(text: &str) -> ParsedHash {
    let (hash, _, _) = parts(text).ok_or(MALFORMED)?;
    let params = Params::try_from(&hash).map_err(|_| MALFORMED)?;
    let salt_fits = hash.salt.as_ref().is_some_and(|salt| salt.len() >= MIN_SALT);
    let output = hash.hash.as_ref().map_or(0, |output| output.len());
    if !salt_fits || output < MIN_OUTPUT || !params.keyid().is_empty() || !params.data().is_empty()
    {
        return Err(MALFORMED);
    }
    let memory = params.m_cost();
    let passes = params.t_cost();
    let lanes = params.p_cost();
    if memory > MAX_MEMORY {
        return Err(BadHash::TooCostly { limit: "m is at most 262144 (256 MiB)" });
    }
    if u64::from(memory) * u64::from(passes) > MAX_WORK {
        return Err(BadHash::TooCostly { limit: "m times t is at most 1048576 (1 GiB)" });
    }
    if lanes > MAX_LANES {
        return Err(BadHash::TooCostly { limit: "p is at most 16" });
    }
    Ok((HashFormat::Argon2(text.into()), HashCost::Argon2 { memory, passes, lanes }))
}

fn parts(text: &str) -> Option<(PasswordHash, Algorithm, Version)> {
    let hash = PasswordHash::new(text).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    // A hash without a version means 1.0 in the reference implementation and 1.3 in this library.
    // The two give different results, so such a hash is refused instead of guessed.
    let version = hash.version.and_then(|version| Version::try_from(version).ok())?;
    Some((hash, algorithm, version))
}

/// True if a hash that was read is weaker than those that the gateway makes.
pub(super) fn is_outdated(text: &str, cost: HashCost) -> bool {
    let HashCost::Argon2 { memory, passes, .. } = cost else { return true };
    let Some((_, algorithm, version)) = parts(text) else { return true };
    // More memory makes up for fewer passes, but only within limits. Below half of our memory a
    // hash counts as weaker, whatever its number of passes is.
    let work = u64::from(memory) * u64::from(passes);
    let weaker = memory < MEMORY / 2 || work < u64::from(MEMORY) * u64::from(PASSES);
    weaker || algorithm != Algorithm::Argon2id || version != Version::V0x13
}

pub(super) fn hash(password: &[u8]) -> Result<String, HashError> {
    let params = Params::new(MEMORY, PASSES, LANES, None).map_err(HashError::new)?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = hasher.hash_password_with_salt(password, &secret::random::<16>());
    Ok(hash.map_err(HashError::new)?.to_string())
}

pub(super) fn verify(password: &[u8], text: &str) -> Result<bool, HashError> {
    let hash = PasswordHash::new(text).map_err(HashError::new)?;
    match Argon2::default().verify_password(password, &hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(HashError::new(error)),
    }
}

pub(super) fn dummy(memory: u32, passes: u32, lanes: u32) -> (String, HashFormat) {
    let text = format!(
        "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
        STANDARD_NO_PAD.encode(secret::random::<16>()),
        STANDARD_NO_PAD.encode(secret::random::<32>())
    );
    let form = HashFormat::Argon2(text.as_str().into());
    (text, form)
}
