//! The ends that a stream (a tunnel or a long answer) must not outlive: its session or credential,
//! its token, and its route's rule.
//!
//! Invariant: a stream registers in `OpenStreams` first and checks the revocations afterwards. In
//! the other order, a revocation between the two steps would be missed. `response` and `upgrade`
//! wait for these ends.

use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::secret::Digest;
use crate::session::shared::RemoteEnds;
use crate::session::{ForeignToken, OpenStreams, Revocations, StreamGuard, StreamOrigin};

/// The place where ends of sessions are announced; one for the whole gateway.
#[derive(Debug)]
pub struct CancellationSources {
    pub streams: OpenStreams,
    pub revocations: Arc<Revocations>,
    /// The digests of the configured API keys and client certificates.
    pub entries: ArcSwap<HashSet<Digest>>,
    pub clock: Clock,
}

/// The end of one route. A reload that does not change the route's rule hands it on to the next
/// generation, so that its streams go on. If the rule changes, then the old end is announced and
/// the streams under the old rule end.
#[derive(Debug)]
pub struct RouteCancellation {
    cancellations: Arc<CancellationSources>,
    over: CancellationToken,
}

/// The ends of one request's streams.
#[derive(Clone, Debug)]
pub struct StreamLifetime {
    pub route: Arc<RouteCancellation>,
    /// The session, or the credential of a caller without a session; `None` on a route without
    /// authentication.
    pub origin: Option<StreamOrigin>,
    /// The token, if another issuer made it.
    pub token: Option<ForeignToken>,
    /// The end of a tunnel: the token's expiry, if the route's `close_at` is `token`.
    pub tunnel_until: Option<Timestamp>,
    /// The latest end of a plain answer: the session's end, if it is known.
    pub answer_until: Option<Timestamp>,
    /// How long a WebSocket has to close by itself after its end.
    pub notice: Duration,
    /// How many tunnels the session or credential may have open at once.
    pub max_tunnels: usize,
}

/// A stream that has registered.
#[derive(Debug)]
pub(super) struct RegisteredStream {
    guard: Option<StreamGuard>,
    route: Arc<RouteCancellation>,
    until: Option<Timestamp>,
    over: bool,
}

impl CancellationSources {
    /// Ends the streams of what ended on other nodes. It is in `revocations` already, so that a
    /// stream which registers just now sees it.
    pub fn end_remotely(&self, ends: &RemoteEnds) {
        for origin in &ends.origins {
            self.streams.end(*origin);
        }
        if !ends.owners.is_empty() {
            self.streams.end_of(&ends.owners);
        }
    }

    /// True if no stream of `origin` may stay open. A removed credential leaves `entries` before
    /// its streams are cancelled. A stream registers first and calls this second: it therefore sees
    /// either the removal or the cancellation.
    fn is_cancelled(&self, origin: &StreamOrigin) -> bool {
        let gone = match origin {
            StreamOrigin::Entry(digest) => !self.entries.load().contains(digest),
            StreamOrigin::Session(_) | StreamOrigin::Credential(_) => false,
        };
        gone || self.revocations.revoked(origin)
    }
}

impl RouteCancellation {
    /// The end of a new route.
    pub fn new(cancellations: &Arc<CancellationSources>) -> Arc<Self> {
        Arc::new(Self { cancellations: cancellations.clone(), over: CancellationToken::new() })
    }

    /// Ends all streams of the route, those included that are about to begin.
    pub fn announce(&self) {
        self.over.cancel();
    }
}

impl StreamLifetime {
    /// Registers one more tunnel; `None` if the session or credential has as many as it may. On a
    /// route without authentication there is no such bound; the listener's limits apply.
    pub(super) fn join_tunnel(&self) -> Option<RegisteredStream> {
        let streams = &self.route.cancellations.streams;
        let guard = match self.origin {
            Some(origin) => Some(streams.join_tunnel(origin, self.max_tunnels)?),
            None => None,
        };
        Some(self.registered(guard, self.tunnel_until))
    }

    /// Registers a plain answer. There is no bound, because each answer belongs to a request that
    /// is bounded already.
    pub(super) fn join_answer(&self) -> RegisteredStream {
        let guard = self.origin.map(|origin| self.route.cancellations.streams.join(origin));
        self.registered(guard, self.answer_until)
    }

    /// Completes a registration: names the token, then checks whether the stream has ended already.
    fn registered(&self, guard: Option<StreamGuard>, until: Option<Timestamp>) -> RegisteredStream {
        let cancellations = &self.route.cancellations;
        // The token is named before the check. If a revocation of the user's tokens comes after the
        // naming, then it finds the stream; if it comes before, then the check finds it. This is
        // the same order as for the registration itself.
        if let (Some(guard), Some(token)) = (&guard, &self.token) {
            cancellations.streams.name(guard, token);
        }
        let cutoffs = &cancellations.revocations.cutoffs;
        let is_cut_off = |token: &ForeignToken| {
            !cutoffs.is_empty() && cutoffs.refuse(token, cancellations.clock.now())
        };
        let over = self.origin.is_some_and(|origin| cancellations.is_cancelled(&origin))
            || self.token.as_ref().is_some_and(is_cut_off);
        RegisteredStream { guard, route: self.route.clone(), until, over }
    }
}

impl RegisteredStream {
    /// Resolves when the session, the credential or the route ends, or when the time has come.
    /// Without any of these it never resolves. Its place among the streams is given back when the
    /// future ends or is dropped.
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
                Some(until) => self.route.cancellations.clock.sleep_until(until).await,
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
