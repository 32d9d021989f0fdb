//! The session or credential behind a stream: when it ends, what it still has open ends with it.
//!
//! A stream joins `Streams` first and looks at the revocations afterwards (DESIGN §10); the
//! other order would miss a revocation between the two.

use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::session::{Revocations, StreamGuard, StreamOrigin, Streams};

/// Where the ends of sessions are announced; one for the whole gateway.
#[derive(Debug)]
pub struct Ends {
    pub streams: Streams,
    pub revocations: Arc<Revocations>,
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

impl Watch {
    pub(super) fn join_tunnel(&self) -> Joined {
        self.join(self.tunnel_until)
    }

    pub(super) fn join_answer(&self) -> Joined {
        self.join(self.answer_until)
    }

    fn join(&self, until: Option<Timestamp>) -> Joined {
        let guard = self.ends.streams.join(self.origin);
        let over = self.ends.revocations.revoked(&self.origin);
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
