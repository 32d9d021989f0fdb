//! Writes a request for an upstream: framing, target, and the progress of its body.
//!
//! The framing follows the body that is really sent, and never the client's fields alone: a length
//! if it is known, else chunked, never both. Two framings would let the upstream find another end
//! of the request than the gateway (request smuggling). Path and query keep every byte. `send` and
//! `attempt` are the callers.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Method, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::body::{Body, BodyError, Request};
use crate::headers::ReservedHeaders;
use crate::upstream::error::{ForwardError, RequestFault};

/// Sets the framing fields according to the body.
pub(super) fn frame(request: &mut Request) {
    let body_ended = request.body().is_end_stream();
    let length = request.body().size_hint().exact();
    let wants_length = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    let headers = request.headers_mut();
    // The listener's HTTP server has already answered `100 Continue` when the gateway first read
    // the body. The body now follows without a pause, so the upstream has nothing to confirm.
    headers.remove(header::EXPECT);
    headers.remove(header::TRANSFER_ENCODING);
    match length {
        // A method that usually has a body gets an explicit `Content-Length: 0` (RFC 9110 §8.6).
        // Other methods get no length unless the client sent one. The client's own zero is kept as
        // it was.
        Some(0) if !wants_length && !says(headers, 0) => {
            headers.remove(header::CONTENT_LENGTH);
        }
        Some(length) if !says(headers, length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Some(_) => (),
        None if body_ended => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
        }
    }
}

/// True if there is exactly one `Content-Length` and its value is `length` in plain digits. Other
/// spellings of the same number, such as a leading `+`, count as wrong, so that `frame` replaces
/// them.
fn says(headers: &HeaderMap, length: u64) -> bool {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => {
            only.to_str().ok().and_then(|text| text.parse().ok()) == Some(length)
                && only.as_bytes().iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// Makes `request` an HTTP/1.1 request: origin form of the target, chunked if the length is
/// unknown. It can be called for a request that was written for HTTP/2 before, since a retry may
/// use another connection.
pub(super) fn for_http1(request: &mut Request) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    let streamed = !request.body().is_end_stream();
    let headers = request.headers_mut();
    if streamed && !headers.contains_key(header::CONTENT_LENGTH) {
        // Set here because hyper would send no body at all with a GET or HEAD request of unknown
        // length.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    join_cookies(headers);
    // `TE` belongs to one connection, so it must be named in `Connection` (RFC 9110 §10.1.4). A
    // request for an upgrade has a `Connection` field already.
    if headers.contains_key(header::TE) && !headers.contains_key(header::UPGRADE) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Joins several `Cookie` lines into one. HTTP/2 clients may split the field; HTTP/1.1 allows a
/// single one (RFC 9113 §8.2.3). Servers that read the first line only would lose cookies.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut whole = [first, b"; ", second].concat();
    for crumb in crumbs {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb);
    }
    if let Ok(whole) = HeaderValue::try_from(whole) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Makes `request` an HTTP/2 request: absolute form of the target, without the fields of a single
/// connection (RFC 9113 §8.2.2).
///
/// # Errors
/// The request has no usable host, which HTTP/2 needs for `:authority`.
pub(super) fn for_http2(request: &mut Request, tls: bool) -> Result<(), ForwardError> {
    *request.version_mut() = Version::HTTP_2;
    for name in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    let unwritable = || ForwardError::Unwritable { what: "it has no host" };
    let host = request.headers().get(header::HOST).ok_or_else(unwritable)?;
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| unwritable())?;
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts)
        .map_err(|_| ForwardError::Unwritable { what: "its target is not a path" })?;
    Ok(())
}

/// The progress of the client's body. It tells a slow upstream from a slow client, so that the
/// limit for the first byte of the answer measures the upstream only.
#[derive(Debug)]
pub(super) struct UploadProgress {
    started: Instant,
    /// The time of the last change, in milliseconds after `started`.
    changed: AtomicU64,
    turn: AtomicU8,
    fault: OnceLock<RequestFault>,
}

/// The gateway waits for more of the client's body.
const CLIENTS_TURN: u8 = 0;
/// The gateway waits for the upstream to read, or to answer.
const UPSTREAMS_TURN: u8 = 1;

impl UploadProgress {
    /// Records whose turn it is, and since when. `Relaxed` is enough: only the timer of the same
    /// request reads it, and a value that is a moment old merely delays a decision.
    fn turn(&self, turn: u8) {
        self.turn.store(turn, Ordering::Relaxed);
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.changed.store(now, Ordering::Relaxed);
    }

    /// The moment at which the upstream will have had `limit` for itself; `None` if it has had it.
    pub(super) fn patience(&self, limit: Duration) -> Option<Instant> {
        let now = Instant::now();
        if self.turn.load(Ordering::Relaxed) == CLIENTS_TURN {
            return Some(now + limit);
        }
        let changed = Duration::from_millis(self.changed.load(Ordering::Relaxed));
        Some(self.started + changed + limit).filter(|until| *until > now)
    }

    /// The fault of the client's body, if that is why the request failed.
    pub(super) fn fault(&self) -> Option<RequestFault> {
        self.fault.get().copied()
    }
}

/// Replaces the body of `request` by one that records its progress. `None` if the whole body is in
/// memory or already at its end, so that there is nothing to wait for. `attempt` asks the result
/// how long it may still wait for the answer.
pub(super) fn watch_body(
    request: &mut Request,
    protected: &Arc<ReservedHeaders>,
) -> Option<Arc<UploadProgress>> {
    if request.body().is_end_stream() || request.body().is_full() {
        return None;
    }
    let progress = Arc::new(UploadProgress {
        started: Instant::now(),
        changed: AtomicU64::new(0),
        turn: AtomicU8::new(UPSTREAMS_TURN),
        fault: OnceLock::new(),
    });
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = Body::boxed(OutgoingBody {
        body,
        progress: progress.clone(),
        protected: protected.clone(),
    });
    Some(progress)
}

/// The body of a request on its way to the upstream.
struct OutgoingBody {
    body: Body,
    progress: Arc<UploadProgress>,
    protected: Arc<ReservedHeaders>,
}

impl HttpBody for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        this.progress.turn(CLIENTS_TURN);
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        this.progress.turn(UPSTREAMS_TURN);
        Poll::Ready(match frame {
            // Trailers arrive after the header was checked. Names that a client must not send are
            // removed here, because some servers merge trailers into the header. A trailer must not
            // claim an identity that the header could not claim.
            Some(Ok(frame)) => Some(Ok(match frame.into_trailers() {
                Ok(mut trailers) => {
                    this.protected.strip_trailers(&mut trailers);
                    Frame::trailers(trailers)
                }
                Err(data) => data,
            })),
            Some(Err(error)) => {
                // The first failure is the cause. Later ones follow from it and are ignored.
                let _ = this.progress.fault.set(RequestFault::of(&error));
                Some(Err(error))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
