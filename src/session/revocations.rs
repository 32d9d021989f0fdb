//! What is revoked, in memory: looked at on every request.

use dashmap::DashMap;

use super::StreamOrigin;
use crate::clock::Timestamp;
use crate::identity::SessionId;
use crate::secret::Digest;
use crate::spread::Spread;

/// Revoked sessions and single tokens, each until no token of theirs can be valid any more.
#[derive(Debug, Default)]
pub struct Revocations {
    sessions: DashMap<SessionId, Timestamp, Spread>,
    tokens: DashMap<Digest, Timestamp, Spread>,
}

impl Revocations {
    /// True if tokens of this session are refused.
    pub fn session_revoked(&self, id: &SessionId) -> bool {
        self.sessions.contains_key(id)
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
        self.sessions.entry(id).and_modify(|held| *held = (*held).max(until)).or_insert(until);
    }

    /// Refuses the token from now on; forgotten after `until`.
    pub fn revoke_token(&self, digest: Digest, until: Timestamp) {
        self.tokens.entry(digest).and_modify(|held| *held = (*held).max(until)).or_insert(until);
    }

    /// Forgets what ended before `now`.
    pub fn sweep(&self, now: Timestamp) {
        self.sessions.retain(|_, until| *until > now);
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
