//! The target of a request in one canonical form: method, host and path.
//!
//! `Target::parse` is the first check of every request. It refuses a target that two servers could
//! read differently, so that everything after it works with one reading. It also bounds the size of
//! the target and the number of header fields. The pipeline calls it before it looks at routes or
//! credentials.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{Method, Version, header, request};
use hyper::ext::Protocol;

use super::error::TargetError;
use super::framing;
use super::path::{self, PathAnomalies, PrefixReplacement};
use crate::authority::Authority;
use crate::client::RequestBounds;
use crate::dialect::Reason;

/// The method, host and path of a request in canonical form.
#[derive(Clone, Debug)]
pub struct Target {
    method: Method,
    named: Option<Authority>,
    /// Path and query as received. These bytes are forwarded.
    raw: PathAndQuery,
    /// The decoded path, if it differs from the one in `raw`.
    decoded: Option<String>,
    oddities: PathAnomalies,
}

impl Target {
    /// Parses the target of a request.
    ///
    /// # Errors
    /// A target or framing that can be read in more than one way, CONNECT and TRACE, a method in
    /// the wrong case, and a target or header above `bounds`.
    pub fn parse(head: &request::Parts, bounds: RequestBounds) -> Result<Self, TargetError> {
        let refused = |reason, cause| TargetError { reason, cause };
        let malformed = |cause| refused(Reason::MalformedRequest, cause);
        // The size comes first: every later check costs time in proportion to the length of the
        // target or the number of fields.
        check_size(head, bounds)?;
        // The listener has already turned a WebSocket's extended CONNECT (RFC 8441) into a GET. An
        // extended CONNECT that is left asks for a protocol that the gateway does not support.
        if head.extensions.get::<Protocol>().is_some() {
            return Err(refused(Reason::NotImplemented, "CONNECT for another protocol"));
        }
        // CONNECT would make the gateway an open proxy. TRACE would echo credentials back to the
        // client (RFC 9110 §9.3.8).
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(refused(Reason::MethodNotAllowed, "CONNECT and TRACE are not taken"));
        }
        if is_misspelled(&head.method) {
            return Err(refused(Reason::MethodNotAllowed, "a method in another case"));
        }
        framing::check(head)?;
        let named = named(head).map_err(malformed)?;
        let raw = raw(head).map_err(malformed)?;
        // `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7). It is the one target that
        // is not a path. It is therefore accepted here, before the check of paths, which requires a
        // leading slash.
        if raw.path() == "*" && head.method == Method::OPTIONS {
            let raw = PathAndQuery::from_static("*");
            let method = Method::OPTIONS;
            let oddities = PathAnomalies::default();
            return Ok(Self { method, named, raw, decoded: None, oddities });
        }
        let (decoded, oddities) =
            path::canonical(raw.path()).map_err(|error| malformed(error.cause()))?;
        let decoded = match decoded {
            Cow::Owned(decoded) => Some(decoded),
            Cow::Borrowed(_) => None,
        };
        Ok(Self { method: head.method.clone(), named, raw, decoded, oddities })
    }

    /// The method as received.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The host without its port, in canonical form. `None` only in HTTP/1.0 without Host.
    pub fn host(&self) -> Option<&str> {
        self.named.as_ref().map(Authority::host)
    }

    /// The host and port as an owned value, for callers that keep them after the request.
    pub fn authority_owned(&self) -> Option<Authority> {
        self.named.clone()
    }

    /// The host with the port that the client named, in canonical form. Empty without a host.
    pub fn authority(&self) -> &str {
        self.named.as_ref().map(Authority::as_str).unwrap_or_default()
    }

    /// The path that is matched against routes: decoded once.
    pub fn path(&self) -> &str {
        self.decoded.as_deref().unwrap_or(self.raw.path())
    }

    /// Path and query that are forwarded: byte for byte as received.
    pub fn raw(&self) -> &PathAndQuery {
        &self.raw
    }

    /// The ambiguous spellings in the path. A route takes the request only if it allows all of them
    /// and every reading leads to that route.
    pub fn oddities(&self) -> PathAnomalies {
        self.oddities
    }

    /// The path with the prefix `outer` replaced by `inner`, followed by `query`. The caller passes
    /// the query because a credential may have been removed from it after parsing. `inner` is plain
    /// text that does not end with a slash. The result is checked again.
    ///
    /// # Errors
    /// The rest of the path would have been refused as a path of its own.
    pub fn replace_prefix(
        &self,
        outer: &str,
        inner: &str,
        query: Option<&str>,
        allowed: PathAnomalies,
    ) -> Result<PathAndQuery, TargetError> {
        let refused = |cause| TargetError { reason: Reason::MalformedRequest, cause };
        let replaced =
            path::replace(self.raw.path(), query, PrefixReplacement { outer, inner }, allowed)
                .map_err(|error| refused(error.cause()))?;
        replaced.try_into().map_err(|_| refused("the path without its prefix is not a path"))
    }
}

/// True for a method of RFC 9110 or RFC 5789 in the wrong case. Methods are case-sensitive (RFC
/// 9110 §9.1), so `trace` is unknown to the gateway. The upstream may ignore case and run a method
/// that the route does not allow.
fn is_misspelled(method: &Method) -> bool {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    let said = method.as_str();
    said.bytes().any(|byte| byte.is_ascii_lowercase())
        && KNOWN.iter().any(|known| known.as_str().eq_ignore_ascii_case(said))
}

/// Refuses a target that is too long (414) or too many header lines (431). The listener has already
/// bounded the lines of an HTTP/1 header, but not those of HTTP/2.
fn check_size(head: &request::Parts, bounds: RequestBounds) -> Result<(), TargetError> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > bounds.uri_bytes {
        return Err(TargetError { reason: Reason::UriTooLong, cause: "the target is too long" });
    }
    if head.headers.len() > bounds.header_count {
        let cause = "too many header fields";
        return Err(TargetError { reason: Reason::HeadersTooLarge, cause });
    }
    Ok(())
}

/// Path and query that are forwarded. The authority form `GET example.com:443` has no path and is
/// refused; it is not read as `/`.
///
/// # Errors
/// Another scheme than http and https, and a target without a path.
fn raw(head: &request::Parts) -> Result<PathAndQuery, &'static str> {
    let plain =
        |scheme: &str| ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http));
    if !head.uri.scheme_str().is_none_or(plain) {
        return Err("a target with another scheme");
    }
    let raw = head.uri.path_and_query().ok_or("a target without a path")?;
    if raw.as_str().starts_with('?') {
        // The path of `http://host?query` is empty, and an empty path means `/` (RFC 9110 §4.2.3).
        let rooted = format!("/{raw}", raw = raw.as_str());
        return PathAndQuery::try_from(rooted).map_err(|_| "a malformed target");
    }
    Ok(raw.clone())
}

/// The host that the client named, in the authority of the target or in Host. If both are present,
/// they must agree (RFC 9112 §3.2, RFC 9113 §8.3.1): otherwise the gateway could route by one host
/// and the upstream by the other.
fn named(head: &request::Parts) -> Result<Option<Authority>, &'static str> {
    if framing::repeated(&head.headers, &header::HOST) {
        return Err("more than one Host");
    }
    let parse = |text: &str| Authority::parse(text).ok_or("a malformed host");
    let authority = head.uri.authority().map(|authority| parse(authority.as_str())).transpose()?;
    let host = match head.headers.get(header::HOST) {
        Some(host) => Some(parse(host.to_str().map_err(|_| "a malformed host")?)?),
        None => None,
    };
    match (authority, host) {
        (Some(authority), Some(host)) if authority != host => Err("two hosts that differ"),
        // HTTP/1.1 requires Host even with an absolute target (RFC 9112 §3.2). In HTTP/2 the
        // `:authority` pseudo-header may stand alone (RFC 9113 §8.3.1). HTTP/1.0 knows no Host, so
        // a request without one is accepted there.
        (Some(_), None) if head.version <= Version::HTTP_11 => Err("no Host"),
        (Some(named), _) | (None, Some(named)) => Ok(Some(named)),
        (None, None) if head.version == Version::HTTP_10 => Ok(None),
        (None, None) => Err("no Host"),
    }
}
