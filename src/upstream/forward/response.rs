//! An answer from an upstream: checks its framing and watches its body.
//!
//! The body ends with an error if the upstream breaks off, sends nothing for too long, or the
//! session of the caller ends; the client then sees a truncated answer and not a complete one. The
//! connection returns to the pool when the last byte was read.
//!
//! Interim answers (1xx) are not passed on. hyper discards the upstream's 100 and 103, and its
//! server can send no interim answer but its own 100, which it does when the body is first read.
//! `send` is the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::deadline::ExchangeDeadline;
use super::lifetime::StreamLifetime;
use crate::body::{Body, BodyError};
use crate::runtime::Worker;
use crate::upstream::connection::PooledConnection;
use crate::upstream::pool::InFlight;

/// An answer that is still streamed this long after its head ends with its session. A shorter one
/// is not worth the cost of registering it. Revocations apply to requests that begin after them; a
/// short answer that has begun is completed.
const JOINS_AFTER: Duration = Duration::from_secs(5);

/// Refuses framing that hyper accepts but that must not be passed on. Repeated equal
/// `Content-Length` fields become one (RFC 9110 §8.6).
///
/// # Errors
/// The fault in words: framing that the client could read differently (response splitting).
pub(super) fn check_framing(
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Result<(), &'static str> {
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Err("an interim answer as the last");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coded = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        // hyper removes only the chunked coding. Another coding would reach the client undeclared,
        // as bytes that it cannot read.
        _ => return Err("a transfer coding besides chunked"),
    };
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(()) };
    if coded {
        return Err("both Content-Length and Transfer-Encoding");
    }
    if first.is_empty() || !first.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err("a Content-Length that is no number");
    }
    let mut repeated = false;
    for other in lengths {
        if other != first {
            return Err("different Content-Lengths");
        }
        repeated = true;
    }
    if repeated {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    Ok(())
}

/// A connection that is in use by one answer.
pub(super) struct ConnectionLease {
    pub(super) connection: PooledConnection,
    pub(super) worker: Arc<Worker>,
    pub(super) in_flight: InFlight,
    /// True if the connection began with its client's address, so that no other request may use it.
    pub(super) alone: bool,
}

impl ConnectionLease {
    /// Returns the connection after the answer was read to its end.
    fn end(self) {
        if self.alone {
            return;
        }
        self.in_flight.server().give_back(&self.worker, self.connection);
    }
}

/// The time limits of an answer's body.
#[derive(Clone, Copy)]
pub(super) struct BodyLimits {
    /// The longest pause between two pieces.
    pub(super) idle: Duration,
    /// The end of the time for the whole exchange, including everything before the body.
    pub(super) total: Option<ExchangeDeadline>,
}

/// The body that is passed on to the client.
pub(super) fn body(
    incoming: Incoming,
    lease: ConnectionLease,
    limits: BodyLimits,
    lifetime: Option<&StreamLifetime>,
) -> Body {
    if incoming.is_end_stream() {
        lease.end();
        return Body::empty();
    }
    let now = Instant::now();
    Body::boxed(UpstreamBody {
        incoming,
        lease: Some(lease),
        limits,
        started: now,
        waiting: None,
        timer: None,
        session: match lifetime {
            Some(lifetime) => JoinState::Waits(lifetime.clone()),
            None => JoinState::None,
        },
    })
}

/// A body on its way from the upstream to the client.
struct UpstreamBody {
    incoming: Incoming,
    /// `None` once the body has ended, with or without an error.
    lease: Option<ConnectionLease>,
    limits: BodyLimits,
    started: Instant,
    /// The time since which the gateway waits for the upstream. It is not the time of the last
    /// frame: a client that reads slowly must not be mistaken for an upstream that sends slowly. It
    /// is set when the body has to wait and cleared by the next frame.
    waiting: Option<Instant>,
    // The timer is created when the body first has to wait; most bodies never do.
    timer: Option<Pin<Box<Sleep>>>,
    session: JoinState,
}

/// The stage of the answer in relation to the session that it must not outlive.
enum JoinState {
    None,
    /// Not registered yet: the answer has been short so far.
    Waits(StreamLifetime),
    Joined(Pin<Box<dyn Future<Output = ()> + Send>>),
}

type PolledFrame = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl UpstreamBody {
    /// Ends the body with an error.
    fn fail(&mut self, error: BodyError) -> PolledFrame {
        // The lease is dropped, and the connection with it: the rest of the answer is still on it,
        // so no other request may use it.
        self.lease = None;
        self.session = JoinState::None;
        Poll::Ready(Some(Err(error)))
    }

    /// Ends the body normally and returns the connection. The lease is taken out, so that a second
    /// call does nothing.
    fn ended(&mut self) {
        self.session = JoinState::None;
        if let Some(lease) = self.lease.take() {
            lease.end();
        }
    }

    /// True if the session has ended. An answer that has taken `JOINS_AFTER` registers here.
    fn session_over(&mut self, cx: &mut Context<'_>) -> bool {
        if let JoinState::Waits(lifetime) = &self.session
            && self.started.elapsed() >= JOINS_AFTER
        {
            let registered = lifetime.join_answer();
            self.session = JoinState::Joined(Box::pin(registered.ended()));
        }
        match &mut self.session {
            JoinState::Joined(ended) => ended.as_mut().poll(cx).is_ready(),
            JoinState::None | JoinState::Waits(_) => false,
        }
    }

    /// The next time to check the limits, even if no data arrives. An answer that has not
    /// registered yet is checked when `JOINS_AFTER` is over, so that it registers in time even if
    /// it is silent.
    fn next_look(&self, silence: Instant) -> Instant {
        let end = self.limits.total.map_or(silence, |total| total.at.min(silence));
        match self.session {
            JoinState::Waits(_) => end.min(self.started + JOINS_AFTER),
            JoinState::None | JoinState::Joined(_) => end,
        }
    }

    /// The error of the limit for the whole exchange, if that is over.
    fn overdue(&self) -> Option<BodyError> {
        let total = self.limits.total.filter(ExchangeDeadline::has_passed)?;
        Some(BodyError::Overdue { limit: total.limit })
    }

    /// Checks session and limits while no data arrives, and sets the timer for the next check.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let silence = *self.waiting.get_or_insert_with(Instant::now) + self.limits.idle;
        loop {
            if self.session_over(cx) {
                return self.fail(BodyError::SessionEnded);
            }
            if let Some(overdue) = self.overdue() {
                return self.fail(overdue);
            }
            if Instant::now() >= silence {
                return self.fail(BodyError::Stalled { limit: self.limits.idle });
            }
            let look = self.next_look(silence);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(look)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The timer is reset only when it fires. Resetting it for every frame would cost more
            // than the few early wake-ups.
            timer.as_mut().reset(look);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let this = &mut *self;
        if this.lease.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => this.poll_waiting(cx),
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = None;
                // The session is checked for each frame as well: an upstream that sends without
                // pause would never reach the check of a waiting body. A revoked session must not
                // go on downloading.
                if this.session_over(cx) {
                    return this.fail(BodyError::SessionEnded);
                }
                if let Some(overdue) = this.overdue() {
                    return this.fail(overdue);
                }
                if this.incoming.is_end_stream() {
                    this.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(BodyError::Connection(error)),
            Poll::Ready(None) => {
                this.ended();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
