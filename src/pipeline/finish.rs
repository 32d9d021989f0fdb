//! The end of a request: one access line and one observation, whatever happened.
//!
//! Written when the answer's last byte is handed over, or when the client leaves before that.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::guard::Unpanicked;
use crate::body::{Body, BodyError, ReceivedBytes, Response};
use crate::gateway::View;
use crate::telemetry::metrics::RouteMetrics;
use crate::telemetry::record::{Outcome, Record};

/// The client closed the connection before it was answered; nginx's number, in logs only.
const CLIENT_LEFT: u16 = 499;

/// What is written at the end; writes by itself when dropped, so that a client who leaves at any
/// moment is written down with all that was known by then.
pub(super) struct Finish {
    gateway: Arc<View>,
    started: Instant,
    /// Boxed: it is large, and moves with the answer.
    pub(super) record: Box<Record>,
    /// What is read of the request's body, where it has one.
    pub(super) received: Option<ReceivedBytes>,
    /// Whether it has an access line; it is counted all the same.
    pub(super) is_logged: bool,
}

impl Finish {
    /// Begins with what is known at the start.
    pub(super) fn start(gateway: &Arc<View>, record: Record, started: Instant) -> Self {
        let record = Box::new(Record { status: CLIENT_LEFT, ..record });
        Self { gateway: gateway.clone(), started, record, received: None, is_logged: true }
    }

    /// Where this request is counted.
    pub(super) fn metrics(&self) -> &RouteMetrics {
        self.record.route.as_ref().unwrap_or(&self.gateway.generation.nowhere)
    }

    /// The answer; the line is written when its body has gone.
    pub(super) fn answered(mut self, response: Response) -> Response {
        self.record.status = response.status().as_u16();
        let size = response.body().size_hint().exact();
        if response.body().is_end_stream() {
            return response;
        }
        if let (Some(size), true) = (size, response.body().is_full()) {
            self.record.bytes_out = size;
            return response;
        }
        response.map(|body| Body::boxed(Counted { body: Unpanicked(body), finish: self }))
    }

    /// The body broke off: the answer was not what its head promised.
    fn broke(&mut self, cause: &BodyError) {
        self.record.cause = Some(cause.to_string());
        self.record.outcome = Outcome::Aborted;
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.record.duration = self.started.elapsed();
        self.record.bytes_in = self.received.as_ref().map_or(0, ReceivedBytes::count);
        self.metrics().request(&self.record.method, self.record.status, self.record.duration);
        if !self.is_logged {
            return;
        }
        let shared = &self.gateway.shared;
        let mut line = Vec::with_capacity(512);
        self.record.write(shared.clock.now(), &mut line);
        shared.access.write(&line);
    }
}

/// A body whose end is the request's; a panic in it cuts this answer and nothing else.
struct Counted {
    body: Unpanicked,
    finish: Finish,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.finish.record.bytes_out += length;
            }
            Some(Err(error)) => self.finish.broke(error),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
