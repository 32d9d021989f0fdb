//! What a request asks for, in one form.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{Method, Version, header, request};
use hyper::ext::Protocol;

use super::framing;
use super::path::{self, Oddities};
use crate::client::RequestBounds;
use crate::dialect::Reason;
use crate::host::Authority;

/// Method, host and path of a request, canonical.
#[derive(Clone, Debug)]
pub struct Target {
    method: Method,
    named: Option<Authority>,
    /// As received: what is forwarded.
    raw: PathAndQuery,
    /// Decoded, where that differs from `raw`.
    decoded: Option<String>,
    oddities: Oddities,
}

/// Why a request is refused before anything else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct TargetError {
    pub reason: Reason,
    /// For the log.
    pub cause: &'static str,
}

impl Target {
    /// Reads a request's target.
    ///
    /// # Errors
    /// What can be read in more than one way, or not at all; CONNECT and TRACE; what is too long.
    pub fn parse(head: &request::Parts, bounds: RequestBounds) -> Result<Self, TargetError> {
        let refused = |reason, cause| TargetError { reason, cause };
        let malformed = |cause| refused(Reason::MalformedRequest, cause);
        check_size(head, bounds)?;
        // A WebSocket's CONNECT (RFC 8441) has become a GET before.
        if head.extensions.get::<Protocol>().is_some() {
            return Err(refused(Reason::NotImplemented, "CONNECT for another protocol"));
        }
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(refused(Reason::MethodNotAllowed, "CONNECT and TRACE are not taken"));
        }
        if is_misspelled(&head.method) {
            return Err(refused(Reason::MethodNotAllowed, "a method in another case"));
        }
        framing::check(head)?;
        let named = named(head).map_err(malformed)?;
        let raw = raw(head).map_err(malformed)?;
        if raw.path() == "*" && head.method == Method::OPTIONS {
            let raw = PathAndQuery::from_static("*");
            let (method, oddities) = (Method::OPTIONS, Oddities::default());
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

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The host without its port; `None` only in HTTP/1.0.
    pub fn host(&self) -> Option<&str> {
        self.named.as_ref().map(Authority::host)
    }

    /// The same, to be kept.
    pub fn named(&self) -> Option<Authority> {
        self.named.clone()
    }

    /// The host with the port that the client named, canonical.
    pub fn authority(&self) -> &str {
        self.named.as_ref().map(Authority::as_str).unwrap_or_default()
    }

    /// The path as it is matched: decoded once.
    pub fn path(&self) -> &str {
        self.decoded.as_deref().unwrap_or(self.raw.path())
    }

    /// Path and query as they are forwarded: byte for byte as received.
    pub fn raw(&self) -> &PathAndQuery {
        &self.raw
    }

    /// What is odd about the path.
    pub fn oddities(&self) -> Oddities {
        self.oddities
    }

    /// The path with `inner` in place of the prefix `outer`, checked again, with `query` (which may
    /// have lost a credential since the target was read). `inner` is plain and ends with no slash.
    ///
    /// # Errors
    /// Where what is left would have been refused.
    pub fn replace_prefix(
        &self,
        outer: &str,
        inner: &str,
        query: Option<&str>,
        allowed: Oddities,
    ) -> Result<PathAndQuery, TargetError> {
        let refused = |cause| TargetError { reason: Reason::MalformedRequest, cause };
        let replaced = path::replace(self.raw.path(), query, (outer, inner), allowed)
            .map_err(|error| refused(error.cause()))?;
        replaced.try_into().map_err(|_| refused("what is left of the path is no path"))
    }
}

/// True for a method of RFC 9110 or RFC 5789 in another case. Methods are case-sensitive, so it is
/// none of them to us, but it may be one to the server behind us: `trace`, or one that the route
/// does not take.
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

/// Path and query as they are forwarded. `GET example.com:443` names no path, so it is not `/`.
fn raw(head: &request::Parts) -> Result<PathAndQuery, &'static str> {
    let plain =
        |scheme: &str| ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http));
    if !head.uri.scheme_str().is_none_or(plain) {
        return Err("a target with another scheme");
    }
    let raw = head.uri.path_and_query().ok_or("a target without a path")?;
    if raw.as_str().starts_with('?') {
        // `http://host?query`: the path is empty, which is `/` (RFC 9110 §4.2.3).
        let rooted = format!("/{raw}", raw = raw.as_str());
        return PathAndQuery::try_from(rooted).map_err(|_| "a malformed target");
    }
    Ok(raw.clone())
}

/// The host a client named, in the authority of its target or in Host; both must agree
/// (RFC 9112 §3.2, RFC 9113 §8.3.1).
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
        (Some(_), None) if head.version <= Version::HTTP_11 => Err("no Host"),
        (Some(named), _) | (None, Some(named)) => Ok(Some(named)),
        (None, None) if head.version == Version::HTTP_10 => Ok(None),
        (None, None) => Err("no Host"),
    }
}
