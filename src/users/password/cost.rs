//! What checking a hash costs, and hashes that cost as much and are nobody's.

use super::{Prf, Variant};
use super::{StoredHash, argon2, bcrypt, pbkdf2, salted, scrypt, sha_crypt, webitel};
use crate::config::WeakScheme;

/// What checking a hash costs; two hashes of equal cost take equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// One pass of a digest.
    Digest { scheme: WeakScheme },
    /// Rounds of SHA-crypt.
    ShaCrypt { variant: Variant, rounds: u32 },
    /// Iterations, for each block of the output.
    Pbkdf2 { prf: Prf, rounds: u32 },
    /// Two to the power of this many rounds.
    Bcrypt { cost: u32 },
    /// Logarithm of N, block size and parallelism.
    Scrypt { log_n: u8, r: u32, p: u32 },
    /// Memory in KiB, passes over it, and lanes.
    Argon2 { memory: u32, passes: u32, lanes: u32 },
}

impl Default for Cost {
    /// The cost of the hashes we make.
    fn default() -> Self {
        argon2::OURS
    }
}

impl Cost {
    /// A hash of this cost that no password has: checking it stands in for the hash of a user
    /// who does not exist.
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

    /// A measure that is larger for more work of the same kind.
    pub(in crate::users) fn work(self) -> u64 {
        match self {
            Self::Digest { .. } => 1,
            Self::ShaCrypt { rounds, .. } | Self::Pbkdf2 { rounds, .. } => rounds.into(),
            Self::Bcrypt { cost } => 1_u64.checked_shl(cost).unwrap_or(u64::MAX),
            Self::Scrypt { log_n, r, p } => scrypt::work(log_n, r, p),
            Self::Argon2 { memory, passes, .. } => u64::from(memory) * u64::from(passes),
        }
    }
}
