//! Bodies as they stream through: one type for what comes in, goes out and is made here.
//!
//! Nothing is collected except by `read_all`, `read_within` and `keep_within`, which have limits.
//! `Limited` counts what passes, `Timed` ends a body that stalls or trickles, and each failure says
//! whose it is.

mod client_body;
mod kept;
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
use self::timed::Timed;
use crate::admission::{HeldBytes, OverBudget};
use crate::client::LeastRate;
use crate::runtime::Worker;

/// A request with its body still on the way.
pub type Request = http::Request<Body>;

/// A response with its body still to be sent.
pub type Response = http::Response<Body>;

/// A stream of frames: data, then perhaps trailers.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>),
}

/// Why a body ended before its time.
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
    /// No bytes at all.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Exactly these bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }

    /// A body that some other part produces.
    pub fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self(Kind::Boxed(Box::pin(body)))
    }

    /// A client's body, and what is read of it. With a `worker` (over HTTP/2) its rest is read for a
    /// moment where the request is answered before its end: a reset would cost some clients the
    /// answer.
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

    /// True if all of it is in memory already.
    pub fn is_full(&self) -> bool {
        matches!(self.0, Kind::Empty | Kind::Full(_))
    }

    /// The same bytes once more, if all of them are in memory.
    pub fn copy(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self(Kind::Empty)),
            Kind::Full(bytes) => Some(Self(Kind::Full(bytes.clone()))),
            Kind::Incoming(_) | Kind::Boxed(_) => None,
        }
    }

    /// The same body, failing with `TooLarge` once more than `limit` bytes have passed.
    #[must_use]
    pub fn limited(self, limit: u64) -> Self {
        match self.0 {
            Kind::Empty => self,
            _ => Self::boxed(Limited { body: self, limit, left: limit }),
        }
    }

    /// The same body, failing with `Stalled` when nothing arrives for `limit`.
    #[must_use]
    pub fn timed(self, limit: Duration) -> Self {
        self.paced(limit, None)
    }

    /// `timed`, failing with `Slow` as well where the body comes more slowly than `least`.
    #[must_use]
    pub fn paced(self, limit: Duration, least: Option<LeastRate>) -> Self {
        match self.0 {
            Kind::Empty | Kind::Full(_) => self,
            _ => Self::boxed(Timed::new(self, limit, least)),
        }
    }

    /// Reads the whole body into memory that is counted. Where there is no room for all of it, the
    /// answer is the same body, of which nothing is lost, and which is not in memory. Trailers of
    /// one that is are dropped.
    ///
    /// # Errors
    /// What the body itself fails with.
    pub async fn keep_within(self, room: HeldBytes) -> Result<Self, BodyError> {
        kept::keep(self, room).await
    }

    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// `TooLarge` past `limit` bytes; otherwise what the body itself fails with.
    pub async fn read_all(self, limit: u64) -> Result<Bytes, BodyError> {
        if let Kind::Full(bytes) = &self.0
            && bytes.len() as u64 <= limit
        {
            return Ok(bytes.clone());
        }
        self.collect(limit, |_| Ok(())).await.map(BytesMut::freeze)
    }

    /// Reads the whole body into memory that is counted: `room` is held for as long as any copy of
    /// the bytes is.
    ///
    /// # Errors
    /// `TooLarge` past `limit` bytes, `OverBudget` where there is no room for them; otherwise what
    /// the body itself fails with.
    pub async fn read_within(self, limit: u64, mut room: HeldBytes) -> Result<Bytes, BodyError> {
        let bytes = self.collect(limit, |bytes| room.grow_to(bytes)).await?;
        Ok(Bytes::from_owner(Counted { bytes, _room: room }))
    }

    /// `grow` is told how much memory is needed, before it is taken.
    async fn collect(
        self,
        limit: u64,
        mut grow: impl FnMut(usize) -> Result<(), OverBudget>,
    ) -> Result<BytesMut, BodyError> {
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

/// Adds `data`; `grow` is told how much memory is needed, before it is taken.
fn extend(
    collected: &mut BytesMut,
    data: &Bytes,
    grow: impl FnOnce(usize) -> Result<(), OverBudget>,
) -> Result<(), OverBudget> {
    let needed = collected.len() + data.len();
    if needed > collected.capacity() {
        // Doubled, as a vector grows, so that a body in many pieces is not copied for each.
        let room = needed.max(collected.capacity().saturating_mul(2)).max(SMALLEST);
        grow(room)?;
        collected.reserve(room - collected.len());
    }
    collected.extend_from_slice(data);
    Ok(())
}

/// Memory is taken in no smaller pieces.
const SMALLEST: usize = 256;

/// Bytes with the room that they are counted in.
struct Counted {
    bytes: BytesMut,
    _room: HeldBytes,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        if incoming.is_end_stream() { Self::empty() } else { Self(Kind::Incoming(incoming)) }
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
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Incoming(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(BodyError::Connection)
            }
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

struct Limited {
    body: Body,
    limit: u64,
    left: u64,
}

impl HttpBody for Limited {
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
