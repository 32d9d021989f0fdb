//! A second copy of a request, for when the first gets lost.
//!
//! A copy costs two allocations and a count for each field, so it is made only where it may be of
//! use (see `attempt`). A body is copied only if all of it is in memory; a small one whose length
//! is known can be read into memory first, which is counted as that of all bodies is.

use std::net::IpAddr;

use http::Method;
use http_body::Body as _;

use super::error::{ForwardError, RequestFault};
use crate::admission::ByteBudget;
use crate::body::Request;

/// A longer body is not kept in memory.
const KEPT: u64 = 64 << 10;

/// True if doing it twice is like doing it once (RFC 9110 §9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// Where bodies are kept in memory, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct BodyMemory<'a> {
    pub budget: &'a ByteBudget,
    /// Whose share it is; `None` for an address that many clients share.
    pub origin: Option<IpAddr>,
}

/// Reads the body into memory if it is known to be small and there is room for it. One for which
/// there is none goes on as it comes: nobody is refused for what only serves another try.
pub(super) async fn hold(
    request: &mut Request,
    memory: BodyMemory<'_>,
) -> Result<(), ForwardError> {
    let size = request.body().size_hint().exact();
    if request.body().is_full() || size.is_none_or(|length| length > KEPT) {
        return Ok(());
    }
    let room = memory.budget.open(memory.origin);
    // Boxed: most requests have no body, and its size would be every request's.
    let reading = Box::pin(std::mem::take(request.body_mut()).keep_within(room));
    let body = reading.await;
    *request.body_mut() =
        body.map_err(|error| ForwardError::RequestBody(RequestFault::of(&error)))?;
    Ok(())
}

/// The same request once more; `None` if its body is not in memory.
pub(super) fn copy(request: &Request) -> Option<Request> {
    let mut copy = Request::new(request.body().copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
