//! What others said about tokens, for a short while, by the digest of what was presented.
//!
//! Good and bad verdicts are kept apart, each bounded: made-up tokens push out made-up tokens
//! only. The oldest goes first, which is the next to be over anyway.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::verified::{Refusal, Verified};
use crate::clock::Timestamp;
use crate::secret::Digest;

/// Verdicts of one kind about one issuer's tokens.
const CAPACITY: usize = 10_000;

/// No verdict holds longer: where one seems to, the clock was set back.
const LONGEST: Duration = Duration::from_secs(300);

/// Whose the token is, or why it is refused.
pub(super) type Verdict = Result<Arc<Verified>, Refusal>;

/// Remembered verdicts.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    good: Shelf<Arc<Verified>>,
    bad: Shelf<Refusal>,
}

impl Verdicts {
    /// What was said, as long as it holds.
    pub(super) fn find(&self, digest: &Digest, now: Timestamp) -> Option<Verdict> {
        let good = self.good.find(digest, now).map(Ok);
        good.or_else(|| self.bad.find(digest, now).map(Err))
    }

    /// Remembers what was said, in place of what was said before.
    pub(super) fn keep(&self, digest: Digest, verdict: Verdict, until: Timestamp) {
        match verdict {
            Ok(verified) => {
                self.bad.remove(&digest);
                self.good.keep(digest, verified, until);
            }
            Err(refusal) => {
                self.good.remove(&digest);
                self.bad.keep(digest, refusal, until);
            }
        }
    }
}

#[derive(Debug)]
struct Shelf<T>(RwLock<Entries<T>>);

#[derive(Debug)]
struct Entries<T> {
    held: HashMap<Digest, (T, Timestamp)>,
    /// In the order in which they came; some are gone, or came again.
    order: VecDeque<Digest>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(RwLock::new(Entries { held: HashMap::new(), order: VecDeque::new() }))
    }
}

impl<T: Clone> Shelf<T> {
    fn find(&self, digest: &Digest, now: Timestamp) -> Option<T> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (value, until) = entries.held.get(digest)?;
        (now < *until && until.since(now) <= LONGEST).then(|| value.clone())
    }

    fn keep(&self, digest: Digest, value: T, until: Timestamp) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        while entries.order.len() >= CAPACITY {
            if let Some(oldest) = entries.order.pop_front() {
                entries.held.remove(&oldest);
            }
        }
        entries.order.push_back(digest);
        entries.held.insert(digest, (value, until));
    }

    fn remove(&self, digest: &Digest) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).held.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shelf_is_bounded_and_forgets_in_time() {
        let (shelf, then) = (Shelf::default(), Timestamp::from_secs(5));
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        for number in 0..CAPACITY + 5 {
            shelf.keep(digest(number), number, then);
        }

        assert_eq!(shelf.0.read().unwrap().held.len(), CAPACITY);
        assert_eq!(shelf.find(&digest(4), Timestamp::from_secs(1)), None, "the oldest went");
        assert_eq!(shelf.find(&digest(5), Timestamp::from_secs(1)), Some(5));
        assert_eq!(shelf.find(&digest(5), then), None, "it is over");
    }
}
