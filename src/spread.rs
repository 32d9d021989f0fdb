//! Hashing keys that are spread evenly already: digests, and random ids.
//!
//! The standard hasher defends against keys that an attacker chooses. Nobody chooses these: a
//! digest is one of what was proved before, an id was made here. Folding their bytes costs a
//! tenth of it, on the way of every request.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps whose keys are spread evenly.
pub(crate) type Spread = BuildHasherDefault<Folded>;

/// Folds what it is given into one word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Folded(u64);

/// The odd number of the golden ratio: a product by it moves every bit upwards.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        // Ids begin with the time: all words count, or ids of one moment would meet.
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = (self.0.rotate_left(5) ^ u64::from_ne_bytes(*word)).wrapping_mul(GOLDEN);
        }
        for byte in rest {
            self.0 = (self.0.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(GOLDEN);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length of a key, which is the same for all.
    }

    fn finish(&self) -> u64 {
        // A map looks at both ends of the word.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;
    use crate::identity::SessionId;
    use crate::secret::Digest;

    #[test]
    fn hashes_of_digests_and_of_ids_of_one_moment_are_spread() {
        let now = crate::clock::Timestamp::from_secs(1);
        let spread = Spread::default();
        let ids = (0..1000).map(|_| spread.hash_one(SessionId::new(now)));
        let digests = (0..1000_u32).map(|n| spread.hash_one(Digest::of(&n.to_be_bytes())));
        for hashes in [ids.collect::<Vec<_>>(), digests.collect()] {
            let low: HashSet<u64> = hashes.iter().map(|hash| hash % 4096).collect();
            let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 52).collect();

            assert!(low.len() > 800 && high.len() > 800, "{} {}", low.len(), high.len());
        }
    }
}
