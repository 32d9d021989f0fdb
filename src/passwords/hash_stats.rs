//! Counters of a password pool: how much it has hashed, and how often a weak hash matched.
//!
//! The counters are for metrics and for tests, which prove by them that a wrong password and an
//! unknown name cost the same. They influence no decision.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::HashCost;
use crate::settings::WeakScheme;

/// Numbers of operations since the pool started. Equal differences mean equal work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCounts {
    pub argon2: u64,
    pub bcrypt: u64,
    pub scrypt: u64,
    pub pbkdf2: u64,
    pub sha_crypt: u64,
    /// Hashes that are a single pass of a digest.
    pub digests: u64,
    /// The sum of `HashCost::work` of all operations.
    pub work: u64,
}

impl std::ops::Sub for HashCounts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            argon2: self.argon2.saturating_sub(earlier.argon2),
            bcrypt: self.bcrypt.saturating_sub(earlier.bcrypt),
            scrypt: self.scrypt.saturating_sub(earlier.scrypt),
            pbkdf2: self.pbkdf2.saturating_sub(earlier.pbkdf2),
            sha_crypt: self.sha_crypt.saturating_sub(earlier.sha_crypt),
            digests: self.digests.saturating_sub(earlier.digests),
            work: self.work.saturating_sub(earlier.work),
        }
    }
}

impl HashCounts {
    /// Number of operations of all kinds.
    pub fn total(&self) -> u64 {
        self.argon2 + self.bcrypt + self.scrypt + self.pbkdf2 + self.sha_crypt + self.digests
    }

    fn add(&mut self, cost: HashCost) {
        let counter = match cost {
            HashCost::Argon2 { .. } => &mut self.argon2,
            HashCost::Bcrypt { .. } => &mut self.bcrypt,
            HashCost::Scrypt { .. } => &mut self.scrypt,
            HashCost::Pbkdf2 { .. } => &mut self.pbkdf2,
            HashCost::ShaCrypt { .. } => &mut self.sha_crypt,
            HashCost::Digest { .. } => &mut self.digests,
        };
        *counter += 1;
        self.work = self.work.saturating_add(cost.work());
    }
}

/// The counters of one pool.
#[derive(Debug, Default)]
pub(super) struct HashStats {
    done: Mutex<HashCounts>,
    weak: Mutex<BTreeMap<WeakScheme, u64>>,
}

impl HashStats {
    pub(super) fn note(&self, cost: HashCost) {
        self.done.lock().add(cost);
    }

    /// Notes that a password matched a hash of a weak scheme.
    pub(super) fn note_weak(&self, scheme: WeakScheme) {
        *self.weak.lock().entry(scheme).or_default() += 1;
    }

    pub(super) fn operations(&self) -> HashCounts {
        *self.done.lock()
    }

    pub(super) fn weak(&self) -> Vec<(WeakScheme, u64)> {
        self.weak.lock().iter().map(|(scheme, count)| (*scheme, *count)).collect()
    }
}
