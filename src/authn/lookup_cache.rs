//! Remembered answers of issuers about tokens, by the digest of the presented credential.
//!
//! Good and bad verdicts are stored apart and bounded apart: invented tokens can evict only
//! invented tokens. The oldest verdict is evicted first (FIFO), which is also the next to end.
//!
//! A good verdict is renewed before it ends, and is used a little longer while the renewal is under
//! way. A client with a good token therefore never waits behind a queue of invented ones. `opaque`
//! is the only caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::verified::{TokenError, VerifiedCredential};
use crate::bounded_cache::BoundedCache;
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
#[derive(Debug)]
pub(super) struct LookupCache {
    good: BoundedCache<Digest, GoodVerdict>,
    bad: BoundedCache<Digest, TokenError>,
}

#[derive(Debug)]
struct GoodVerdict {
    verified: Arc<VerifiedCredential>,
    /// True while the verdict is being renewed.
    is_renewing: AtomicBool,
}

impl Default for LookupCache {
    fn default() -> Self {
        Self {
            good: BoundedCache::new(CAPACITY, LONGEST),
            bad: BoundedCache::new(CAPACITY, LONGEST),
        }
    }
}

impl LookupCache {
    /// The verdict on a token, if it has not ended. During its renewal, a good one is used for
    /// `GRACE` longer.
    pub(super) fn find(&self, digest: &Digest, now: Timestamp) -> Option<LookupVerdict> {
        let good = self.good.read(digest, |good, until| {
            let is_renewing = good.is_renewing.load(Ordering::Relaxed);
            let grace = if is_renewing { GRACE } else { Duration::ZERO };
            let holds = now < until.plus(grace) && until.since(now) <= LONGEST;
            holds.then(|| Ok(good.verified.clone()))
        });
        good.flatten().or_else(|| self.bad.get(digest, now).map(Err))
    }

    /// True if a good verdict ends within `lead` and its renewal should start. It returns true
    /// once; later calls return false until `keep` or `was_not_answered`.
    pub(super) fn is_due(&self, digest: &Digest, lead: Duration, now: Timestamp) -> bool {
        let is_due = self.good.read(digest, |good, until| {
            // `swap` makes one of several concurrent workers the one that starts the renewal.
            now < until
                && until.since(now) <= lead
                && !good.is_renewing.swap(true, Ordering::Relaxed)
        });
        is_due == Some(true)
    }

    /// Records that a renewal failed. The verdict then ends at its original time, without the grace
    /// period. The next use of the verdict may start another renewal.
    pub(super) fn was_not_answered(&self, digest: &Digest) {
        self.good.read(digest, |good, _| good.is_renewing.store(false, Ordering::Relaxed));
    }

    /// True if there is a verdict on the token, ended or not. A token with any verdict is no longer
    /// a new one, so its refusal is not counted against the client's address again.
    pub(super) fn knows(&self, digest: &Digest) -> bool {
        self.good.contains(digest) || self.bad.contains(digest)
    }

    /// Remembers a verdict in place of an earlier one. A token has one verdict at most: it moves
    /// from good to bad when it was revoked, and from bad to good when it becomes valid.
    pub(super) fn keep(&self, digest: Digest, verdict: LookupVerdict, until: Timestamp) {
        match verdict {
            Ok(verified) => {
                self.bad.remove(&digest);
                let is_renewing = AtomicBool::new(false);
                self.good.insert(digest, GoodVerdict { verified, is_renewing }, until);
            }
            Err(refusal) => {
                self.good.remove(&digest);
                self.bad.insert(digest, refusal, until);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Subject};

    fn somebody() -> VerifiedCredential {
        let identity = Identity::new("hydra", Subject::new("zoe"), "zoe");
        VerifiedCredential::without_token(identity, Digest::of(b"token"), Timestamp::NEVER)
    }

    #[test]
    fn a_verdict_is_asked_about_before_it_ends_and_holds_while_it_is() {
        let shelf = LookupCache::default();
        let digest = Digest::of(b"token");
        let refusal = TokenError::invalid("no");
        let [at, end, late] = [20, 30, 30 + 4].map(Timestamp::from_secs);
        let lead = Duration::from_secs(10);
        shelf.keep(digest, Ok(Arc::new(somebody())), end);

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
