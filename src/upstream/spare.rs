//! A second copy of a request, for when the first gets lost.
//!
//! A copy costs two allocations and a count for each field, so it is made only where it may be of
//! use (see `attempt`). A body is copied only if all of it is in memory; a small one whose length
//! is known can be read into memory first, as long as there is room for bodies there.

use std::net::IpAddr;

use http::Method;
use http_body::Body as _;

use super::error::{ForwardError, RequestFault};
use crate::admission::ByteBudget;
use crate::body::{Body, Request};

/// A longer body is not kept in memory.
const KEPT: u64 = 64 << 10;
/// A buffer is no smaller.
const SMALLEST: usize = 256;

/// True if doing it twice is like doing it once (RFC 9110 §9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// Where the bytes of a body that is held in memory are counted.
#[derive(Clone, Copy, Debug)]
pub struct BodyRoom<'a> {
    pub budget: &'a ByteBudget,
    /// The client's address group, which has a share of it.
    pub origin: Option<IpAddr>,
}

/// Reads the body into memory if it is known to be small and there is room for it; else it goes on
/// as it comes, and is sent once.
pub(super) async fn hold(request: &mut Request, room: BodyRoom<'_>) -> Result<(), ForwardError> {
    let size = request.body().size_hint().exact().filter(|length| *length <= KEPT);
    let Some(size) = size.filter(|_| !request.body().is_full()) else { return Ok(()) };
    let mut room = room.budget.open(room.origin);
    // A buffer that grows is at most twice as long as what it holds. All of it is reserved before
    // the first byte is read: what was begun could not go on as a stream.
    let reserved = usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(2);
    if room.grow_to(reserved.max(SMALLEST)).is_err() {
        return Ok(());
    }
    let body = std::mem::take(request.body_mut()).read_within(KEPT, room).await;
    let body = body.map_err(|error| ForwardError::RequestBody(RequestFault::of(&error)))?;
    *request.body_mut() = Body::full(body);
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
