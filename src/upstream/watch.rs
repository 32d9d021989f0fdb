//! The session or credential behind a stream: when it ends, what it still has open ends with it.
//!
//! A stream joins `Streams` first and looks at the revocations afterwards (DESIGN §10); the
//! other order would miss a revocation between the two.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::{Clock, Timestamp};
use crate::secret::Digest;
use crate::session::{Revocations, StreamGuard, StreamOrigin, Streams};

/// Where the ends of sessions are announced; one for the whole gateway.
#[derive(Debug)]
pub struct Ends {
    pub streams: Streams,
    pub revocations: Arc<Revocations>,
    /// What names the API keys and holders of certificates that are configured.
    pub entries: ArcSwap<HashSet<Digest>>,
    pub clock: Clock,
}

/// What a stream must not outlive.
#[derive(Clone, Debug)]
pub struct Watch {
    pub ends: Arc<Ends>,
    /// The session, or the credential of a caller without one.
    pub origin: StreamOrigin,
    /// When a tunnel ends: the token's expiry, where `close_at` is `token`.
    pub tunnel_until: Option<Timestamp>,
    /// When a plain answer ends at the latest: the session's end, where it is known.
    pub answer_until: Option<Timestamp>,
}

/// A stream that has joined.
#[derive(Debug)]
pub(super) struct Joined {
    guard: StreamGuard,
    ends: Arc<Ends>,
    until: Option<Timestamp>,
    over: bool,
}

impl Ends {
    /// Whether nothing may be open of it any more. Who is taken away is taken away here first, and
    /// what he has open is ended after that: so who joins and then looks misses neither.
    fn is_over(&self, origin: &StreamOrigin) -> bool {
        let gone = match origin {
            StreamOrigin::Entry(digest) => !self.entries.load().contains(digest),
            StreamOrigin::Session(_) | StreamOrigin::Credential(_) => false,
        };
        gone || self.revocations.revoked(origin)
    }
}

impl Watch {
    pub(super) fn join_tunnel(&self) -> Joined {
        self.join(self.tunnel_until)
    }

    pub(super) fn join_answer(&self) -> Joined {
        self.join(self.answer_until)
    }

    fn join(&self, until: Option<Timestamp>) -> Joined {
        let guard = self.ends.streams.join(self.origin);
        let over = self.ends.is_over(&self.origin);
        Joined { guard, ends: self.ends.clone(), until, over }
    }
}

impl Joined {
    /// Returns when the session or credential is over or the time has come; never, if neither will happen.
    pub(super) async fn ended(self) {
        if self.over {
            return;
        }
        let time = async {
            match self.until {
                Some(until) => self.ends.clock.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.guard.ended() => (),
            () = time => (),
        }
    }
}
