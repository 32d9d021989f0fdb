//! The body of a client's request: counted for the access log, and over HTTP/2 not cut off.
//!
//! A server that answers before it has read all of a request may reset the stream with NO_ERROR, and
//! the client is to take the answer all the same (RFC 9113 §8.1). curl before 8.0 does not: a reset
//! that arrives while it sends is a failed transfer, and the answer is lost. The stream is reset when
//! the last handle to the body is dropped; so the rest of the body is read here, and thrown away,
//! within bounds of time and bytes. How many streams do so at once is bounded by the connection's
//! limit of streams, since each is open until then.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::BodyError;
use crate::runtime::Worker;

/// A client that is still sending hears the answer long before.
const LONGEST: Duration = Duration::from_secs(2);
/// Beyond this a client would notice the waste more than the reset.
const MOST_BYTES: usize = 1 << 20;

/// How many bytes of a request's body were read, for whoever writes that down.
#[derive(Clone, Debug, Default)]
pub struct ReceivedBytes(Arc<AtomicU64>);

impl ReceivedBytes {
    /// The bytes so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body, counted as it is read.
pub(super) struct ClientBody {
    incoming: Option<Incoming>,
    received: ReceivedBytes,
    /// Where the rest is read when the body is dropped; none over HTTP/1.1, whose connection ends.
    worker: Option<Arc<Worker>>,
}

impl ClientBody {
    pub(super) fn new(incoming: Incoming, worker: Option<Arc<Worker>>) -> Self {
        Self { incoming: Some(incoming), received: ReceivedBytes::default(), worker }
    }

    pub(super) fn received(&self) -> ReceivedBytes {
        self.received.clone()
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.received.0.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Connection)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let rest = self.incoming.take().filter(|incoming| !incoming.is_end_stream());
        if let (Some(rest), Some(worker)) = (rest, &self.worker) {
            worker.spawn_detached(discard(rest));
        }
    }
}

/// Reads and drops a body until its end, or for as long as is worth it.
async fn discard(mut incoming: Incoming) {
    let reading = async {
        let mut left = MOST_BYTES;
        while let Some(Ok(frame)) = incoming.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whether it came to its end or not: what is dropped now is reset.
    let _ = tokio::time::timeout(LONGEST, reading).await;
}
