//! scrypt hashes (RFC 7914): `$scrypt$ln=16,r=8,p=1$salt$output` as PHC and passlib write it, and
//! Spring's form.
//!
//! Memory and work are bounded when the hash is read, because its text chooses them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use scrypt::Params;

use super::fields::{self, MIN_OUTPUT};
use super::{BadHash, HashCost, HashError, HashFormat, ParsedHash};
use crate::secret;

/// Bound on N times r. One hash needs 128 · N · r bytes of memory: at most 256 MiB.
const MAX_BLOCKS: u64 = 256 * 1024 * 1024 / 128;
/// Bound on N · r · p: about two seconds of work.
const MAX_WORK: u64 = 4 * MAX_BLOCKS;
const MAX_P: u32 = 16;
/// Lower bound of N's logarithm. With less than a MiB of memory, scrypt hardly slows down anybody
/// who guesses.
const MIN_LOG_N: u32 = 10;
const MAX_OUTPUT: usize = 64;

const MALFORMED: BadHash = BadHash::Malformed { scheme: "scrypt" };

#[derive(Clone, PartialEq, Eq)]
pub(super) struct ScryptHash {
    cost: (u8, u32, u32),
    salt: Vec<u8>,
    output: Vec<u8>,
}

pub(super) fn read(text: &str) -> ParsedHash {
    let fields: Vec<&str> = text.split('$').collect();
    let [_, _, params, salt, output] = fields.as_slice() else { return Err(MALFORMED) };
    let params = fields::numbers(params, ["ln", "r", "p"]).ok_or(MALFORMED)?;
    stored(params, salt, output)
}

/// Reads Spring's form, `$e0801$salt$output`. The parameters are one hexadecimal number: the
/// logarithm of N, then r, then p, each in a byte.
pub(super) fn read_spring(text: &str) -> ParsedHash {
    let fields: Vec<&str> = text.split('$').collect();
    let ["", params, salt, output] = fields.as_slice() else { return Err(MALFORMED) };
    let plain = params.len() <= 8 && params.bytes().all(|byte| byte.is_ascii_hexdigit());
    let params = plain.then(|| u32::from_str_radix(params, 16).ok()).flatten().ok_or(MALFORMED)?;
    stored([params >> 16, params >> 8 & 0xff, params & 0xff], salt, output)
}

fn stored([log_n, r, p]: [u32; 3], salt: &str, output: &str) -> ParsedHash {
    let salt = fields::salt(salt).ok_or(MALFORMED)?;
    let output = fields::base64(output).ok_or(MALFORMED)?;
    if !(MIN_OUTPUT..=MAX_OUTPUT).contains(&output.len()) || r == 0 || p == 0 {
        return Err(MALFORMED);
    }
    if log_n < MIN_LOG_N {
        return Err(BadHash::TooQuick { limit: "scrypt's N is at least 1024 (ln=10)" });
    }
    let blocks = 1_u64.checked_shl(log_n).and_then(|n| n.checked_mul(r.into()));
    let Some(blocks) = blocks.filter(|blocks| *blocks <= MAX_BLOCKS) else {
        return Err(BadHash::TooCostly { limit: "128 times N times r is at most 256 MiB" });
    };
    if p > MAX_P || blocks * u64::from(p) > MAX_WORK {
        return Err(BadHash::TooCostly { limit: "128 times N times r times p is at most 1 GiB" });
    }
    let log_n = u8::try_from(log_n).map_err(|_| MALFORMED)?;
    let stored = ScryptHash { cost: (log_n, r, p), salt, output };
    Ok((HashFormat::Scrypt(stored), HashCost::Scrypt { log_n, r, p }))
}

impl ScryptHash {
    pub(super) fn verify(&self, password: &[u8]) -> Result<bool, HashError> {
        let (log_n, r, p) = self.cost;
        let params = Params::new(log_n, r, p).map_err(HashError::new)?;
        let mut output = vec![0; self.output.len()];
        scrypt::scrypt(password, &self.salt, &params, &mut output).map_err(HashError::new)?;
        // Compared in constant time, so that the time does not tell how many bytes of the output
        // are right.
        Ok(secret::equal(&output, &self.output))
    }
}

pub(super) fn dummy(log_n: u8, r: u32, p: u32) -> (String, HashFormat) {
    let salt = secret::random::<16>();
    let output = secret::random::<32>();
    let text = format!(
        "$scrypt$ln={log_n},r={r},p={p}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(output)
    );
    let stored = ScryptHash { cost: (log_n, r, p), salt: salt.to_vec(), output: output.to_vec() };
    (text, HashFormat::Scrypt(stored))
}
