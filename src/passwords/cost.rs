//! The cost of verifying a hash, by which a dummy hash of the same cost is made (`HashCost::dummy`).

use super::digests::{HmacDigest, ShaVariant};
use crate::settings::WeakScheme;

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

impl HashCost {
    /// A number that is larger for more work. Numbers of different kinds cannot be compared.
    pub(super) fn work(self) -> u64 {
        match self {
            Self::Digest { .. } => 1,
            Self::ShaCrypt { rounds, .. } | Self::Pbkdf2 { rounds, .. } => rounds.into(),
            Self::Bcrypt { cost } => 1_u64.checked_shl(cost).unwrap_or(u64::MAX),
            Self::Scrypt { log_n, r, p } => {
                let n = 1_u64.checked_shl(log_n.into()).unwrap_or(u64::MAX);
                n.saturating_mul(r.into()).saturating_mul(p.into())
            }
            Self::Argon2 { memory, passes, .. } => u64::from(memory) * u64::from(passes),
        }
    }
}
