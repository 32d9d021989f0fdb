//! A hasher for keys that are evenly distributed already: digests and random ids.
//!
//! The standard hasher defends against keys that an attacker has chosen. Nobody can choose these
//! keys: a digest is one of a credential that was verified before, and an id was made here. FxHash
//! costs a fraction of the standard hash, on the path of every request. It must not be used for any
//! other key.

/// The hasher for maps whose keys are evenly distributed.
pub type FastHasher = rustc_hash::FxBuildHasher;

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
