//! Bodies that are read into memory before they are needed, as far as there is room.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Body, BodyError, Counted, extend};
use crate::admission::HeldBytes;

/// The whole body in memory; where `room` ends before it, the same body, read as far as that.
pub(super) async fn keep(mut body: Body, mut room: HeldBytes) -> Result<Body, BodyError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if extend(&mut bytes, &data, |bytes| room.grow_to(bytes)).is_err() {
            let first = Body::full(Bytes::from_owner(Counted { bytes, _room: room }));
            let rest = Rest { first, second: Body::full(data), body };
            return Ok(Body::boxed(rest));
        }
    }
    Ok(Body::full(Bytes::from_owner(Counted { bytes, _room: room })))
}

/// A body of which two pieces were read already.
struct Rest {
    first: Body,
    second: Body,
    body: Body,
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
