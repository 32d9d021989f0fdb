//! The body of a client's request: counted for the access log and, over HTTP/2, read for a moment
//! beyond the answer.
//!
//! A server that answers before it has read the whole request may reset the stream with NO_ERROR,
//! and the client should accept the answer all the same (RFC 9113, section 8.1). curl before 8.0
//! does not: if the reset arrives while it is sending, the transfer fails and the answer is lost.
//!
//! The stream is reset when the last handle to the body is dropped. Therefore the rest of the body
//! is read and thrown away, within bounds of time and bytes. The number of streams that do this is
//! bounded by the connection's limit of streams, because each of them stays open meanwhile.

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

/// How long the rest of a body is read. A client that is still sending has received the answer long
/// before. The bound keeps a slow client from occupying the worker's memory.
const LONGEST: Duration = Duration::from_secs(2);
/// How many bytes of the rest are read. Beyond this, the wasted transfer would be worse for the
/// client than the reset.
const MOST_BYTES: usize = 1 << 20;

/// Counter of the bytes that were read from a request's body. Clones share the count. The access
/// log reads it when the request has ended, after the body is gone.
#[derive(Clone, Debug, Default)]
pub struct ReceivedBytes(Arc<AtomicU64>);

impl ReceivedBytes {
    /// The number of bytes so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body of a request, counted while it is read.
pub(super) struct ClientBody {
    incoming: Option<Incoming>,
    received: ReceivedBytes,
    /// The worker that reads the rest when the body is dropped. `None` over HTTP/1.1, where the
    /// connection is closed after the answer instead.
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
        // The body was dropped before its end. A task of the worker takes it over, because a
        // destructor cannot wait; the task ends after `LONGEST`. Over HTTP/1.1 there is no worker,
        // and the connection is closed.
        let rest = self.incoming.take().filter(|incoming| !incoming.is_end_stream());
        if let (Some(rest), Some(worker)) = (rest, &self.worker) {
            worker.spawn_detached(discard(rest));
        }
    }
}

/// Reads and drops a body until its end, or until one of the bounds is reached.
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
    // The result does not matter: if the body has not ended, dropping it now resets the stream.
    let _ = tokio::time::timeout(LONGEST, reading).await;
}
