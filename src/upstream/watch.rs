//! What a stream must not outlive: its session or credential, its token, its route's rule.
//!
//! A stream joins `Streams` first and looks at the revocations afterwards (DESIGN §10); the
//! other order would miss a revocation between the two.

use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::secret::Digest;
use crate::session::{ForeignToken, Revocations, StreamGuard, StreamOrigin, Streams};

/// Where the ends of sessions are announced; one for the whole gateway.
#[derive(Debug)]
pub struct Ends {
    pub streams: Streams,
    pub revocations: Arc<Revocations>,
    /// What names the API keys and holders of certificates that are configured.
    pub entries: ArcSwap<HashSet<Digest>>,
    pub clock: Clock,
}

/// Where the end of one route is announced; handed on by a reload that leaves its rule alone.
#[derive(Debug)]
pub struct RouteEnd {
    ends: Arc<Ends>,
    over: CancellationToken,
}

/// What a stream must not outlive.
#[derive(Clone, Debug)]
pub struct Watch {
    pub route: Arc<RouteEnd>,
    /// The session, or the credential of a caller without one; `None` where anybody is let in.
    pub origin: Option<StreamOrigin>,
    /// The token, where it is another issuer's.
    pub token: Option<ForeignToken>,
    /// When a tunnel ends: the token's expiry, where `close_at` is `token`.
    pub tunnel_until: Option<Timestamp>,
    /// When a plain answer ends at the latest: the session's end, where it is known.
    pub answer_until: Option<Timestamp>,
    /// How long a WebSocket has to end by itself once its time is over.
    pub notice: Duration,
    /// How many tunnels the session or credential may have open at once.
    pub max_tunnels: usize,
}

/// A stream that has joined.
#[derive(Debug)]
pub(super) struct Joined {
    guard: Option<StreamGuard>,
    route: Arc<RouteEnd>,
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

impl RouteEnd {
    pub fn new(ends: &Arc<Ends>) -> Arc<Self> {
        Arc::new(Self { ends: ends.clone(), over: CancellationToken::new() })
    }

    /// Ends what the route has open, and what is still on its way to be.
    pub fn announce(&self) {
        self.over.cancel();
    }
}

impl Watch {
    /// A place for one more tunnel, unless there are as many as there may be.
    pub(super) fn join_tunnel(&self) -> Option<Joined> {
        let streams = &self.route.ends.streams;
        let guard = match self.origin {
            Some(origin) => Some(streams.join_tunnel(origin, self.max_tunnels)?),
            None => None,
        };
        Some(self.joined(guard, self.tunnel_until))
    }

    pub(super) fn join_answer(&self) -> Joined {
        let guard = self.origin.map(|origin| self.route.ends.streams.join(origin));
        self.joined(guard, self.answer_until)
    }

    fn joined(&self, guard: Option<StreamGuard>, until: Option<Timestamp>) -> Joined {
        let ends = &self.route.ends;
        // Named before it looks, as it joins before it looks.
        if let (Some(guard), Some(token)) = (&guard, &self.token) {
            ends.streams.name(guard, token);
        }
        let cutoffs = &ends.revocations.cutoffs;
        let is_cut_off =
            |token: &ForeignToken| !cutoffs.is_empty() && cutoffs.refuse(token, ends.clock.now());
        let over = self.origin.is_some_and(|origin| ends.is_over(&origin))
            || self.token.as_ref().is_some_and(is_cut_off);
        Joined { guard, route: self.route.clone(), until, over }
    }
}

impl Joined {
    /// Returns when the session, the credential or the route is over or the time has come; never,
    /// if none of this happens.
    pub(super) async fn ended(self) {
        if self.over {
            return;
        }
        let session = async {
            match &self.guard {
                Some(guard) => guard.ended().await,
                None => pending().await,
            }
        };
        let time = async {
            match self.until {
                Some(until) => self.route.ends.clock.sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = session => (),
            () = self.route.over.cancelled() => (),
            () = time => (),
        }
    }
}
