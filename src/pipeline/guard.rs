//! Panics cost one request: caught around its future and around its body.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

/// The future's output, or `None` if it panicked.
///
/// What the future held is dropped with it, and what it shares is behind locks that are taken
/// over when poisoned, so nothing half-changed is looked at afterwards.
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

/// One poll of a body, or `None` if it panicked.
pub(super) fn unpanicked_poll<B, T>(
    body: Pin<&mut B>,
    poll: impl FnOnce(Pin<&mut B>) -> T,
) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| poll(body))).ok()
}
