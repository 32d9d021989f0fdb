//! What others said about tokens, for a short while, by the digest of what was presented.
//!
//! Good and bad verdicts are kept apart, each bounded: made-up tokens push out made-up tokens
//! only. The oldest goes first, which is the next to be over anyway.
//!
//! A good verdict that is about to end is asked about before it does, and holds a little longer while
//! that question is under way: a good token waits for nobody's made-up ones.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use super::verified::{Refusal, Verified};
use crate::clock::Timestamp;
use crate::secret::Digest;

/// Verdicts of one kind about one issuer's tokens.
const CAPACITY: usize = 10_000;

/// No verdict holds longer: where one seems to, the clock was set back.
const LONGEST: Duration = Duration::from_secs(300);

/// How much longer a verdict holds while the same is asked again: as long as a question takes.
pub(super) const GRACE: Duration = Duration::from_secs(5);

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

    /// Whether a good verdict ends within `lead` and has to be asked about: true once, until
    /// `keep` or `was_not_answered`.
    pub(super) fn is_due(&self, digest: &Digest, lead: Duration, now: Timestamp) -> bool {
        let entries = self.good.read();
        entries.held.get(digest).is_some_and(|held| {
            now < held.until
                && held.until.since(now) <= lead
                && !held.is_asked.swap(true, Ordering::Relaxed)
        })
    }

    /// The question that `is_due` led to has no answer: the verdict ends when it would have.
    pub(super) fn was_not_answered(&self, digest: &Digest) {
        if let Some(held) = self.good.read().held.get(digest) {
            held.is_asked.store(false, Ordering::Relaxed);
        }
    }

    /// Whether anything was ever said of it, whether it holds or not.
    pub(super) fn knows(&self, digest: &Digest) -> bool {
        self.good.read().held.contains_key(digest) || self.bad.read().held.contains_key(digest)
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
    held: HashMap<Digest, Entry<T>>,
    /// In the order in which they came; some are gone, or came again.
    order: VecDeque<Digest>,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    until: Timestamp,
    /// The same is being asked again.
    is_asked: AtomicBool,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(RwLock::new(Entries { held: HashMap::new(), order: VecDeque::new() }))
    }
}

impl<T: Clone> Shelf<T> {
    fn find(&self, digest: &Digest, now: Timestamp) -> Option<T> {
        let entries = self.read();
        let held = entries.held.get(digest)?;
        let grace = if held.is_asked.load(Ordering::Relaxed) { GRACE } else { Duration::ZERO };
        let holds = now < held.until.plus(grace) && held.until.since(now) <= LONGEST;
        holds.then(|| held.value.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries<T>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, digest: Digest, value: T, until: Timestamp) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        while entries.order.len() >= CAPACITY {
            if let Some(oldest) = entries.order.pop_front() {
                entries.held.remove(&oldest);
            }
        }
        entries.order.push_back(digest);
        entries.held.insert(digest, Entry { value, until, is_asked: AtomicBool::new(false) });
    }

    fn remove(&self, digest: &Digest) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).held.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Claims, Identity, Subject};

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

    fn somebody() -> Verified {
        let identity = Identity {
            subject: Subject::new("zoe"),
            username: "zoe".into(),
            source: "".into(),
            issuer: "hydra".into(),
            login: "".into(),
            session: None,
            roles: Vec::new(),
            scopes: Vec::new(),
            claims: Claims::new(),
        };
        Verified::without_token(identity, Digest::of(b"token"), Timestamp::NEVER)
    }

    #[test]
    fn a_verdict_is_asked_about_before_it_ends_and_holds_while_it_is() {
        let shelf = Verdicts::default();
        let digest = Digest::of(b"token");
        let refusal = Refusal::invalid("no");
        let [at, end, late] = [20, 30, 30 + 4].map(Timestamp::from_secs);
        let lead = Duration::from_secs(10);
        shelf.good.keep(digest, Arc::new(somebody()), end);

        assert!(!shelf.is_due(&digest, lead, Timestamp::from_secs(19)), "too early");
        assert!(shelf.is_due(&digest, lead, at));
        assert!(!shelf.is_due(&digest, lead, at), "once is enough");
        assert!(matches!(shelf.find(&digest, late), Some(Ok(_))), "while it is asked");
        assert!(shelf.find(&digest, end.plus(GRACE)).is_none(), "not for ever");

        shelf.was_not_answered(&digest);
        assert!(shelf.find(&digest, end).is_none(), "not where nobody answers");
        assert!(shelf.is_due(&digest, lead, at), "it is asked again");
        shelf.keep(digest, Err(refusal), late);
        assert!(matches!(shelf.find(&digest, at), Some(Err(_))), "the answer counts at once");
        assert!(shelf.knows(&digest) && !shelf.knows(&Digest::of(b"other")));
    }
}
