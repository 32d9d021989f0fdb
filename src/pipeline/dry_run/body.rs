//! The body of a request in a dry run: as long as its fields say, and of nothing but zero bytes.
//!
//! The fields decide how a body is framed, limited and read ahead; what is in it decides nothing on
//! a route.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// The largest piece of a body.
const PIECE: usize = 16 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// A body that is still to come, as its fields describe it.
struct ImaginedBody {
    /// `None` if the length is not declared. Such a body then has no bytes.
    left: Option<u64>,
    is_over: bool,
}

/// The body that `head` declares.
pub(super) fn imagined_body(head: &Parts) -> Body {
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Body::boxed(ImaginedBody { left: None, is_over: false });
    }
    let length = head.headers.get(header::CONTENT_LENGTH);
    match length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok()) {
        None | Some(0) => Body::empty(),
        left => Body::boxed(ImaginedBody { left, is_over: false }),
    }
}

impl HttpBody for ImaginedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let left = self.left.unwrap_or_default();
        let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        if piece == 0 {
            self.is_over = true;
            return Poll::Ready(None);
        }
        self.left = Some(left.saturating_sub(piece as u64));
        let piece = ZEROS.get(..piece).unwrap_or_default();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
