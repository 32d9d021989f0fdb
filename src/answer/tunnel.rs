//! The status that tells a client its tunnel is open, and the certainty that no other answer does.

use http::StatusCode;

use crate::body::Response;

/// Marks an answer that a tunnel is behind.
#[derive(Clone, Copy)]
struct Opened;

/// Says that the tunnel is open, in the way that its client asked: 200 to extended CONNECT
/// (RFC 8441 §5), else 101 (RFC 9110 §15.2.2).
pub(crate) fn open(response: &mut Response, by_connect: bool) {
    let status = if by_connect { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS };
    *response.status_mut() = status;
    response.extensions_mut().insert(Opened);
}

/// Whether a client that asked by extended CONNECT would take `response` for an open tunnel,
/// which it is not.
pub(crate) fn is_mistakable(response: &Response) -> bool {
    response.status().is_success() && response.extensions().get::<Opened>().is_none()
}
