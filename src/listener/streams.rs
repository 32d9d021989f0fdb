//! Answers on their way out, and HTTP/2 streams whose client does not take them.
//!
//! A client that opens streams and grants no window keeps every answer in memory at no cost to
//! itself, while its connection looks alive. Such a stream is reset after the same time that a
//! stalled HTTP/1 connection gets; the connection's other streams go on.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BodyError};
use crate::runtime::Worker;

use super::activity::{Activity, Answering, Taking};
use super::gate::{Counted, Gate};

/// A response's body together with the notes that last as long as it does.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    taking: Option<Arc<Taking>>,
    _answering: Answering,
}

impl Answer {
    /// `taking` is told of every piece; `answering` ends with the body.
    pub(super) fn new(body: Body, taking: Option<Arc<Taking>>, answering: Answering) -> Self {
        // From its head on, which a client without a window never lets past.
        if let Some(taking) = &taking {
            taking.handed_over();
        }
        Self { body, taking, _answering: answering }
    }
}

impl HttpBody for Answer {
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
                // It is the upstream that we wait for.
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

/// Runs the streams of one HTTP/2 connection on its worker.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    worker: Arc<Worker>,
    gate: Arc<Gate>,
    activity: Arc<Activity>,
    limit: Duration,
    /// Hyper calls the service and in the same breath hands the stream to be run to the
    /// executor, without saying which is which; this carries the one to the other.
    next: Mutex<Option<Arc<Taking>>>,
}

impl Streams {
    pub(super) fn new(
        worker: Arc<Worker>,
        gate: Arc<Gate>,
        activity: Arc<Activity>,
        limit: Duration,
    ) -> Self {
        Self(Arc::new(Inner { worker, gate, activity, limit, next: Mutex::new(None) }))
    }

    /// What the next stream to be run is watched by.
    pub(super) fn watch_next(&self) -> Arc<Taking> {
        let taking = Taking::new();
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(taking.clone());
        taking
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(taking) = next else {
            // A stream that has become a tunnel is handed over as another future, which ends with
            // the tunnel: until then the connection is not idle.
            let answering = self.0.activity.begin();
            return self.0.worker.spawn(async move {
                stream.await;
                drop(answering);
            });
        };
        let (limit, gate) = (self.0.limit, self.0.gate.clone());
        self.0.worker.spawn(async move {
            if !run_while_taken(stream, &taking, limit).await {
                gate.count(Counted::Stalled);
            }
        });
    }
}

/// Runs `stream` to its end; false if it was dropped, and so reset, because nobody took it.
async fn run_while_taken<F>(stream: F, taking: &Taking, limit: Duration) -> bool
where
    F: Future<Output = ()>,
{
    let mut stream = pin!(stream);
    // Made when the client first keeps us waiting: most never do.
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
            // Early is no harm: the deadline is worked out anew.
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}
