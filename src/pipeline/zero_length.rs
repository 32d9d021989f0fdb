//! A body that is declared empty on a stream that the client has not ended.
//!
//! Over HTTP/2 a stream may go on after `content-length: 0`: with an empty DATA frame or trailers,
//! which is valid, or with data, which makes the request malformed (RFC 9113 §8.1.1). Only waiting
//! shows which of them comes. Such a request therefore waits for its end before it is forwarded. A
//! body of any other length is not checked in this way: it would have to be kept in memory first.
//! `route` is the caller.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::body::{Body, BodyError};
use crate::dialect::Reason;
use crate::rejection::Rejection;

/// True if only the end may follow, and it has not come yet.
pub(super) fn is_open(body: &Body) -> bool {
    !body.is_end_stream() && body.size_hint().exact() == Some(0)
}

/// Waits until `body` has ended, for `limit` in total: empty frames do not extend the time.
/// Trailers are dropped, as an intermediary may do (RFC 9110 §6.5.1).
///
/// # Errors
/// Data arrives, the stream breaks off, or the time is over.
pub(super) async fn await_end(body: &mut Body, limit: Duration) -> Result<(), Rejection> {
    let malformed = |cause| Rejection::new(Reason::MalformedRequest).because(cause).closing();
    let ending = async {
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) if frame.data_ref().is_none_or(Bytes::is_empty) => (),
                Ok(_) => return Err(malformed("data after Content-Length: 0")),
                Err(_) => return Err(malformed("the stream broke off after Content-Length: 0")),
            }
        }
        Ok(())
    };
    let stalled = |_| Err(BodyError::Stalled { limit }.into());
    tokio::time::timeout(limit, ending).await.unwrap_or_else(stalled)?;
    *body = Body::empty();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::{Frame, SizeHint};

    use super::*;

    /// A stream whose client sends nothing more.
    struct SilentStream;

    impl http_body::Body for SilentStream {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Pending
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(0)
        }
    }

    #[tokio::test]
    async fn a_stream_that_never_ends_is_given_up() {
        let mut body = Body::boxed(SilentStream);
        assert!(is_open(&body));

        let rejection = await_end(&mut body, Duration::from_millis(1)).await.unwrap_err();

        assert_eq!(rejection.reason, Reason::RequestTimeout);
    }
}
