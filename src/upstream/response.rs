//! An answer as it comes from an upstream: its framing checked, its body watched.
//!
//! The body ends with an error, so that the client sees it cut short, when the upstream breaks
//! off, sends nothing for too long, or the session behind it ends. Its connection goes back to
//! the pool when the last byte has been read.
//!
//! Interim answers end here: hyper takes an upstream's 100 and 103 without a word, and its server
//! can send no other than its own 100, which it does when the upstream first asks for the body.

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

use super::attempt::Deadline;
use super::link::Link;
use super::server::InFlight;
use super::watch::Watch;
use crate::body::{Body, BodyError};
use crate::runtime::Worker;

/// An answer still flowing this long after its head ends with its session (DESIGN §10).
const JOINS_AFTER: Duration = Duration::from_secs(5);

/// Finds what hyper lets pass but must not be passed on; makes `Content-Length` one field.
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
        // hyper undoes the chunks only; what else was said would be lost.
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

/// A connection in use by one answer.
pub(super) struct Lease {
    pub(super) link: Link,
    pub(super) worker: Arc<Worker>,
    pub(super) in_flight: InFlight,
    /// It began with its client's address and serves nobody else.
    pub(super) alone: bool,
}

impl Lease {
    /// The answer has been read to its end.
    fn end(self) {
        if self.alone {
            return;
        }
        self.in_flight.server().give_back(&self.worker, self.link);
    }
}

/// How long an answer's body may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Between two pieces of it.
    pub(super) idle: Duration,
    /// With all that came before.
    pub(super) total: Option<Deadline>,
}

/// The body to pass on for `incoming`.
pub(super) fn body(
    incoming: Incoming,
    lease: Lease,
    limits: Limits,
    watch: Option<&Watch>,
) -> Body {
    if incoming.is_end_stream() {
        lease.end();
        return Body::empty();
    }
    let now = Instant::now();
    Body::boxed(Answer {
        incoming,
        lease: Some(lease),
        limits,
        started: now,
        waiting: None,
        timer: None,
        session: match watch {
            Some(watch) => Session::Waits(watch.clone()),
            None => Session::None,
        },
    })
}

struct Answer {
    incoming: Incoming,
    /// `None` once the body has ended, well or badly.
    lease: Option<Lease>,
    limits: Limits,
    started: Instant,
    /// Since when the upstream is waited for. Not since the last frame: a client that reads
    /// slowly must not be taken for an upstream that sends slowly.
    waiting: Option<Instant>,
    // Made when the body first has to wait: most never do.
    timer: Option<Pin<Box<Sleep>>>,
    session: Session,
}

enum Session {
    None,
    /// Too short to be worth joining so far.
    Waits(Watch),
    Joined(Pin<Box<dyn Future<Output = ()> + Send>>),
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Answer {
    fn fail(&mut self, error: BodyError) -> Polled {
        // The connection is dropped with the lease: what is left on it belongs to nobody.
        self.lease = None;
        self.session = Session::None;
        Poll::Ready(Some(Err(error)))
    }

    fn ended(&mut self) {
        self.session = Session::None;
        if let Some(lease) = self.lease.take() {
            lease.end();
        }
    }

    /// True once the session is over.
    fn session_over(&mut self, cx: &mut Context<'_>) -> bool {
        if let Session::Waits(watch) = &self.session
            && self.started.elapsed() >= JOINS_AFTER
        {
            let joined = watch.join_answer();
            self.session = Session::Joined(Box::pin(joined.ended()));
        }
        match &mut self.session {
            Session::Joined(ended) => ended.as_mut().poll(cx).is_ready(),
            Session::None | Session::Waits(_) => false,
        }
    }

    /// When to look again although nothing came.
    fn next_look(&self, silence: Instant) -> Instant {
        let end = self.limits.total.map_or(silence, |total| total.at.min(silence));
        match self.session {
            Session::Waits(_) => end.min(self.started + JOINS_AFTER),
            Session::None | Session::Joined(_) => end,
        }
    }

    /// The time for the whole exchange, if it is over.
    fn overdue(&self) -> Option<BodyError> {
        let total = self.limits.total.filter(Deadline::has_passed)?;
        Some(BodyError::Overdue { limit: total.limit })
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Polled {
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
            // Set anew only when it fires, not with every frame.
            timer.as_mut().reset(look);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if this.lease.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => this.poll_waiting(cx),
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = None;
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
