//! What sessions and credentials still have open: tunnels at once, responses that flow for long.
//!
//! A stream joins first and looks at the revocations again afterwards: the other order would
//! miss a revocation between the look and the join.

use std::sync::Arc;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::{ForeignToken, TokenOwner};
use crate::identity::SessionId;
use crate::secret::Digest;

/// What ends all streams that were opened with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamOrigin {
    Session(SessionId),
    /// Of callers without a session: what names their credential in the revocations.
    Credential(Digest),
    /// The same of who stands in the configuration, and may be gone from it one day.
    Entry(Digest),
}

impl From<SessionId> for StreamOrigin {
    fn from(session: SessionId) -> Self {
        Self::Session(session)
    }
}

/// The open streams of every session, and of credentials that have none.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<DashMap<StreamOrigin, Open>>);

#[derive(Debug, Default)]
struct Open {
    ended: CancellationToken,
    count: usize,
    /// How many of them are tunnels.
    tunnels: usize,
    /// Whose token of another issuer they were opened with.
    token: Option<ForeignToken>,
}

/// One open stream; leaves the list when dropped.
#[derive(Debug)]
pub struct StreamGuard {
    streams: Streams,
    origin: StreamOrigin,
    ended: CancellationToken,
    is_tunnel: bool,
}

impl Streams {
    /// Adds a stream.
    pub fn join(&self, origin: impl Into<StreamOrigin>) -> StreamGuard {
        let origin = origin.into();
        let mut open = self.0.entry(origin).or_default();
        open.count += 1;
        StreamGuard { streams: self.clone(), origin, ended: open.ended.clone(), is_tunnel: false }
    }

    /// Adds a tunnel, unless `most` of this session or credential are open already.
    pub fn join_tunnel(&self, origin: impl Into<StreamOrigin>, most: usize) -> Option<StreamGuard> {
        let mut guard = self.join(origin);
        let mut open = self.0.get_mut(&guard.origin)?;
        if open.tunnels < most {
            open.tunnels += 1;
            guard.is_tunnel = true;
        }
        // Let go first: a guard that is dropped looks into the list.
        drop(open);
        guard.is_tunnel.then_some(guard)
    }

    /// Says what token of another issuer a stream was opened with, for `end_of`.
    pub fn name(&self, guard: &StreamGuard, token: &ForeignToken) {
        if let Some(mut open) = self.0.get_mut(&guard.origin) {
            open.token.get_or_insert_with(|| token.clone());
        }
    }

    /// Ends all streams that were opened with tokens of other issuers of these owners.
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

    /// The sessions that have something open.
    pub fn sessions(&self) -> Vec<SessionId> {
        let session = |origin: &StreamOrigin| match origin {
            StreamOrigin::Session(id) => Some(*id),
            StreamOrigin::Credential(_) | StreamOrigin::Entry(_) => None,
        };
        self.0.iter().filter_map(|open| session(open.key())).collect()
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.0.iter().map(|open| open.count).sum()
    }
}

impl StreamGuard {
    /// Returns when the session or credential has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// A token that is cancelled then.
    pub fn token(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.0.remove_if_mut(&self.origin, |_, open| {
            open.count = open.count.saturating_sub(1);
            open.tunnels = open.tunnels.saturating_sub(usize::from(self.is_tunnel));
            open.count == 0
        });
    }
}
