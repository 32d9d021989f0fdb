//! The signed requests of the last moments, so that none is accepted twice.
//!
//! A request is remembered by its key and the digest of the signed bytes, not by the signature: of
//! some algorithms anybody can make another valid signature of the same bytes. It is remembered until
//! its time is too old to be accepted. Nothing is forgotten before: if there is no room, new requests
//! are refused, those of a key that uses its share first. The memory belongs to one process; other
//! nodes have their own. It survives reloads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;

use super::verified::TokenError;
use crate::admission::share_of;
use crate::clock::Timestamp;
use crate::dialect::Reason;
use crate::secret::Digest;
use crate::settings::Config;

/// The memory.
#[derive(Debug)]
pub struct SeenSignatures(Mutex<SeenState>);

/// The requests of one second, by key.
type SeenSecond = HashMap<Digest, HashSet<Digest>>;

#[derive(Debug)]
struct SeenState {
    most: usize,
    /// How long a request is remembered after its time.
    kept: Duration,
    /// Requests from before this time were forgotten. A reload with a longer `skew` would accept them
    /// again, and so would a clock that was set back. They are refused.
    forgotten_until: Timestamp,
    /// The requests by the second of their time.
    seconds: BTreeMap<u64, SeenSecond>,
    /// How many there are of each key. A key without any has no entry.
    counts: HashMap<Digest, usize>,
    total: usize,
}

/// A request with a valid signature.
#[derive(Clone, Copy, Debug)]
pub struct SignedOnce {
    /// The digest that names the key.
    pub key: Digest,
    /// The digest of the signed bytes.
    pub signed: Digest,
    /// The time that was signed.
    pub at: Timestamp,
}

impl SeenSignatures {
    /// A memory for `most` requests, each until its time is `kept` ago.
    fn new(most: usize, kept: Duration) -> Self {
        Self(Mutex::new(SeenState {
            most,
            kept,
            forgotten_until: Timestamp::default(),
            seconds: BTreeMap::new(),
            counts: HashMap::new(),
            total: 0,
        }))
    }

    /// The memory of a gateway with this configuration.
    pub fn of(config: &Config) -> Self {
        Self::new(config.api_keys.common.remembered_signatures, config.longest_skew())
    }

    /// Puts the bounds of another configuration into effect. Requests beyond a lower bound stay until
    /// their time.
    pub fn reconfigure(&self, config: &Config) {
        self.set_bounds(config.api_keys.common.remembered_signatures, config.longest_skew());
    }

    fn set_bounds(&self, most: usize, kept: Duration) {
        let mut state = self.0.lock();
        state.most = most;
        state.kept = kept;
    }

    /// Remembers a request.
    ///
    /// # Errors
    /// `TokenInvalid` if it was seen before, or is as old as requests that were forgotten, `RateLimited` if its key has
    /// its share, and `Unavailable` if there is no room.
    pub fn remember(&self, request: &SignedOnce, now: Timestamp) -> Result<(), TokenError> {
        let mut state = self.0.lock();
        let old = state.sweep(now);
        let remembered = state.remember(request);
        drop(state);
        // Freeing many entries takes long. It is done without the lock.
        drop(old);
        remembered
    }

    /// Checks as `remember` does whether a request was seen, and remembers nothing.
    ///
    /// # Errors
    /// As `remember`.
    pub fn check(&self, request: &SignedOnce) -> Result<(), TokenError> {
        self.0.lock().check(request)
    }

    /// Forgets the requests that are too old at `now`. Called now and then, so that a gateway without
    /// signed requests does not keep the last ones for ever.
    pub fn sweep(&self, now: Timestamp) {
        let old = self.0.lock().sweep(now);
        drop(old);
    }

    /// How many requests are remembered.
    pub fn count(&self) -> usize {
        self.0.lock().total
    }
}

impl SeenState {
    fn check(&self, request: &SignedOnce) -> Result<(), TokenError> {
        if request.at < self.forgotten_until {
            return Err(TokenError::invalid("the signed request is older than what is remembered"));
        }
        let second = self.seconds.get(&request.at.secs());
        let of_key = second.and_then(|second| second.get(&request.key));
        if of_key.is_some_and(|seen| seen.contains(&request.signed)) {
            return Err(TokenError::invalid("the signed request was sent before"));
        }
        let refused = |reason, cause| Err(TokenError { reason, cause });
        if self.counts.get(&request.key).is_some_and(|count| *count >= share_of(self.most)) {
            return refused(Reason::RateLimited, "the key has its share of remembered signatures");
        }
        if self.total >= self.most {
            return refused(Reason::Unavailable, "no room to remember another signature");
        }
        Ok(())
    }

    fn remember(&mut self, request: &SignedOnce) -> Result<(), TokenError> {
        self.check(request)?;
        let second = self.seconds.entry(request.at.secs()).or_default();
        second.entry(request.key).or_default().insert(request.signed);
        *self.counts.entry(request.key).or_default() += 1;
        self.total += 1;
        Ok(())
    }

    /// Takes out the requests whose whole second is too old.
    fn sweep(&mut self, now: Timestamp) -> BTreeMap<u64, SeenSecond> {
        let oldest = now.minus(self.kept).whole_secs();
        let is_usual =
            self.seconds.first_key_value().is_none_or(|(first, _)| *first >= oldest.secs());
        if is_usual {
            return BTreeMap::new();
        }
        let recent = self.seconds.split_off(&oldest.secs());
        let old = std::mem::replace(&mut self.seconds, recent);
        if let Some((last, _)) = old.last_key_value() {
            let end = Timestamp::from_secs(last.saturating_add(1));
            self.forgotten_until = self.forgotten_until.max(end);
        }
        for (key, seen) in old.values().flatten() {
            self.total = self.total.saturating_sub(seen.len());
            if let Some(count) = self.counts.get_mut(key) {
                *count = count.saturating_sub(seen.len());
                if *count == 0 {
                    self.counts.remove(key);
                }
            }
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(30);
    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn request(key: u8, signed: u8, at: Timestamp) -> SignedOnce {
        SignedOnce { key: Digest([key; 32]), signed: Digest([signed; 32]), at }
    }

    #[test]
    fn a_request_is_remembered_until_it_is_too_old_to_be_accepted() {
        let seen = SeenSignatures::new(100, KEPT);
        let early = request(1, 1, NOW.plus(KEPT));

        seen.remember(&early, NOW).unwrap();
        seen.remember(&request(2, 1, NOW.plus(KEPT)), NOW).expect("another key's");
        for later in [0, 30, 60] {
            let now = NOW.plus(Duration::from_secs(later));
            let refused = seen.remember(&early, now).unwrap_err();
            assert_eq!(refused.reason, Reason::TokenInvalid, "after {later} s");
        }
        seen.sweep(NOW.plus(KEPT * 2 + Duration::from_secs(1)));

        assert_eq!(seen.count(), 0);
        assert!(seen.0.lock().counts.is_empty());
    }

    #[test]
    fn a_longer_skew_does_not_bring_back_what_was_forgotten() {
        let seen = SeenSignatures::new(100, KEPT);
        let old = request(1, 1, NOW);
        seen.remember(&old, NOW).unwrap();
        let now = NOW.plus(KEPT + Duration::from_secs(1));
        seen.sweep(now);

        seen.set_bounds(100, KEPT * 10);

        assert!(seen.remember(&old, now).is_err());
        assert!(seen.remember(&request(1, 1, now), now).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_new() {
        let seen = SeenSignatures::new(100, KEPT);
        let old = request(1, 1, NOW);
        seen.remember(&old, NOW).unwrap();
        seen.sweep(NOW.plus(KEPT * 4));

        assert!(seen.remember(&old, NOW).is_err());
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_nothing() {
        let seen = SeenSignatures::new(16, KEPT);
        let reason = |key, signed| {
            seen.remember(&request(key, signed, NOW), NOW).err().map(|refused| refused.reason)
        };

        assert_eq!([reason(0, 0), reason(0, 1)], [None, None]);
        assert_eq!(reason(0, 2), Some(Reason::RateLimited), "an eighth is its share");
        for key in 1..8 {
            assert_eq!([reason(key, 0), reason(key, 1)], [None, None], "others have theirs");
        }
        assert_eq!(reason(9, 0), Some(Reason::Unavailable));
        assert_eq!(reason(0, 0), Some(Reason::TokenInvalid), "still remembered");
        let later = NOW.plus(KEPT + Duration::from_secs(1));
        assert!(seen.remember(&request(0, 2, later), later).is_ok(), "there is room again");
    }
}
