//! The end of a request: one access line and one entry in the metrics, whatever happened.
//!
//! They are written when the last byte of the answer was handed over, or when the client leaves
//! before that. Writing happens in `drop`, so that no path through the pipeline can forget it.
//! `RequestContext` owns the record.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::catch_panic::CatchPanic;
use super::explain::explain_left;
use crate::body::{Body, BodyError, ReceivedBytes, Response};
use crate::gateway::WorkerView;
use crate::telemetry::access_line;
use crate::telemetry::access_record::{AccessRecord, RequestOutcome};
use crate::telemetry::metrics::RouteMetrics;

/// The status in the log if the client closed the connection before the answer (nginx's number). It
/// is never sent.
const CLIENT_LEFT: u16 = 499;

/// The record of one request. It is written when it is dropped: if a client leaves at any moment,
/// then everything known by then is logged.
pub(super) struct AccessLogGuard {
    gateway: Arc<WorkerView>,
    started: Instant,
    /// Boxed because it is large and moves with the answer.
    pub(super) record: Box<AccessRecord>,
    /// Counts the bytes of the request's body, if it has one.
    pub(super) received: Option<ReceivedBytes>,
    /// False for a request without an access line. It is counted in the metrics all the same.
    pub(super) is_logged: bool,
}

impl AccessLogGuard {
    /// Begins a record with the facts that are known at the start. Until there is an answer, its
    /// status is that of a client who left.
    pub(super) fn start(gateway: &Arc<WorkerView>, record: AccessRecord, started: Instant) -> Self {
        let record = Box::new(AccessRecord { status: CLIENT_LEFT, ..record });
        Self { gateway: gateway.clone(), started, record, received: None, is_logged: true }
    }

    /// The metrics in which this request is counted.
    pub(super) fn metrics(&self) -> &RouteMetrics {
        self.record.route.as_ref().unwrap_or(&self.gateway.generation.unmatched_metrics)
    }

    /// Attaches the record to the answer. It is written when the body has been sent.
    pub(super) fn answered(mut self, response: Response) -> Response {
        self.record.status = response.status().as_u16();
        let size = response.body().size_hint().exact();
        if response.body().is_end_stream() {
            return response;
        }
        // The length of a body in memory is known, so no wrapper has to count its bytes. The record
        // ends here; the time to send such a body is not measured. Most small answers take this
        // way.
        if let (Some(size), true) = (size, response.body().is_full()) {
            self.record.bytes_out = size;
            return response;
        }
        response.map(|body| Body::boxed(CountedBody { body: CatchPanic(body), finish: self }))
    }

    /// Records that the body broke off: the client did not get what the head promised.
    fn broke(&mut self, cause: &BodyError) {
        self.record.cause = Some(cause.to_string());
        self.record.outcome = RequestOutcome::Aborted;
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        self.record.duration = self.started.elapsed();
        self.record.bytes_in = self.received.as_ref().map_or(0, ReceivedBytes::count);
        self.metrics().request(&self.record.method, self.record.status, self.record.duration);
        if !self.is_logged {
            return;
        }
        if self.record.status == CLIENT_LEFT {
            explain_left(&self.record);
        }
        let shared = &self.gateway.shared;
        let mut line = Vec::with_capacity(512);
        let form = self.gateway.generation.config.log.access_format;
        access_line::write(&self.record, form, shared.clock.now(), &mut line);
        shared.access.write(&line);
    }
}

/// A body that carries the record of its request. A panic in it ends this answer and nothing else.
struct CountedBody {
    body: CatchPanic,
    finish: AccessLogGuard,
}

impl HttpBody for CountedBody {
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
