//! Revoked sessions and tokens, in memory.
//!
//! Every request with a token reads this table before the token is accepted, so it must answer
//! without a lock on the store and without a disk access. The store fills it at start and keeps it
//! current: a revocation is here before `SessionStore::revoke` returns. Entries are dropped once no
//! token that they refuse can still be valid.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use super::{StreamOrigin, TokenCutoffs};
use tollhouse_core::clock::{Clock, Timestamp};
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::Digest;
use tollhouse_core::spread::FastHasher;

/// The state of a session that decides whether its tokens are accepted. Most sessions have no mark:
/// then their tokens are accepted. The mark is looked up for each request, so it is as small as
/// possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMark {
    /// The tokens of the session are refused. The mark is dropped after this instant.
    Revoked(Timestamp),
    /// The session's user has not been compared with the user source yet, for example after a
    /// start. Until that review, tokens of the session are neither accepted nor finally refused.
    /// The mark is dropped after this instant, when the last of the tokens has expired.
    Unreviewed(Timestamp),
}

/// Revoked sessions and single tokens. Invariant: an entry stays until every token that it refuses
/// has expired. The maps are sharded, so concurrent requests rarely meet on one lock.
#[derive(Debug)]
pub struct Revocations {
    /// Both kinds of mark are in one map, so that a request needs one look-up.
    sessions: DashMap<SessionId, SessionMark, FastHasher>,
    tokens: DashMap<Digest, Timestamp, FastHasher>,
    /// Cut-offs for the tokens of other issuers, by user.
    pub cutoffs: TokenCutoffs,
    /// When the store was made, in milliseconds since the epoch.
    store_made: AtomicU64,
    /// True if a clock that is not this machine's says when the store was made.
    is_store_shared: AtomicBool,
    /// Until when the revocations may be relied on, in milliseconds of the monotonic clock. No end
    /// without a shared store.
    current_until: AtomicU64,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            sessions: DashMap::default(),
            tokens: DashMap::default(),
            cutoffs: TokenCutoffs::default(),
            store_made: AtomicU64::default(),
            is_store_shared: AtomicBool::default(),
            current_until: AtomicU64::new(u64::MAX),
        }
    }
}

impl Revocations {
    /// True if the tokens of this session are refused.
    pub fn session_revoked(&self, id: &SessionId) -> bool {
        matches!(self.session(id), Some(SessionMark::Revoked(_)))
    }

    /// The session's mark, if it has one.
    pub fn session(&self, id: &SessionId) -> Option<SessionMark> {
        self.sessions.get(id).map(|mark| *mark)
    }

    /// Marks a session as waiting for the review of its user, until `until`. A session that is
    /// already revoked stays revoked. Called at the start for sessions whose review was not
    /// finished in time.
    pub fn hold(&self, id: SessionId, until: Timestamp) {
        // `or_insert` keeps an existing mark. If the session is revoked before the review begins, a
        // waiting mark must not replace the revocation.
        self.sessions.entry(id).or_insert(SessionMark::Unreviewed(until));
    }

    /// Removes the waiting mark after the session's user has been reviewed.
    pub fn release(&self, id: &SessionId) {
        // Only a waiting mark is removed. If the session was revoked during the review, the
        // revocation must stay.
        self.sessions.remove_if(id, |_, mark| matches!(mark, SessionMark::Unreviewed(_)));
    }

    /// True if this single token is refused.
    pub fn token_revoked(&self, digest: &Digest) -> bool {
        self.tokens.contains_key(digest)
    }

    /// True if no stream may stay open for this session or credential.
    pub fn revoked(&self, origin: &StreamOrigin) -> bool {
        match origin {
            StreamOrigin::Session(id) => self.session_revoked(id),
            StreamOrigin::Credential(digest) | StreamOrigin::Entry(digest) => {
                self.token_revoked(digest)
            }
        }
    }

    /// Refuses the tokens of the session from now on, until `until`. A later `until` wins over an
    /// earlier one; a waiting mark is replaced. The later time is kept because each caller may know
    /// only some of the session's tokens.
    pub fn revoke_session(&self, id: SessionId, until: Timestamp) {
        let mut mark = self.sessions.entry(id).or_insert(SessionMark::Revoked(until));
        *mark = match *mark {
            SessionMark::Revoked(ends) => SessionMark::Revoked(ends.max(until)),
            SessionMark::Unreviewed(_) => SessionMark::Revoked(until),
        };
    }

    /// Refuses this token from now on, until `until`. A later `until` wins over an earlier one.
    pub fn revoke_token(&self, digest: Digest, until: Timestamp) {
        self.tokens.entry(digest).and_modify(|ends| *ends = (*ends).max(until)).or_insert(until);
    }

    /// True if an own token with this time of issue is older than the store. Such a token is
    /// refused, because a new store does not know which of them were revoked. `tolerant` is the
    /// present with the tolerated difference of clocks.
    ///
    /// If a store of this machine was made in the future, a clock was wrong then or is wrong now,
    /// and the comparison would refuse every token: it is left out. The time of a shared store is
    /// its database's, which is right by definition: no node issues tokens with an earlier time.
    pub fn is_older_than_store(&self, issued: Timestamp, tolerant: Timestamp) -> bool {
        let made = self.store_made();
        let is_comparable = made <= tolerant || self.is_store_shared.load(Ordering::Acquire);
        issued < made && is_comparable
    }

    /// The earliest time of issue of a new token. A node whose clock is behind must not date its
    /// tokens before a shared store: they would be taken for tokens of an earlier one.
    pub fn earliest_issue(&self) -> Timestamp {
        let is_shared = self.is_store_shared.load(Ordering::Acquire);
        if is_shared { self.store_made() } else { Timestamp::default() }
    }

    /// When the store was made, in whole seconds, as in tokens. A store that other nodes share may
    /// be replaced by an empty one while this node runs.
    pub fn store_made(&self) -> Timestamp {
        Timestamp::from_millis(self.store_made.load(Ordering::Acquire))
    }

    /// Sets when the store of this machine was made.
    pub fn set_store_made(&self, at: Timestamp) {
        self.store_made.store(at.whole_secs().millis(), Ordering::Release);
    }

    /// Sets when the shared store was made, by the clock of its database.
    pub fn set_shared_store_made(&self, at: Timestamp) {
        self.is_store_shared.store(true, Ordering::Release);
        self.set_store_made(at);
    }

    /// True if nobody knows what was revoked elsewhere in the last while, because the store that
    /// other nodes share cannot be reached for too long. No credential may be accepted then. It is
    /// computed here and not noted by the task that follows the store: a task that hangs would note
    /// nothing.
    pub fn is_stale(&self, clock: &Clock) -> bool {
        let until = self.current_until.load(Ordering::Acquire);
        until != u64::MAX && millis(clock.monotonic()) > until
    }

    /// Sets until when the revocations may be relied on, by the monotonic clock.
    pub fn set_current_until(&self, until: Duration) {
        // The largest value means that there is no end.
        self.current_until.store(millis(until).min(u64::MAX - 1), Ordering::Release);
    }

    /// The single tokens that are refused, and until when, in no order.
    pub(crate) fn tokens(&self) -> Vec<(Digest, Timestamp)> {
        self.tokens.iter().map(|token| (*token.key(), *token.value())).collect()
    }

    /// Drops the entries whose time ended at or before `now`.
    pub fn sweep(&self, now: Timestamp) {
        self.sessions.retain(|_, mark| match mark {
            SessionMark::Revoked(until) | SessionMark::Unreviewed(until) => *until > now,
        });
        self.tokens.retain(|_, until| *until > now);
    }

    /// Number of marked sessions and refused tokens.
    pub fn len(&self) -> usize {
        self.sessions.len() + self.tokens.len()
    }

    /// True if there is no mark and no refused token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
