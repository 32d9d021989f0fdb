//! Confines a panic to one request: it is caught around the request's future and around its body.
//!
//! Without this, a panic would end the task of the whole connection, and with HTTP/2 all its
//! requests. `pipeline::handle` and `finish` use it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// The output of `future`, or `None` if it panicked.
///
/// Everything that the future owned is dropped with it. Everything that it shares is behind locks
/// that are still used after a panic, because the code under them leaves no half-changed data.
pub(super) async fn unpanicked<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

/// A body that ends with an error if polling it panics. It is dropped at that moment and not polled
/// again.
pub(super) struct CatchPanic(pub(super) Body);

impl HttpBody for CatchPanic {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = &mut self.0;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *body).poll_frame(cx)));
        polled.unwrap_or_else(|_| {
            *body = Body::empty();
            Poll::Ready(Some(Err(BodyError::Internal)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use parking_lot::Mutex;

    use super::*;

    /// One piece of data, then a panic under a lock.
    struct PanickingBody {
        polled: u8,
        shared: Arc<Mutex<u8>>,
    }

    impl HttpBody for PanickingBody {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.polled += 1;
            if self.polled == 1 {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"ab")))));
            }
            let _held = self.shared.lock();
            panic!("as a bug would");
        }
    }

    #[tokio::test]
    async fn a_future_that_panics_at_its_second_poll_is_none_and_its_neighbour_goes_on() {
        let panics = async {
            tokio::task::yield_now().await;
            panic!("as a bug would");
        };

        let (panicked, neighbour) =
            tokio::join!(unpanicked(panics), unpanicked(std::future::ready(1)));

        assert_eq!((panicked, neighbour), (None::<()>, Some(1)));
    }

    #[tokio::test]
    async fn a_body_that_panics_breaks_off_once_and_is_dropped() {
        let shared = Arc::new(Mutex::new(0));
        let body = PanickingBody { polled: 0, shared: shared.clone() };
        let mut body = CatchPanic(Body::boxed(body));

        let first = body.frame().await.unwrap().unwrap();
        let second = body.frame().await.unwrap();

        assert_eq!(first.data_ref().map(AsRef::as_ref), Some(&b"ab"[..]));
        assert!(matches!(second, Err(BodyError::Internal)), "{second:?}");
        assert!(body.is_end_stream() && body.frame().await.is_none(), "not looked at again");
        assert_eq!(Arc::strong_count(&shared), 1, "what it held is let go");
        assert!(shared.try_lock().is_some(), "a panic leaves no lock that fails the others");
    }
}
