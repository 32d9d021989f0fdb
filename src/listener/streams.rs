//! Answers on their way to the client, and HTTP/2 streams whose client does not take them.
//!
//! A client that opens streams and grants no flow-control window keeps every answer in memory at no
//! cost to itself, while its connection looks alive. Such a stream is reset after the same time as
//! a stalled HTTP/1 connection; the other streams of the connection go on.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BodyError};
use crate::runtime::Worker;

use super::admission::{ConnectionEvent, ConnectionLimits};
use super::connection_timer::{BodyProgress, ConnectionTimer, OpenRequest};

/// The body of a response, with the records that last as long as it does. It changes nothing in the
/// body and adds no copy.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    taking: Option<Arc<BodyProgress>>,
    _answering: OpenRequest,
}

impl AnswerBody {
    /// `taking` is notified of every piece; `answering` ends together with the body.
    pub(super) fn new(
        body: Body,
        taking: Option<Arc<BodyProgress>>,
        answering: OpenRequest,
    ) -> Self {
        // Counted from the head on: a client without a window never takes anything after it.
        if let Some(taking) = &taking {
            taking.handed_over();
        }
        Self { body, taking, _answering: answering }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(taking) = &self.taking {
            match &frame {
                Poll::Ready(_) => taking.handed_over(),
                // The gateway waits for the upstream, not for the client.
                Poll::Pending => taking.taken(),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs the streams of one HTTP/2 connection on its worker. Hyper calls it as its executor. Each
/// stream is a task of its own, so a slow stream does not hold up the others.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor(Arc<ExecutorState>);

#[derive(Debug)]
struct ExecutorState {
    worker: Arc<Worker>,
    gate: Arc<ConnectionLimits>,
    activity: Arc<ConnectionTimer>,
    limit: Duration,
    /// Hyper first calls the service, and immediately afterwards hands the future of the stream to
    /// the executor, without a link between the two. This field carries the watch from the one to
    /// the other. Invariant: both happen in one call, on one worker.
    next: Mutex<Option<Arc<BodyProgress>>>,
}

impl StreamExecutor {
    pub(super) fn new(
        worker: Arc<Worker>,
        gate: Arc<ConnectionLimits>,
        activity: Arc<ConnectionTimer>,
        limit: Duration,
    ) -> Self {
        Self(Arc::new(ExecutorState { worker, gate, activity, limit, next: Mutex::new(None) }))
    }

    /// Makes the watch for the stream that is run next.
    pub(super) fn watch_next(&self) -> Arc<BodyProgress> {
        let taking = BodyProgress::new();
        *self.0.next.lock() = Some(taking.clone());
        taking
    }
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let next = self.0.next.lock().take();
        let Some(taking) = next else {
            // A stream that has become a tunnel is handed over as a second future, which ends with
            // the tunnel. Until then the connection must not count as idle. It has no watch,
            // because a tunnel is limited by its own rules.
            let answering = self.0.activity.begin();
            return self.0.worker.spawn(async move {
                stream.await;
                drop(answering);
            });
        };
        let limit = self.0.limit;
        let gate = self.0.gate.clone();
        self.0.worker.spawn(async move {
            if !run_while_taken(stream, &taking, limit).await {
                gate.count(ConnectionEvent::Stalled);
            }
        });
    }
}

/// Runs `stream` to its end. False if it was dropped, and thereby reset, because the client did not
/// take its answer. The time counts from the moment when the client left a piece untaken.
async fn run_while_taken<F>(stream: F, taking: &BodyProgress, limit: Duration) -> bool
where
    F: Future<Output = ()>,
{
    let mut stream = pin!(stream);
    // The timer is made when the client lets the gateway wait for the first time: most clients
    // never do.
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(|cx| {
        loop {
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            let Some(since) = taking.waiting_since() else { return Poll::Pending };
            let deadline = since + limit;
            if Instant::now() >= deadline {
                return Poll::Ready(false);
            }
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() < deadline && timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            // An early wake-up does no harm, because the deadline is computed again.
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}
