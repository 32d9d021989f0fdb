//! Removes from a request the fields that a client must not send to an upstream.
//!
//! Upstreams trust the gateway's fields, so a client must not be able to send them. A name is
//! recognised in every spelling that some server reads as the same name: in any case, and with any
//! other byte in place of a dash (CGI reads `X_Auth_Subject` as `X-Auth-Subject`, and some servers
//! read `X.Auth.Subject` so, too). The pipeline calls `strip_inbound` before the decision.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

use super::extended_connect::is_by_connect;
use super::foreign_fields::is_foreign;
use super::{X_ACCESS_TOKEN, X_KEY, is_hop_by_hop, lists, remove_where, strip_hop_by_hop, tokens};
use crate::client::Client;

/// Prefixes of names that only the gateway may use towards an upstream.
const PREFIXES: [&str; 3] = ["x-auth-", "x-forwarded-", "proxy-"];

/// Names that only the gateway may use, and names that make an upstream read another request. CGI
/// programs read `Proxy` as the variable `HTTP_PROXY`. The gateway does not write `Forwarded`, so a
/// client's field would lack the gateway's hop.
const NAMES: [&str; 7] = [
    "x-real-ip",
    "x-request-id",
    "forwarded",
    "proxy",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
];

const OVERRIDES: [&str; 3] = ["x-http-method", "x-http-method-override", "x-method-override"];

/// Names that may pass as they are, but not in another spelling.
const NO_ALIAS: [&str; 8] = [
    "x-access-token",
    "x-key",
    "content-length",
    "content-type",
    "transfer-encoding",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Fields in which a trusted proxy may describe the client.
const FROM_TRUSTED: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
];

/// The names that clients must not send on one route.
#[derive(Debug, Default)]
pub struct ReservedHeaders {
    /// Names besides the fixed ones, folded.
    names: Vec<Box<str>>,
    /// Identity fields of other gateways that the route lets through, in their exact spelling.
    allowed: Vec<HeaderName>,
    /// Fields with credentials, such as API keys. They pass to the decision, but not in another
    /// spelling, and not as a trailer.
    credentials: Vec<HeaderName>,
    /// A bit set of the lengths of the names: bit n stands for n bytes, bit 63 for 63 or more. It
    /// rules out most fields without a comparison. The fixed names are found by their first letter
    /// instead.
    lengths: u64,
}

impl ReservedHeaders {
    /// The names for a route whose upstream gets these fields from the gateway.
    pub fn new<'a>(set: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let mut protected = Self::default();
        for name in set {
            let name: String = name.as_str().bytes().map(|byte| char::from(folded(byte))).collect();
            protected.lengths |= length_bit(name.len());
            protected.names.push(name.into());
        }
        protected
    }

    /// Adds fields in which credentials are presented.
    #[must_use]
    pub fn with_credentials<'a>(mut self, names: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        for name in names {
            self.lengths |= length_bit(name.as_str().len());
            self.credentials.push(name.clone());
        }
        self
    }

    /// Adds the fields of other gateways that the route lets through.
    #[must_use]
    pub fn allowing(mut self, names: &[HeaderName]) -> Self {
        self.allowed = names.to_vec();
        self
    }

    /// True if a client must not send `name`.
    fn removes(&self, name: &str, trusted: bool, allow_method_override: bool) -> bool {
        if self.lengths & length_bit(name.len()) != 0 {
            if let Some(field) = self.credentials.iter().find(|field| alias_of(name, field)) {
                return field.as_str() != name;
            }
            if self.names.iter().any(|reserved| alike(name, reserved)) {
                return true;
            }
        }
        // All fixed names begin with one of these letters. Most fields end here after one
        // comparison.
        match name.as_bytes().first() {
            Some(b'x' | b'f' | b'p' | b'c' | b't') => {}
            Some(b'i' | b'o' | b'r' | b's') => return self.is_foreign(name),
            _ => return false,
        }
        if PREFIXES.iter().any(|prefix| begins(name, prefix)) {
            let is_trusted = trusted && FROM_TRUSTED.contains(&name);
            return !(is_trusted || self.lets_pass(name));
        }
        NAMES.iter().any(|reserved| alike(name, reserved))
            || NO_ALIAS.iter().any(|reserved| *reserved != name && alike(name, reserved))
            || (!allow_method_override && OVERRIDES.contains(&name))
            || self.is_foreign(name)
    }

    /// True for an identity field of another gateway that the route does not let through.
    fn is_foreign(&self, name: &str) -> bool {
        is_foreign(name) && !self.lets_pass(name)
    }

    /// True if the route lets this field of another gateway through.
    fn lets_pass(&self, name: &str) -> bool {
        self.allowed.iter().any(|allowed| *allowed == name)
    }

    /// Removes from `trailers` everything that a header must not contain either, and credentials.
    /// Some servers merge trailers into the header (RFC 9110 §6.5.1), after the gateway's checks. A
    /// credential in a trailer would be read by an upstream although it was never verified.
    pub(crate) fn strip_trailers(&self, trailers: &mut HeaderMap) {
        remove_where(trailers, |name| {
            self.removes(name.as_str(), false, false)
                || [header::AUTHORIZATION, header::COOKIE, header::HOST, X_ACCESS_TOKEN, X_KEY]
                    .contains(name)
                || self.credentials.contains(name)
        });
        strip_hop_by_hop(trailers);
    }
}

/// Removes from a request the fields that its client must not send: hop-by-hop fields, identity and
/// forwarding fields, overrides of method and path. Credentials stay for the decision.
///
/// A request for an upgrade that could be tunnelled keeps `Upgrade`, with a `Connection` field of
/// the gateway's.
pub fn strip_inbound(
    head: &mut Parts,
    protected: &ReservedHeaders,
    client: &Client,
    allow_method_override: bool,
) {
    let trusted = client.trusted_proxy;
    let removed =
        |name: &HeaderName| protected.removes(name.as_str(), trusted, allow_method_override);
    // Most requests have nothing to remove. One pass over the names finds that out without
    // allocating.
    if !head.headers.keys().any(|name| is_hop_by_hop(name) || removed(name)) {
        return;
    }
    let upgrade = upgrade(head);
    let headers = &mut head.headers;
    let trailers = lists_trailers(headers);
    strip_hop_by_hop(headers);
    remove_where(headers, removed);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Counts this hop for a request that limits its hops by `Max-Forwards` (RFC 9110 §7.6.2). False if
/// the request must not be forwarded any further and the gateway has to answer. Only OPTIONS and
/// TRACE have such a limit.
pub fn count_hop(head: &mut Parts) -> bool {
    if head.method != Method::OPTIONS && head.method != Method::TRACE {
        return true;
    }
    let Some(left) = head.headers.get(header::MAX_FORWARDS) else { return true };
    // A value that is not a number limits nothing and is passed on unchanged.
    match left.to_str().ok().and_then(|left| left.parse::<u32>().ok()) {
        Some(0) => false,
        Some(left) => {
            head.headers.insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
            true
        }
        None => true,
    }
}

/// The protocol of an upgrade request, if it could be tunnelled. Another version of HTTP, or TLS,
/// is never tunnelled: the requests inside would pass without any check (h2c smuggling). The
/// gateway checks a request once, and cannot see those inside a tunnel.
fn upgrade(head: &Parts) -> Option<HeaderValue> {
    let mut upgrades = head.headers.get_all(header::UPGRADE).iter();
    let protocol = upgrades.next()?;
    if upgrades.next().is_some() {
        return None;
    }
    let name = protocol.as_bytes();
    let token = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(byte));
    let nested = [&b"h2"[..], b"h3", b"http", b"tls"]
        .iter()
        .any(|prefix| name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix)));
    let may_ask = head.version == Version::HTTP_11 || is_by_connect(&head.extensions);
    (may_ask
        && head.method != Method::CONNECT
        && lists(&head.headers, header::CONNECTION, "upgrade")
        && !name.is_empty()
        && token
        && !nested)
        .then(|| protocol.clone())
}

/// True if the client accepts trailers.
fn lists_trailers(headers: &HeaderMap) -> bool {
    // `TE: trailers;q=0` is not valid, because `trailers` has no weight (RFC 9110 §10.1.4).
    tokens(headers, header::TE).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

/// A byte of a name as the most lenient server reads it.
fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// True if a lenient server reads `name` as the folded name `reserved`.
fn alike(name: &str, reserved: &str) -> bool {
    name.len() == reserved.len() && begins(name, reserved)
}

/// True if a lenient server reads the two as the same name.
pub(super) fn alias_of(name: &str, reserved: &HeaderName) -> bool {
    let reserved = reserved.as_str();
    name.len() == reserved.len() && name.bytes().map(folded).eq(reserved.bytes().map(folded))
}

/// True if a lenient server reads `name` as one that begins with the folded `prefix`.
fn begins(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name.bytes().zip(prefix.bytes()).all(|(byte, reserved)| folded(byte) == reserved)
}

/// The bit of a length in `ReservedHeaders::lengths`.
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_names_are_known_in_every_spelling() {
        let set = HeaderName::from_static("x-tenant");
        let allowed = ["x-remote-user", "x-forwarded-email"].map(HeaderName::from_static);
        let protected = ReservedHeaders::new([&set]).allowing(&allowed);
        for (name, trusted, removed, why) in [
            ("x-auth-subject", true, true, "identity, whoever says it"),
            ("x_auth_subject", false, true, "CGI reads an underscore as a dash"),
            ("x.auth-subject", false, true, "some read any byte as a dash"),
            ("x_tenant", false, true, "set by a route"),
            ("x-tenants", false, false, "another name"),
            ("x-forwarded-for", false, true, "not from a stranger"),
            ("x-forwarded-for", true, false, "a trusted proxy's word"),
            ("x_forwarded_for", true, true, "nobody spells it so"),
            ("x-forwarded-user", true, true, "not something a proxy knows"),
            ("x_key", true, true, "a credential in disguise"),
            ("x-key", true, false, "credentials are for the decision"),
            ("content_length", true, true, "framing in disguise"),
            ("proxy", false, true, "HTTP_PROXY in CGI"),
            ("x-http-method-override", true, true, "another method than was permitted"),
            ("accept", false, false, "an ordinary field"),
            ("remote-user", true, true, "what other gateways say, whoever says it"),
            ("x_forwarded_user", true, true, "in every spelling"),
            ("ssl_client_s_dn", false, true, "a certificate that nobody showed us"),
            ("cookie", false, false, "a field that begins like one of theirs"),
            ("x-remote-user", false, false, "the route lets it through"),
            ("x_remote_user", false, true, "but not in another spelling"),
            ("x-forwarded-email", false, false, "this one too"),
        ] {
            assert_eq!(protected.removes(name, trusted, false), removed, "{name}: {why}");
        }
    }
}
