//! Bodies of requests and responses as they stream through: one type for those that come in, go
//! out, or are made here.
//!
//! Nothing is collected in memory except by `read_all`, `read_within` and `keep_within`, which have
//! limits. `LimitedBody` bounds the bytes that pass; `TimedBody` ends a body that stalls or arrives
//! too slowly. Each failure says which side caused it. `listener`, `pipeline` and `upstream` pass
//! bodies along with this type.

mod buffered;
mod client_body;
mod timed;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use self::client_body::ClientBody;
pub use self::client_body::ReceivedBytes;
use self::timed::TimedBody;
use crate::admission::{OverBudget, ReservedBytes};
use crate::client::LeastRate;
use crate::runtime::Worker;

/// A request whose body may still be arriving.
pub type Request = http::Request<Body>;

/// A response whose body is still to be sent.
pub type Response = http::Response<Body>;

/// A body: a stream of frames with data, and perhaps trailers at the end. It is read once; dropping
/// it tells the sender that the rest is not wanted.
#[derive(Default)]
pub struct Body(BodyKind);

#[derive(Default)]
enum BodyKind {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>),
}

/// The reasons why a body ended too early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: u64 },

    #[error("no byte of the body arrived within {limit:?}")]
    Stalled { limit: Duration },

    #[error("less than {rate} bytes of the body arrived in a second")]
    Slow { rate: u64 },

    #[error("it was not all there within {limit:?}")]
    Overdue { limit: Duration },

    #[error(transparent)]
    OverBudget(#[from] OverBudget),

    #[error("the session of this stream ended")]
    SessionEnded,

    #[error("the body could not be produced")]
    Internal,

    #[error("the connection broke off")]
    Connection(#[from] hyper::Error),
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self(BodyKind::Empty)
    }

    /// A body of exactly these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(BodyKind::Full(bytes)) }
    }

    /// A body that is produced elsewhere.
    pub fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self(BodyKind::Boxed(Box::pin(body)))
    }

    /// The body of a client's request, and a counter of the bytes that are read from it.
    ///
    /// With a `worker` (HTTP/2), the rest of the body is read for a moment if the request is
    /// answered before its body has ended. Without that, the stream would be reset, and some
    /// clients would lose the answer (see `client_body`).
    pub fn of_client(
        incoming: Incoming,
        worker: Option<&Arc<Worker>>,
    ) -> (Self, Option<ReceivedBytes>) {
        if incoming.is_end_stream() {
            return (Self::empty(), None);
        }
        let body = ClientBody::new(incoming, worker.cloned());
        let received = body.received();
        (Self::boxed(body), Some(received))
    }

    /// True if the whole body is in memory.
    pub fn is_full(&self) -> bool {
        matches!(self.0, BodyKind::Empty | BodyKind::Full(_))
    }

    /// A copy of the body, if all of it is in memory. The bytes are shared, not copied. `None` for
    /// a body that is still arriving, which can be read once only.
    pub fn copy(&self) -> Option<Self> {
        match &self.0 {
            BodyKind::Empty => Some(Self(BodyKind::Empty)),
            BodyKind::Full(bytes) => Some(Self(BodyKind::Full(bytes.clone()))),
            BodyKind::Incoming(_) | BodyKind::Boxed(_) => None,
        }
    }

    /// The same body, which fails with `TooLarge` when more than `limit` bytes have passed. The
    /// bytes before that have been passed on already, so the receiver must be able to stop in the
    /// middle.
    #[must_use]
    pub fn limited(self, limit: u64) -> Self {
        match self.0 {
            BodyKind::Empty => self,
            _ => Self::boxed(LimitedBody { body: self, limit, left: limit }),
        }
    }

    /// The same body, which fails with `Stalled` when nothing arrives for `limit`. Time that the
    /// receiver takes does not count.
    #[must_use]
    pub fn timed(self, limit: Duration) -> Self {
        self.paced(limit, None)
    }

    /// Like `timed`; the body also fails with `Slow` if it arrives at less than the rate `least`.
    #[must_use]
    pub fn paced(self, limit: Duration, least: Option<LeastRate>) -> Self {
        match self.0 {
            BodyKind::Empty | BodyKind::Full(_) => self,
            _ => Self::boxed(TimedBody::new(self, limit, least)),
        }
    }

    /// Reads the whole body into memory, which is counted in `room`. If there is no room for all of
    /// it, the result is the same body, complete, but partly in memory and partly still arriving.
    /// Trailers of a body that fits are dropped.
    ///
    /// # Errors
    ///
    /// The error of the body itself.
    pub async fn keep_within(self, room: ReservedBytes) -> Result<Self, BodyError> {
        buffered::keep(self, room).await
    }

    /// Reads the whole body into memory.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond `limit` bytes, otherwise the error of the body itself.
    pub async fn read_all(self, limit: u64) -> Result<Bytes, BodyError> {
        // A body that is in memory already is not copied.
        if let BodyKind::Full(bytes) = &self.0
            && bytes.len() as u64 <= limit
        {
            return Ok(bytes.clone());
        }
        self.collect(limit, |_| Ok(())).await.map(BytesMut::freeze)
    }

    /// Reads the whole body into memory that is counted: `room` is occupied as long as any copy of
    /// the bytes exists.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond `limit` bytes; `OverBudget` if there is no room for them; otherwise the
    /// error of the body itself.
    pub async fn read_within(
        self,
        limit: u64,
        mut room: ReservedBytes,
    ) -> Result<Bytes, BodyError> {
        let bytes = self.collect(limit, |bytes| room.grow_to(bytes)).await?;
        Ok(Bytes::from_owner(CountedBytes { bytes, _room: room }))
    }

    /// Reads the body into one buffer. `grow` is called with the needed capacity before memory is
    /// taken, and may refuse it.
    async fn collect(
        self,
        limit: u64,
        mut grow: impl FnMut(usize) -> Result<(), OverBudget>,
    ) -> Result<BytesMut, BodyError> {
        // A declared length (`Content-Length`) beyond the limit is refused before any byte is read.
        if self.size_hint().lower() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        let mut body = self.limited(limit);
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            extend(&mut collected, &data, &mut grow)?;
        }
        Ok(collected)
    }
}

/// Adds `data` to the buffer. `grow` is called with the needed capacity before memory is taken.
fn extend(
    collected: &mut BytesMut,
    data: &Bytes,
    grow: impl FnOnce(usize) -> Result<(), OverBudget>,
) -> Result<(), OverBudget> {
    let needed = collected.len() + data.len();
    if needed > collected.capacity() {
        // The capacity is doubled, as for a vector, so that a body in many small pieces is not
        // copied for each of them. The budget is asked for the whole new capacity, not for the
        // bytes in it.
        let room = needed.max(collected.capacity().saturating_mul(2)).max(SMALLEST);
        grow(room)?;
        collected.reserve(room - collected.len());
    }
    collected.extend_from_slice(data);
    Ok(())
}

/// Least capacity, in bytes, that is taken at once.
const SMALLEST: usize = 256;

/// Bytes together with the budget that they are counted in. Dropping the last copy of the bytes
/// gives the budget back. `Bytes::from_owner` keeps both together.
struct CountedBytes {
    bytes: BytesMut,
    _room: ReservedBytes,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        // An empty body is recognised here, so that it takes no further part in limits and timers.
        if incoming.is_end_stream() { Self::empty() } else { Self(BodyKind::Incoming(incoming)) }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            BodyKind::Empty => Poll::Ready(None),
            BodyKind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = BodyKind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            BodyKind::Incoming(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(BodyError::Connection)
            }
            BodyKind::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Empty => true,
            BodyKind::Full(_) => false,
            BodyKind::Incoming(incoming) => incoming.is_end_stream(),
            BodyKind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Empty => SizeHint::with_exact(0),
            BodyKind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyKind::Incoming(incoming) => incoming.size_hint(),
            BodyKind::Boxed(body) => body.size_hint(),
        }
    }
}

struct LimitedBody {
    body: Body,
    limit: u64,
    left: u64,
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            // The frame that exceeds the limit is not passed on: the receiver never gets more than
            // `limit` bytes. A frame that fits exactly is passed on, and the error comes only with
            // a further byte.
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit }))),
            }
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
