//! What is revoked, in memory: looked at on every request.

use dashmap::DashMap;

use super::{Cutoffs, StreamOrigin};
use crate::clock::Timestamp;
use crate::identity::SessionId;
use crate::secret::Digest;
use crate::spread::Spread;

/// What is to be known of a session before a token of its is taken. Of most there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMark {
    /// Its tokens are refused, and forgotten after this.
    Revoked(Timestamp),
    /// Nobody has yet looked whether its user still is who they were: its tokens may be neither
    /// taken nor refused for good, until the last of them has expired.
    Unreviewed(Timestamp),
}

/// Revoked sessions and single tokens, each until no token of theirs can be valid any more.
#[derive(Debug, Default)]
pub struct Revocations {
    /// One look-up a request finds out both.
    sessions: DashMap<SessionId, SessionMark, Spread>,
    tokens: DashMap<Digest, Timestamp, Spread>,
    /// Tokens of other issuers, by their user.
    pub cutoffs: Cutoffs,
}

impl Revocations {
    /// True if tokens of this session are refused.
    pub fn session_revoked(&self, id: &SessionId) -> bool {
        matches!(self.session(id), Some(SessionMark::Revoked(_)))
    }

    /// What is to be known of a session, if anything.
    pub fn session(&self, id: &SessionId) -> Option<SessionMark> {
        self.sessions.get(id).map(|mark| *mark)
    }

    /// Has a session wait until its user has been looked at; forgotten after `until`.
    pub fn hold(&self, id: SessionId, until: Timestamp) {
        self.sessions.entry(id).or_insert(SessionMark::Unreviewed(until));
    }

    /// Its user has been looked at.
    pub fn release(&self, id: &SessionId) {
        self.sessions.remove_if(id, |_, mark| matches!(mark, SessionMark::Unreviewed(_)));
    }

    /// True if this very token is refused.
    pub fn token_revoked(&self, digest: &Digest) -> bool {
        self.tokens.contains_key(digest)
    }

    /// True if nothing may be open of it any more.
    pub fn revoked(&self, origin: &StreamOrigin) -> bool {
        match origin {
            StreamOrigin::Session(id) => self.session_revoked(id),
            StreamOrigin::Credential(digest) | StreamOrigin::Entry(digest) => {
                self.token_revoked(digest)
            }
        }
    }

    /// Refuses the session's tokens from now on; forgotten after `until`.
    pub fn revoke_session(&self, id: SessionId, until: Timestamp) {
        let mut mark = self.sessions.entry(id).or_insert(SessionMark::Revoked(until));
        *mark = match *mark {
            SessionMark::Revoked(held) => SessionMark::Revoked(held.max(until)),
            SessionMark::Unreviewed(_) => SessionMark::Revoked(until),
        };
    }

    /// Refuses the token from now on; forgotten after `until`.
    pub fn revoke_token(&self, digest: Digest, until: Timestamp) {
        self.tokens.entry(digest).and_modify(|held| *held = (*held).max(until)).or_insert(until);
    }

    /// Forgets what ended before `now`.
    pub fn sweep(&self, now: Timestamp) {
        self.sessions.retain(|_, mark| match mark {
            SessionMark::Revoked(until) | SessionMark::Unreviewed(until) => *until > now,
        });
        self.tokens.retain(|_, until| *until > now);
    }

    /// How many sessions and tokens are held.
    pub fn len(&self) -> usize {
        self.sessions.len() + self.tokens.len()
    }

    /// True if nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
