//! Open streams by session or credential: tunnels, and responses that flow for a long time.
//!
//! A request is checked once, when it begins; a stream may outlive its credential. When a session
//! or credential ends, its streams are cancelled here.
//!
//! Register first, check second: a stream joins the list and then looks at the revocations again.
//! If it looked first, a revocation between the look and the joining would find no stream to
//! cancel, and the stream would stay open.

use std::sync::Arc;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::{ForeignToken, TokenOwner};
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::Digest;

/// The session or credential that a stream was opened with. Ending it ends every stream that has
/// the same origin. A revocation needs the origin alone, not a list of streams. A revocation
/// therefore needs no list of streams, only the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamOrigin {
    Session(SessionId),
    /// A caller without a session: the digest by which the revocations name the credential.
    Credential(Digest),
    /// A caller from the configuration, for example a service or an API key: the digest of that
    /// entry. A reload that removes the entry ends its streams, and so does an operator who revokes
    /// it.
    Entry(Digest),
}

impl From<SessionId> for StreamOrigin {
    fn from(session: SessionId) -> Self {
        Self::Session(session)
    }
}

/// The open streams of each session or credential. A clone shares the same list.
#[derive(Clone, Debug, Default)]
pub struct OpenStreams(Arc<DashMap<StreamOrigin, StreamCounts>>);

#[derive(Debug, Default)]
struct StreamCounts {
    ended: CancellationToken,
    count: usize,
    /// Number of these streams that are tunnels.
    tunnels: usize,
    /// The foreign token that the streams were opened with, where there is one.
    token: Option<ForeignToken>,
}

/// One open stream. Dropping the guard removes the stream from the list.
#[derive(Debug)]
pub struct StreamGuard {
    streams: OpenStreams,
    origin: StreamOrigin,
    ended: CancellationToken,
    is_tunnel: bool,
}

impl OpenStreams {
    /// Registers a stream. The caller must look at the revocations once more after this call.
    pub fn join(&self, origin: impl Into<StreamOrigin>) -> StreamGuard {
        let origin = origin.into();
        let mut open = self.0.entry(origin).or_default();
        open.count += 1;
        StreamGuard { streams: self.clone(), origin, ended: open.ended.clone(), is_tunnel: false }
    }

    /// Registers a tunnel, unless `most` tunnels of this session or credential are open already;
    /// then `None`. Tunnels are counted apart because each holds two connections for as long as the
    /// client likes.
    pub fn join_tunnel(&self, origin: impl Into<StreamOrigin>, most: usize) -> Option<StreamGuard> {
        let mut guard = self.join(origin);
        let mut open = self.0.get_mut(&guard.origin)?;
        if open.tunnels < most {
            open.tunnels += 1;
            guard.is_tunnel = true;
        }
        // `open` holds the lock of a map shard and is dropped first: dropping the guard locks the
        // same shard, and holding both would deadlock.
        drop(open);
        guard.is_tunnel.then_some(guard)
    }

    /// Notes the foreign token that a stream was opened with, so that `end_of` can find it.
    pub fn name(&self, guard: &StreamGuard, token: &ForeignToken) {
        if let Some(mut open) = self.0.get_mut(&guard.origin) {
            // All streams of one origin have the same credential and therefore the same token: the
            // first one noted is enough. Later ones are dropped.
            open.token.get_or_insert_with(|| token.clone());
        }
    }

    /// Ends all streams that were opened with foreign tokens of these owners.
    pub fn end_of(&self, owners: &[TokenOwner]) {
        for open in self.0.iter() {
            let is_of = |token: &ForeignToken| owners.iter().any(|owner| token.is_of(owner));
            if open.token.as_ref().is_some_and(is_of) {
                open.ended.cancel();
            }
        }
    }

    /// Ends all streams of this session or credential.
    pub fn end(&self, origin: impl Into<StreamOrigin>) {
        if let Some(open) = self.0.get(&origin.into()) {
            open.ended.cancel();
        }
    }

    /// True if a stream of this session or credential is open.
    pub fn has(&self, origin: impl Into<StreamOrigin>) -> bool {
        self.0.contains_key(&origin.into())
    }

    /// The sessions that have at least one stream open.
    pub fn sessions(&self) -> Vec<SessionId> {
        let session = |origin: &StreamOrigin| match origin {
            StreamOrigin::Session(id) => Some(*id),
            StreamOrigin::Credential(_) | StreamOrigin::Entry(_) => None,
        };
        self.0.iter().filter_map(|open| session(open.key())).collect()
    }

    /// Number of open streams of all origins.
    pub fn open(&self) -> usize {
        self.0.iter().map(|open| open.count).sum()
    }
}

impl StreamGuard {
    /// Resolves when the session or credential of this stream has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// A cancellation token that is cancelled when the session or credential of this stream ends.
    pub fn token(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        // Counting down and removing the entry are one step under the lock of the shard. If they
        // were two, a stream that joins between them would be removed from the list and could not
        // be ended.
        self.streams.0.remove_if_mut(&self.origin, |_, open| {
            open.count = open.count.saturating_sub(1);
            open.tunnels = open.tunnels.saturating_sub(usize::from(self.is_tunnel));
            open.count == 0
        });
    }
}
