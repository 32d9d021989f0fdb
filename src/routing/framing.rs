//! Fields that decide where a request ends, or that must not be there twice.
//!
//! hyper has refused most of this before we see it (CRATES §2.1); what it lets through is
//! refused here. It runs before the fields of one connection are removed.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Version, request};

use super::target::TargetError;
use crate::dialect::Reason;

const NEVER_TWICE: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-access-token"),
    HeaderName::from_static("x-key"),
];

/// Refuses ambiguous framing, credentials given twice and unknown expectations.
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
        if headers.contains_key(header::CONTENT_LENGTH) || head.version != Version::HTTP_11 {
            return refused(Reason::MalformedRequest, "Transfer-Encoding does not belong here");
        }
        // hyper would un-chunk it and lose the other coding (RFC 9112 §6.1: 501).
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

/// Digits alone: Rust's own parser would take a sign (RFC 9110 §8.6).
fn is_length(value: &HeaderValue) -> bool {
    let digits = value.to_str().unwrap_or_default();
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok()
}

fn is_chunked(headers: &HeaderMap) -> bool {
    headers
        .get(header::TRANSFER_ENCODING)
        .is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

pub(super) fn repeated(headers: &HeaderMap, name: &HeaderName) -> bool {
    // As many lines as names: nothing is repeated, whatever the name.
    headers.len() != headers.keys_len() && headers.get_all(name).iter().nth(1).is_some()
}
