//! Refusals in the form that gRPC clients read.
//!
//! Such a client looks at `grpc-status` and not at the HTTP status, and turns a missing one into
//! `UNKNOWN`. A refusal is therefore a call that ended at once ("Trailers-Only" in the
//! specification "gRPC over HTTP2"), whatever the form of the route or dialect is. The number
//! follows from the HTTP status of the reason.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::body::{Body, Response};
use crate::dialect::Reason;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Characters that are encoded in `grpc-message`. Everything beyond ASCII is encoded in any case.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The content type of the client's messages, if it calls by gRPC. The refusal has the same content
/// type, because a client rejects another one. `None` for every other request: only POST with a
/// type of `application/grpc` is a gRPC call.
pub(crate) fn grpc_content_type(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    if *method != Method::POST {
        return None;
    }
    let kind = headers.get(header::CONTENT_TYPE)?;
    let essence = kind.as_bytes().split(|byte| *byte == b';').next()?.trim_ascii();
    let (prefix, rest) = essence.split_at_checked(b"application/grpc".len())?;
    let is_grpc = prefix.eq_ignore_ascii_case(b"application/grpc")
        && matches!(rest.first(), None | Some(b'+' | b'-'));
    is_grpc.then(|| kind.clone())
}

/// The refusal of a call for `reason`, with the content type `kind`. The HTTP status is 200, as
/// gRPC demands for every answer of a server.
pub(super) fn answer(reason: Reason, kind: &HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code(reason)));
    let message = format!("{}: {}", reason.code(), reason.title());
    if let Ok(message) = HeaderValue::try_from(utf8_percent_encode(&message, ENCODED).to_string()) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// The gRPC code that is closest to the reason's HTTP status. The numbers are those of the
/// specification: 16 unauthenticated, 7 permission denied, 12 unimplemented, 8 resource exhausted,
/// 14 unavailable, 4 deadline exceeded, 3 invalid argument, 13 internal.
fn code(reason: Reason) -> u16 {
    match reason.status() {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => 12,
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => 8,
        // A misdirected request succeeds on another connection, so it may be tried again.
        StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::MISDIRECTED_REQUEST => 14,
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => 4,
        status if status.is_client_error() => 3,
        _ => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_by_grpc_are_refused_as_such() {
        for (method, kind, is_grpc) in [
            (Method::POST, "application/grpc", true),
            (Method::POST, "application/grpc+proto; charset=x", true),
            (Method::POST, "Application/GRPC-web-text", true),
            (Method::POST, "application/grpcx", false),
            (Method::POST, "application/json", false),
            (Method::GET, "application/grpc", false),
        ] {
            let headers = [(header::CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect();
            assert_eq!(grpc_content_type(&method, &headers).is_some(), is_grpc, "{method} {kind}");
        }
    }

    #[test]
    fn every_reason_has_the_code_of_its_kind() {
        for (reason, expected) in [
            (Reason::TokenExpired, 16),
            (Reason::NotPermitted, 7),
            (Reason::NotFound, 12),
            (Reason::MethodNotAllowed, 12),
            (Reason::RateLimited, 8),
            (Reason::BodyTooLarge, 8),
            (Reason::BadGateway, 14),
            (Reason::Unavailable, 14),
            (Reason::GatewayTimeout, 4),
            (Reason::MalformedRequest, 3),
            (Reason::AmbiguousCredential, 3),
            (Reason::Internal, 13),
        ] {
            assert_eq!(code(reason), expected, "{reason:?}");
        }
        for reason in Reason::ALL {
            let answer = answer(*reason, &HeaderValue::from_static("application/grpc"));
            assert_eq!(answer.status(), StatusCode::OK, "{reason:?}");
            assert!(answer.headers().contains_key(GRPC_MESSAGE), "{reason:?}");
        }
    }
}
