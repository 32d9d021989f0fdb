//! Reading bodies into memory before they are needed, as far as there is room.
//!
//! An upstream request can be repeated only if its body is in memory. `Body::keep_within` calls
//! this; a body that does not fit is passed on as it was, and can then be sent once.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Body, BodyError, CountedBytes, extend};
use crate::admission::ReservedBytes;

/// Reads the body into memory. If `room` ends before the body does, the result is the same body:
/// the part that was read, then the part that still arrives. An error of the body itself is
/// returned as it is.
pub(super) async fn keep(mut body: Body, mut room: ReservedBytes) -> Result<Body, BodyError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if extend(&mut bytes, &data, |bytes| room.grow_to(bytes)).is_err() {
            // The piece that did not fit is already in memory, received from the connection. It is
            // passed on after the first part, so no byte is lost.
            let first = Body::full(Bytes::from_owner(CountedBytes { bytes, _room: room }));
            let rest = PartlyRead { first, second: Body::full(data), body };
            return Ok(Body::boxed(rest));
        }
    }
    Ok(Body::full(Bytes::from_owner(CountedBytes { bytes, _room: room })))
}

/// A body of which two pieces were read already.
struct PartlyRead {
    first: Body,
    second: Body,
    body: Body,
}

impl HttpBody for PartlyRead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // The pieces come in their original order: everything that was read first, then the piece
        // that did not fit, then the rest from the connection.
        let this = &mut *self;
        for read in [&mut this.first, &mut this.second] {
            if !read.is_end_stream() {
                return Pin::new(read).poll_frame(cx);
            }
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        [&self.first, &self.second, &self.body].iter().all(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let in_memory = |body: &Body| body.size_hint().lower();
        let read = in_memory(&self.first).saturating_add(in_memory(&self.second));
        let left = self.body.size_hint();
        let mut size = SizeHint::new();
        size.set_lower(left.lower().saturating_add(read));
        if let Some(upper) = left.upper().and_then(|upper| upper.checked_add(read)) {
            size.set_upper(upper);
        }
        size
    }
}
