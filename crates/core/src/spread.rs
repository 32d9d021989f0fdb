//! A hasher for keys that are evenly distributed already: digests and random ids.
//!
//! The standard hasher defends against keys that an attacker has chosen. Nobody can choose these
//! keys: a digest is one of a credential that was verified before, and an id was made here. Folding
//! the bytes of a key costs a tenth of the standard hash, on the path of every request. It must not
//! be used for any other key.

use std::hash::{BuildHasherDefault, Hasher};

/// The hasher for maps whose keys are evenly distributed.
pub type FastHasher = BuildHasherDefault<WordHasher>;

/// Folds the bytes of a key into one word.
#[derive(Clone, Copy, Debug, Default)]
pub struct WordHasher(u64);

/// The odd number next to 2^64 divided by the golden ratio. A multiplication by it carries every
/// bit upwards.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Ids begin with the time. All words have to count, or ids that were made at the same
        // moment would collide.
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = (self.0.rotate_left(5) ^ u64::from_ne_bytes(*word)).wrapping_mul(GOLDEN);
        }
        for byte in rest {
            self.0 = (self.0.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(GOLDEN);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length of a key is the same for all keys of a map, so it is left out.
    }

    fn finish(&self) -> u64 {
        // A map uses the low and the high bits of the hash, so the high half is mixed into the low
        // one.
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
        let spread = FastHasher::default();
        let ids = (0..1000).map(|_| spread.hash_one(SessionId::new(now)));
        let digests = (0..1000_u32).map(|n| spread.hash_one(Digest::of(&n.to_be_bytes())));
        for hashes in [ids.collect::<Vec<_>>(), digests.collect()] {
            let low: HashSet<u64> = hashes.iter().map(|hash| hash % 4096).collect();
            let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 52).collect();

            assert!(low.len() > 800 && high.len() > 800, "{} {}", low.len(), high.len());
        }
    }
}
