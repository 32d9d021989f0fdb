//! A copy of a request for a second sending, and reading small bodies into memory for it.
//!
//! A copy costs two allocations and a counter for each field, so it is made only if it could be
//! used (see `attempt`). A body is copied only if all of it is in memory. A small body of known
//! length can be read into memory first; its size counts against the common budget for bodies.
//! Larger bodies are streamed and cannot be sent again.

use std::net::IpAddr;

use http::Method;
use http_body::Body as _;

use crate::admission::ByteBudget;
use crate::body::Request;
use crate::upstream::error::{ForwardError, RequestFault};

/// Longest body in bytes that is read into memory for a second sending.
const KEPT: u64 = 64 << 10;

/// True for methods of which a repetition has the same effect as one request (RFC 9110 §9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// The memory budget for bodies, and the client that it is charged to.
#[derive(Clone, Copy, Debug)]
pub struct BodyMemory<'a> {
    pub budget: &'a ByteBudget,
    /// The client whose share is used; `None` for an address that many clients share.
    pub origin: Option<IpAddr>,
}

/// Reads the body into memory if it is known to be small and the budget has room. Without room the
/// body is streamed: a request is not refused for memory that only a second attempt would need.
///
/// # Errors
/// The client's body failed while it was read.
pub(super) async fn buffer_body(
    request: &mut Request,
    memory: BodyMemory<'_>,
) -> Result<(), ForwardError> {
    let size = request.body().size_hint().exact();
    // A body that is in memory already needs nothing. Without a declared length the body could be
    // of any size, so it is streamed. Waiting for its end could then take as long as the client
    // likes.
    if request.body().is_full() || size.is_none_or(|length| length > KEPT) {
        return Ok(());
    }
    let room = memory.budget.open(memory.origin);
    // Boxed because most requests have no body: unboxed, its state would enlarge the future of
    // every request.
    let reading = Box::pin(std::mem::take(request.body_mut()).keep_within(room));
    let body = reading.await;
    *request.body_mut() =
        body.map_err(|error| ForwardError::RequestBody(RequestFault::of(&error)))?;
    Ok(())
}

/// A copy of the request; `None` if its body is not in memory. Extensions are not copied, so a copy
/// cannot open a tunnel.
pub(super) fn clone_request(request: &Request) -> Option<Request> {
    let mut copy = Request::new(request.body().copy()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
