//! Remembered answers of issuers about tokens, by the digest of the presented credential.
//!
//! Good and bad verdicts are stored apart and bounded apart: invented tokens can evict only
//! invented tokens. The oldest verdict is evicted first (FIFO), which is also the next to end.
//!
//! A good verdict is renewed before it ends, and is used a little longer while the renewal is under
//! way. A client with a good token therefore never waits behind a queue of invented ones. `opaque`
//! is the only caller.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};

use super::verified::{TokenError, VerifiedCredential};
use crate::clock::Timestamp;
use crate::secret::Digest;

/// Upper bound of verdicts of each kind for one issuer.
const CAPACITY: usize = 10_000;

/// Longest life of a verdict. If the remaining life is longer, then the clock was set back, and the
/// verdict is not used.
const LONGEST: Duration = Duration::from_secs(300);

/// How much longer a verdict is used during its renewal: the time limit of one lookup.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// The identity of the token, or the reason for its refusal.
pub(super) type LookupVerdict = Result<Arc<VerifiedCredential>, TokenError>;

/// An issuer's positive answer about a token.
#[derive(Debug)]
pub(super) struct LookupAnswer {
    pub(super) verified: VerifiedCredential,
    /// True if the token has an expiry of its own. Otherwise it is valid for as long as its verdict
    /// is remembered.
    pub(super) ends: bool,
}

/// The remembered verdicts on one issuer's tokens.
#[derive(Debug, Default)]
pub(super) struct LookupCache {
    good: BoundedMap<Arc<VerifiedCredential>>,
    bad: BoundedMap<TokenError>,
}

impl LookupCache {
    /// The verdict on a token, if it has not ended.
    pub(super) fn find(&self, digest: &Digest, now: Timestamp) -> Option<LookupVerdict> {
        let good = self.good.find(digest, now).map(Ok);
        good.or_else(|| self.bad.find(digest, now).map(Err))
    }

    /// True if a good verdict ends within `lead` and its renewal should start. It returns true
    /// once; later calls return false until `keep` or `was_not_answered`.
    pub(super) fn is_due(&self, digest: &Digest, lead: Duration, now: Timestamp) -> bool {
        let entries = self.good.read();
        // `swap` makes one of several concurrent workers the one that starts the renewal.
        entries.by_digest.get(digest).is_some_and(|entry| {
            now < entry.until
                && entry.until.since(now) <= lead
                && !entry.is_renewing.swap(true, Ordering::Relaxed)
        })
    }

    /// Records that a renewal failed. The verdict then ends at its original time, without the grace
    /// period. The next use of the verdict may start another renewal.
    pub(super) fn was_not_answered(&self, digest: &Digest) {
        if let Some(entry) = self.good.read().by_digest.get(digest) {
            entry.is_renewing.store(false, Ordering::Relaxed);
        }
    }

    /// True if there is a verdict on the token, ended or not. A token with any verdict is no longer
    /// a new one, so its refusal is not counted against the client's address again.
    pub(super) fn knows(&self, digest: &Digest) -> bool {
        self.good.read().by_digest.contains_key(digest)
            || self.bad.read().by_digest.contains_key(digest)
    }

    /// Remembers a verdict in place of an earlier one. A token has one verdict at most: it moves
    /// from good to bad when it was revoked, and from bad to good when it becomes valid.
    pub(super) fn keep(&self, digest: Digest, verdict: LookupVerdict, until: Timestamp) {
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

/// Verdicts of one kind behind a lock.
#[derive(Debug)]
struct BoundedMap<T>(RwLock<MapEntries<T>>);

/// The verdicts with their order of arrival.
#[derive(Debug)]
struct MapEntries<T> {
    by_digest: HashMap<Digest, MapEntry<T>>,
    /// Digests in order of arrival. Some entries may have been removed or stored again meanwhile.
    order: VecDeque<Digest>,
}

/// One verdict.
#[derive(Debug)]
struct MapEntry<T> {
    value: T,
    until: Timestamp,
    /// True while the verdict is being renewed.
    is_renewing: AtomicBool,
}

impl<T> Default for BoundedMap<T> {
    fn default() -> Self {
        Self(RwLock::new(MapEntries { by_digest: HashMap::new(), order: VecDeque::new() }))
    }
}

impl<T: Clone> BoundedMap<T> {
    /// The value, if it has not ended; during a renewal it is used for `GRACE` longer.
    fn find(&self, digest: &Digest, now: Timestamp) -> Option<T> {
        let entries = self.read();
        let entry = entries.by_digest.get(digest)?;
        let grace = if entry.is_renewing.load(Ordering::Relaxed) { GRACE } else { Duration::ZERO };
        let holds = now < entry.until.plus(grace) && entry.until.since(now) <= LONGEST;
        holds.then(|| entry.value.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, MapEntries<T>> {
        self.0.read()
    }

    fn keep(&self, digest: Digest, value: T, until: Timestamp) {
        let mut entries = self.0.write();
        // The length of `order` is the bound, because `order` can contain digests that are no
        // longer stored. A digest that was stored twice may be evicted early, which costs one more
        // lookup.
        while entries.order.len() >= CAPACITY {
            if let Some(oldest) = entries.order.pop_front() {
                entries.by_digest.remove(&oldest);
            }
        }
        entries.order.push_back(digest);
        entries
            .by_digest
            .insert(digest, MapEntry { value, until, is_renewing: AtomicBool::new(false) });
    }

    fn remove(&self, digest: &Digest) {
        self.0.write().by_digest.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Claims, Identity, Subject};

    #[test]
    fn a_shelf_is_bounded_and_forgets_in_time() {
        let shelf = BoundedMap::default();
        let then = Timestamp::from_secs(5);
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        for number in 0..CAPACITY + 5 {
            shelf.keep(digest(number), number, then);
        }

        assert_eq!(shelf.0.read().by_digest.len(), CAPACITY);
        assert_eq!(shelf.find(&digest(4), Timestamp::from_secs(1)), None, "the oldest went");
        assert_eq!(shelf.find(&digest(5), Timestamp::from_secs(1)), Some(5));
        assert_eq!(shelf.find(&digest(5), then), None, "it is over");
    }

    fn somebody() -> VerifiedCredential {
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
        VerifiedCredential::without_token(identity, Digest::of(b"token"), Timestamp::NEVER)
    }

    #[test]
    fn a_verdict_is_asked_about_before_it_ends_and_holds_while_it_is() {
        let shelf = LookupCache::default();
        let digest = Digest::of(b"token");
        let refusal = TokenError::invalid("no");
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
