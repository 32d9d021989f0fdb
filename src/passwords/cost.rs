//! The cost of verifying a hash, and dummy hashes of the same cost.
//!
//! A login with an unknown name verifies a dummy hash, so that it takes as long as one with a wrong
//! password. Otherwise the time of the answer would tell which names exist.

use super::{HmacDigest, ShaVariant};
use super::{StoredHash, argon2, bcrypt, pbkdf2, salted, scrypt, sha_crypt, webitel};
use crate::config::WeakScheme;

/// The work of verifying a hash, as kind and parameters. Invariant: two hashes of equal cost take
/// equally long, so one can stand in for the other where the time must not tell which was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashCost {
    /// A single pass of a digest.
    Digest { scheme: WeakScheme },
    /// SHA-crypt with this number of rounds.
    ShaCrypt { variant: ShaVariant, rounds: u32 },
    /// PBKDF2: iterations times blocks of output.
    Pbkdf2 { prf: HmacDigest, rounds: u32 },
    /// bcrypt: two to the power of `cost` rounds.
    Bcrypt { cost: u32 },
    /// scrypt: binary logarithm of N, block size, and parallelism.
    Scrypt { log_n: u8, r: u32, p: u32 },
    /// Argon2: memory in KiB, passes over it, and lanes.
    Argon2 { memory: u32, passes: u32, lanes: u32 },
}

impl Default for HashCost {
    /// The cost of the hashes that the gateway makes.
    fn default() -> Self {
        argon2::OURS
    }
}

impl HashCost {
    /// A hash of this cost that no password matches. Verifying it stands in for the hash of a user
    /// that does not exist. Salt and output are random, so finding a password for it is as hard as
    /// guessing.
    pub fn dummy(self) -> StoredHash {
        let (text, form) = match self {
            Self::Digest { scheme: WeakScheme::WebitelMd5 } => webitel::dummy(),
            Self::Digest { scheme } => salted::dummy(scheme),
            Self::ShaCrypt { variant, rounds } => sha_crypt::dummy(variant, rounds),
            Self::Pbkdf2 { prf, rounds } => pbkdf2::dummy(prf, rounds),
            Self::Bcrypt { cost } => bcrypt::dummy(cost),
            Self::Scrypt { log_n, r, p } => scrypt::dummy(log_n, r, p),
            Self::Argon2 { memory, passes, lanes } => argon2::dummy(memory, passes, lanes),
        };
        StoredHash { text, form, cost: self, outdated: false }
    }

    /// A number that is larger for more work. Numbers of different kinds cannot be compared.
    pub(super) fn work(self) -> u64 {
        match self {
            Self::Digest { .. } => 1,
            Self::ShaCrypt { rounds, .. } | Self::Pbkdf2 { rounds, .. } => rounds.into(),
            Self::Bcrypt { cost } => 1_u64.checked_shl(cost).unwrap_or(u64::MAX),
            Self::Scrypt { log_n, r, p } => scrypt::work(log_n, r, p),
            Self::Argon2 { memory, passes, .. } => u64::from(memory) * u64::from(passes),
        }
    }
}
