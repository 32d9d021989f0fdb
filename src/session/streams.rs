//! What sessions still have open: tunnels at once, responses that flow for long.
//!
//! A stream joins first and looks at the revocations again afterwards: the other order would
//! miss a revocation between the look and the join.

use std::sync::Arc;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use crate::identity::SessionId;

/// The open streams of every session.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<DashMap<SessionId, Open>>);

#[derive(Debug, Default)]
struct Open {
    ended: CancellationToken,
    count: usize,
}

/// One open stream; leaves the list when dropped.
#[derive(Debug)]
pub struct StreamGuard {
    streams: Streams,
    session: SessionId,
    ended: CancellationToken,
}

impl Streams {
    /// Adds a stream of `session`.
    pub fn join(&self, session: SessionId) -> StreamGuard {
        let mut open = self.0.entry(session).or_default();
        open.count += 1;
        StreamGuard { streams: self.clone(), session, ended: open.ended.clone() }
    }

    /// Ends all streams of `session`.
    pub fn end(&self, session: &SessionId) {
        if let Some(open) = self.0.get(session) {
            open.ended.cancel();
        }
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.0.iter().map(|open| open.count).sum()
    }
}

impl StreamGuard {
    /// Returns when the session has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// A token that is cancelled when the session has ended.
    pub fn token(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.0.remove_if_mut(&self.session, |_, open| {
            open.count = open.count.saturating_sub(1);
            open.count == 0
        });
    }
}
