//! Small answers that the gateway gives itself: health, the key set, challenges, redirects, fixed answers,
//! CORS, and the opening of a tunnel.
//!
//! They are built from checked settings and the request alone; nothing here authenticates or looks
//! anything up. Refusals are built by `rejection`.

pub(crate) mod cors;
pub(crate) mod tunnel;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body::Body as HttpBody;

use crate::body::{Body, Response};
use crate::dialect::Reason;
use crate::settings::{RedirectAction, RespondAction};

/// The answer of `[health] path`: 200, or 503 during a drain, so that a load balancer sends
/// requests elsewhere.
pub(crate) fn health(draining: bool) -> Response {
    let (status, text) = if draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    };
    plain(status, text, "text/plain; charset=utf-8")
}

/// The answer to a challenge of a certificate authority.
pub(crate) fn challenge(key_authorization: String) -> Response {
    plain(StatusCode::OK, key_authorization, "application/octet-stream")
}

/// The public keys of the gateway's tokens (RFC 7517, section 8.5.1). They may be cached for
/// minutes, since a new key is published long before it signs. A key that was revoked disappears
/// from caches within the same time.
pub(crate) fn jwks(keys: bytes::Bytes) -> Response {
    // `plain` forbids caching, so the field is replaced below.
    let mut response = plain(StatusCode::OK, keys, "application/jwk-set+json");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// The answer of a route's `redirect` to a request for `requested`.
pub(crate) fn redirect(redirect: &RedirectAction, requested: &Uri) -> Response {
    // The request's path is appended as it was received, escapes included, so that the new server
    // sees the same path.
    let to = match redirect.keep_path {
        true => format!("{}{requested}", redirect.to),
        false => redirect.to.clone(),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status(redirect.status);
    // Invariant: the target was checked, and the path is one of a parsed request, so both are text.
    let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, to);
    response
}

/// The answer of a route's `respond`.
pub(crate) fn fixed(respond: &RespondAction) -> Response {
    let mut response = Response::new(Body::full(respond.body.clone()));
    *response.status_mut() = status(respond.status);
    let headers = response.headers_mut();
    headers.extend(respond.headers.iter().cloned());
    if let Some(media_type) = &respond.content_type {
        headers.insert(header::CONTENT_TYPE, media_type.clone());
    }
    response
}

/// Turns an answer into one to HEAD: the same fields as for GET, without the body (RFC 9110,
/// section 9.3.2). Over HTTP/2 hyper would send the body. An answer that streams has no known
/// length and is left as it is.
pub(crate) fn leave_body_out(response: &mut Response) {
    if response.body().is_end_stream() || !response.body().is_full() {
        return;
    }
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::empty();
}

/// Converts a status. Invariant: the configuration was checked, so it is valid.
fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer of a plain listener that only redirects to https. It redirects GET and HEAD without
/// credentials. A client that sends anything else has already sent its secret in the clear and must
/// learn of it: 308 would make it repeat the request over https, and nobody would notice the leak.
pub(crate) fn redirect_to_https(
    head: &http::request::Parts,
    authority: &str,
    raw_path: &str,
    has_credential: bool,
) -> Result<Response, Reason> {
    // These fields have credentials by any configuration; `has_credential` is about all others.
    let harmless = matches!(head.method, Method::GET | Method::HEAD);
    let credential = [header::AUTHORIZATION.as_str(), "x-access-token", "x-key", "cookie"]
        .iter()
        .any(|name| head.headers.contains_key(*name))
        || has_credential;
    let location = Uri::builder()
        .scheme("https")
        .authority(authority)
        .path_and_query(raw_path)
        .build()
        .ok()
        .and_then(|uri| HeaderValue::from_str(&uri.to_string()).ok());
    match location {
        Some(location) if harmless && !credential => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
            Ok(response)
        }
        _ => Err(Reason::TlsRequired),
    }
}

fn plain(status: StatusCode, body: impl Into<bytes::Bytes>, media_type: &'static str) -> Response {
    let mut response = Response::new(Body::full(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
