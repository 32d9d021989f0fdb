//! The status that tells a client that its tunnel is open, and the certainty that no other answer
//! has it.
//!
//! A client that asked for a tunnel takes any 2xx answer for one (RFC 8441, section 5). Data that
//! it sends afterwards would reach a place that nobody has authorised.

use http::StatusCode;

use crate::body::Response;

/// Marks an answer that has a tunnel behind it.
#[derive(Clone, Copy)]
struct TunnelOpened;

/// Tells the client that the tunnel is open, in the way in which the client asked: 200 for extended
/// CONNECT (RFC 8441, section 5), else 101 (RFC 9110, section 15.2.2).
pub(crate) fn open(response: &mut Response, by_connect: bool) {
    let status = if by_connect { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS };
    *response.status_mut() = status;
    response.extensions_mut().insert(TunnelOpened);
}

/// True if a client that asked by extended CONNECT would take `response` for an open tunnel
/// although it is none. Such an answer has to be replaced.
pub(crate) fn is_mistakable(response: &Response) -> bool {
    response.status().is_success() && response.extensions().get::<TunnelOpened>().is_none()
}
