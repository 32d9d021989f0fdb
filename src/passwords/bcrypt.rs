//! bcrypt hashes: `$2a$`, `$2b$` and `$2y$`, which differ only in bugs of old implementations.
//!
//! bcrypt reads the first 72 bytes of a password only. A longer password is never right here:
//! otherwise everything after the 72nd byte would be ignored, and many passwords would open one
//! account.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use super::{BadHash, HashCost, HashError, HashFormat, ParsedHash, head};
use crate::secret;

/// Highest cost: about two seconds of work.
const MAX_COST: u32 = 15;
const MIN_COST: u32 = 4;
/// Longest password that bcrypt reads, in bytes.
const MAX_PASSWORD: usize = 72;
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);

const MALFORMED: BadHash = BadHash::Malformed { scheme: "bcrypt" };

pub(super) fn read(text: &str) -> ParsedHash {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| MALFORMED)?;
    let cost = parts.get_cost();
    if cost > MAX_COST {
        return Err(BadHash::TooCostly { limit: "bcrypt's cost is at most 15" });
    }
    if cost < MIN_COST {
        return Err(MALFORMED);
    }
    Ok((HashFormat::Bcrypt(text.into()), HashCost::Bcrypt { cost }))
}

pub(super) fn verify(password: &[u8], text: &str) -> Result<bool, HashError> {
    // The hash is computed for a password that is too long as well, so that it takes the same time
    // as every other. Only its first 72 bytes are hashed, and the result is never "right".
    let matches = bcrypt::verify(head(password, MAX_PASSWORD), text).map_err(HashError::new)?;
    Ok(matches && password.len() <= MAX_PASSWORD)
}

pub(super) fn dummy(cost: u32) -> (String, HashFormat) {
    let text = format!(
        "$2b${cost:02}${}{}",
        BASE64.encode(secret::random::<16>()),
        BASE64.encode(secret::random::<23>())
    );
    let form = HashFormat::Bcrypt(text.as_str().into());
    (text, form)
}
