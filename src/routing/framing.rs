//! Checks the header fields that decide where a request ends, and those that must not be there
//! twice.
//!
//! Two servers that disagree about the end of a request, or about which of two credentials counts,
//! let one client smuggle a request past the other's rules. hyper refuses most of these requests
//! before this code sees them; this file refuses the rest. `Target::parse` calls it before any
//! field is removed, so that hop-by-hop fields are still there to be judged.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Version, request};

use super::error::TargetError;
use crate::dialect::Reason;

/// Header fields that carry a credential. With two lines of one of them, the gateway could verify
/// the first while the upstream acts on the second. Repetition is therefore refused.
const NEVER_TWICE: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-access-token"),
    HeaderName::from_static("x-key"),
];

/// Refuses ambiguous framing, repeated credential fields and unknown expectations.
///
/// The errors are 400 for framing that can be read in two ways, 501 for a transfer coding other
/// than `chunked`, and 417 for an `Expect` other than `100-continue` (RFC 9110 §10.1.1).
pub(super) fn check(head: &request::Parts) -> Result<(), TargetError> {
    let headers = &head.headers;
    let refused = |reason, cause| Err(TargetError { reason, cause });
    if repeated(headers, &header::CONTENT_LENGTH) {
        return refused(Reason::MalformedRequest, "more than one Content-Length");
    }
    if headers.get(header::CONTENT_LENGTH).is_some_and(|length| !is_length(length)) {
        return refused(Reason::MalformedRequest, "a Content-Length that is no number");
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Content-Length beside Transfer-Encoding is the classic request smuggling, and HTTP/1.0
        // does not know the field (RFC 9112 §6.1, §6.3). HTTP/2 forbids the field altogether (RFC
        // 9113 §8.2.2).
        if headers.contains_key(header::CONTENT_LENGTH) || head.version != Version::HTTP_11 {
            return refused(Reason::MalformedRequest, "Transfer-Encoding does not belong here");
        }
        // hyper decodes `chunked` alone. A second coding such as `gzip` would reach the upstream
        // undeclared, so the answer is 501 (RFC 9112 §6.1).
        if repeated(headers, &header::TRANSFER_ENCODING) || !is_chunked(headers) {
            return refused(Reason::NotImplemented, "a transfer coding other than chunked");
        }
    }
    if NEVER_TWICE.iter().any(|name| repeated(headers, name)) {
        return refused(Reason::AmbiguousCredential, "a credential field is given twice");
    }
    let known = |expect: &HeaderValue| expect.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(header::EXPECT).iter().all(known) {
        return refused(Reason::ExpectationFailed, "an unknown expectation");
    }
    Ok(())
}

/// True if a Content-Length consists of digits alone (RFC 9110 §8.6). The parser of Rust's standard
/// library would also accept a leading `+`. A proxy and a server that read `+5` differently would
/// disagree about the end of the body.
fn is_length(value: &HeaderValue) -> bool {
    let digits = value.to_str().unwrap_or_default();
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok()
}

/// True if `chunked` is the one transfer coding of the message.
fn is_chunked(headers: &HeaderMap) -> bool {
    headers
        .get(header::TRANSFER_ENCODING)
        .is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// True if `name` is on more than one line of the header.
pub(super) fn repeated(headers: &HeaderMap, name: &HeaderName) -> bool {
    // `keys_len` counts distinct names and `len` counts lines. If both are equal, then no field is
    // repeated, and the usual request needs no search.
    headers.len() != headers.keys_len() && headers.get_all(name).iter().nth(1).is_some()
}
