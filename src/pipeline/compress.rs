//! Compresses answers of an upstream on routes that ask for it.
//!
//! tower-http chooses the coding and compresses on the worker, piece by piece: data that an
//! upstream flushes is flushed to the client. Some answers are never compressed: the gateway's own,
//! because some carry tokens; answers that set a cookie, carry a credential or must not be stored,
//! because the length of a compressed secret beside a guessed text reveals whether the guess is
//! right (the BREACH attack); and answers that are compressed already, partial, or marked
//! `no-transform`. `route` is the caller.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Extensions, Method, StatusCode, Version};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tower_http::compression::Compression as Compressor;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_service::Service;

use crate::body::{Body, BodyError, Response};
use crate::settings::CompressionSettings;

/// Smallest body in bytes that is compressed. Below it, the added fields cost more than is saved.
const SMALLEST: u64 = 1024;

/// Fields that make an answer secret, or that state the length or digest of its bytes.
const LEFT_ALONE: [HeaderName; 10] = [
    header::SET_COOKIE,
    header::AUTHORIZATION,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("x-access-token"),
    HeaderName::from_static("x-key"),
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// Prefixes of media types that are compressed already, that are read piece by piece, or that are
/// tokens.
const NOT_TYPES: [&str; 12] = [
    "image/",
    "audio/",
    "video/",
    "font/woff",
    "multipart/",
    "text/event-stream",
    "application/grpc",
    "application/jwt",
    "application/jose",
    "application/zip",
    "application/gzip",
    "application/zstd",
];

/// SVG is an image, but it is text and compresses well.
const SVG: &str = "image/svg+xml";

/// The client's preferences for the answer's coding.
pub(super) struct AcceptedCodings {
    codings: CompressionSettings,
    accept: HeaderMap,
    is_head: bool,
}

impl AcceptedCodings {
    /// Reads the preferences; `None` if the answer must stay as it is.
    pub(super) fn of(head: &Parts, codings: CompressionSettings) -> Option<Self> {
        if !codings.is_on() || says(&head.headers, "no-transform") {
            return None;
        }
        let lines = head.headers.get_all(header::ACCEPT_ENCODING).iter();
        let accept = lines.map(|line| (header::ACCEPT_ENCODING, line.clone())).collect();
        Some(Self { codings, accept, is_head: head.method == Method::HEAD })
    }

    /// The answer, compressed if it may be and the client accepts a coding.
    pub(super) async fn compress(self, answered: Response) -> Response {
        let (mut head, body) = answered.into_parts();
        if !may_be_compressed(head.status, &head.headers) {
            return Response::from_parts(head, body);
        }
        if self.is_head || body.is_end_stream() {
            // A HEAD request gets the same fields as a GET (RFC 9110 §9.3.2), so `Vary` is set
            // although nothing is compressed. A cache may use these fields for a later GET.
            vary(&mut head.headers);
            return Response::from_parts(head, body);
        }
        let status = head.status;
        let mut request = http::Request::new(());
        *request.headers_mut() = self.accept;
        let answered = ReadyResponse(Some(Response::from_parts(head, body)));
        let answer = Compressor::new(answered)
            .zstd(self.codings.zstd)
            .br(self.codings.br)
            .gzip(self.codings.gzip)
            .compress_when(SizeAbove::new(SMALLEST).and(any))
            .call(request);
        let Ok(answer) = answer.await;
        let (mut head, body) = answer.into_parts();
        // tower-http answers 406 if the client refuses every coding, even the identity. The
        // upstream's answer exists already, so its status is restored. The client asked for
        // something that no server could send.
        head.status = status;
        if !head.headers.contains_key(header::CONTENT_ENCODING) {
            return Response::from_parts(head, body.into_inner());
        }
        weaken(&mut head.headers);
        let own = |error: Box<dyn std::error::Error + Send + Sync>| {
            error.downcast::<BodyError>().map_or(BodyError::Internal, |error| *error)
        };
        Response::from_parts(head, Body::boxed(body.map_err(own)))
    }
}

/// A service that returns the answer that is already there. tower-http compresses only the answers
/// of a service.
struct ReadyResponse(Option<Response>);

impl Service<http::Request<()>> for ReadyResponse {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<()>) -> Self::Future {
        ready(Ok(self.0.take().unwrap_or_default()))
    }
}

/// All other conditions were checked by `may_be_compressed`.
fn any(_: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    true
}

/// True if neither the status, nor a field, nor the media type excludes compression.
fn may_be_compressed(status: StatusCode, headers: &HeaderMap) -> bool {
    let left_alone = status.is_informational()
        || LEFT_ALONE.iter().any(|name| headers.contains_key(name))
        || says(headers, "no-store")
        || says(headers, "no-transform");
    let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let begins = |prefix: &str| {
        media_type.get(..prefix.len()).is_some_and(|b| b.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    !left_alone && (begins(SVG) || !NOT_TYPES.iter().any(|prefix| begins(prefix)))
}

/// True if a `Cache-Control` line has the directive.
fn says(headers: &HeaderMap, directive: &str) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|said| said.trim_ascii().eq_ignore_ascii_case(directive.as_bytes()))
}

/// Adds `Accept-Encoding` to `Vary`, so that a cache stores an answer for each coding (RFC 9110
/// §12.5.5).
fn vary(headers: &mut HeaderMap) {
    let mut said = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let name = header::ACCEPT_ENCODING;
    if !said.any(|line| line.to_ascii_lowercase().contains(name.as_str())) {
        headers.append(header::VARY, name.into());
    }
}

/// Makes a strong `ETag` weak. The compressed bytes are not those that a strong validator stands
/// for (RFC 9110 §8.8.1). A tag that cannot be written as a weak one is removed.
fn weaken(headers: &mut HeaderMap) {
    let Some(strong) = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""))
    else {
        return;
    };
    match HeaderValue::from_bytes(&[b"W/", strong.as_bytes()].concat()) {
        Ok(weak) => headers.insert(header::ETAG, weak),
        Err(_) => headers.remove(header::ETAG),
    };
}
