//! The fields that tell an upstream about the client: addresses, host, scheme, request id, trace.
//!
//! Fields of a trusted proxy are continued and never copied unchecked; `strip_inbound` has removed
//! those of all other clients before. The pipeline calls `set_forwarded` after the decision.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use uuid::{Builder, Uuid};

use super::{
    HeaderFacts, PathPrefix, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT,
    X_FORWARDED_PREFIX, X_FORWARDED_PROTO, X_REAL_IP, X_REQUEST_ID,
};
use crate::client::{AddressText, Client, Scheme};
use crate::clock::Timestamp;
use crate::secret::RandomPool;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The id of one request in the logs of the gateway and of its upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

/// Longest id in bytes that is accepted. Longer ones are replaced, so that nobody can fill the logs
/// with them.
const MAX_REQUEST_ID: usize = 128;

impl RequestId {
    /// The id that a trusted proxy gave the request, or a new UUID v7 (RFC 9562 §5.7). Invariant:
    /// it is called before `strip_inbound`, which removes the field. An id from any other client is
    /// ignored: it could imitate another request in the logs.
    pub fn choose(
        headers: &HeaderMap,
        client: &Client,
        now: Timestamp,
        randomness: &RandomPool,
    ) -> Self {
        let given = headers.get(X_REQUEST_ID).filter(|value| is_request_id(value.as_bytes()));
        match given {
            Some(given) if client.trusted_proxy => Self(given.clone()),
            _ => Self::new(now, randomness),
        }
    }

    /// A new id.
    pub fn new(now: Timestamp, randomness: &RandomPool) -> Self {
        // `Uuid::now_v7` would draw its randomness by a system call for each request. The worker's
        // own generator needs none.
        let random = randomness.draw();
        let id = Builder::from_unix_timestamp_millis(now.millis(), &random).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as the value of a header field.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }
}

/// True for an id of bounded length without characters that could confuse a log.
fn is_request_id(value: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&value.len())
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._~+/=:-".contains(byte))
}

/// About the largest number of fields that the gateway adds to a request.
const FIELDS_OF_OURS: usize = 16;

/// Sets the fields about the client, the requested host and the request's id.
pub fn set_forwarded(headers: &mut HeaderMap, facts: &HeaderFacts<'_>) {
    // Space for these fields and the identity is reserved at once. Otherwise the map would grow
    // twice.
    headers.reserve(FIELDS_OF_OURS);
    set_addresses(headers, facts.client);
    let scheme = facts.client.scheme;
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    set_host(headers, facts);
    set_prefix(headers, facts);
    headers.insert(X_REQUEST_ID, facts.request_id.0.clone());
    headers.append(header::VIA, HeaderValue::from_static("1.1 tollhouse"));
    set_trace(headers, facts.request_id);
}

/// Sets `X-Forwarded-For` and `X-Real-IP`. Behind a trusted proxy, the proxy's list is continued by
/// the proxy's own address; otherwise the list begins with the client. `X-Real-IP` always has the
/// one address that the gateway believes.
fn set_addresses(headers: &mut HeaderMap, client: &Client) {
    let peer = client.peer.map(|peer| peer.ip());
    let Some(address) = client.address.or(peer) else { return };
    let real = client.address_text.of(address).clone();
    let chain = match (peer, client.trusted_proxy) {
        (Some(peer), true) => match joined(headers) {
            Some(previous) => text_value(&format!("{previous}, {}", peer.to_canonical())),
            None => AddressText::default().of(peer).clone(),
        },
        // A trusted proxy on a unix socket has no address to add.
        (None, true) => joined(headers).map_or(real.clone(), |previous| text_value(&previous)),
        (_, false) => real.clone(),
    };
    headers.insert(X_FORWARDED_FOR, chain);
    headers.insert(X_REAL_IP, real);
}

/// All `X-Forwarded-For` lines as one list; lines that are not text are left out.
fn joined(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let previous = lines.collect::<Vec<_>>().join(", ");
    (!previous.is_empty()).then_some(previous)
}

/// Sets `Host` and the fields about it. The upstream gets the host that the client named: it builds
/// links from it, and one upstream may serve several hosts. A trusted proxy's own
/// `X-Forwarded-Host` and `X-Forwarded-Port` stay.
fn set_host(headers: &mut HeaderMap, facts: &HeaderFacts<'_>) {
    let host = match headers.get(header::HOST) {
        // The host nearly always is canonical already. The bytes are then shared and not copied.
        Some(said) if said.as_bytes() == facts.authority.as_bytes() => said.clone(),
        _ => {
            let host = text_value(facts.authority);
            headers.insert(header::HOST, host.clone());
            host
        }
    };
    let trusted = facts.client.trusted_proxy;
    if !(trusted && headers.contains_key(X_FORWARDED_HOST)) {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if !(trusted && headers.contains_key(X_FORWARDED_PORT)) {
        let port = match (facts.port(), facts.client.scheme) {
            (Some(port), _) => text_value(port),
            (None, Scheme::Https) => HeaderValue::from_static("443"),
            (None, Scheme::Http) => HeaderValue::from_static("80"),
        };
        headers.insert(X_FORWARDED_PORT, port);
    }
}

/// Sets `X-Forwarded-Prefix`. If a trusted proxy removed a prefix before the gateway did, then its
/// prefix comes first. Upstreams use it to build links that lead back through the gateway.
fn set_prefix(headers: &mut HeaderMap, facts: &HeaderFacts<'_>) {
    let Some(PathPrefix { outer: prefix, .. }) = facts.prefix else { return };
    // If only the upstream has a prefix, then the client's path begins at the root, and there is
    // nothing to tell.
    if prefix.is_empty() {
        return;
    }
    let outer = headers.get(X_FORWARDED_PREFIX).and_then(|value| value.to_str().ok());
    let value = match outer {
        Some(outer) => text_value(&format!("{}{prefix}", outer.trim_end_matches('/'))),
        None => text_value(prefix),
    };
    headers.insert(X_FORWARDED_PREFIX, value);
}

/// Passes a valid trace on, or begins a new one (W3C Trace Context §3.2). A new trace is marked as
/// sampled, because an upstream assumes that of a request without a trace. An invalid `traceparent`
/// is replaced, and `tracestate` is removed, because it belongs to the old trace.
fn set_trace(headers: &mut HeaderMap, request_id: &RequestId) {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let valid = match (given.next(), given.next()) {
        (Some(only), None) => is_traceparent(only.as_bytes()),
        _ => false,
    };
    if valid {
        return;
    }
    headers.remove(TRACESTATE);
    // The request's id is used if it is a UUID, so that one id finds the request in logs and in
    // traces.
    let id = Uuid::try_parse(request_id.as_str()).unwrap_or_else(|_| Uuid::new_v4());
    let mut digits = [0; uuid::fmt::Simple::LENGTH];
    let trace = id.simple().encode_lower(&mut digits);
    let mut text = String::with_capacity(55);
    // The second half of the UUID is nearly all random and never zero, so it can serve as the span
    // id.
    for part in ["00-", trace, "-", trace.get(16..).unwrap_or_default(), "-01"] {
        text.push_str(part);
    }
    // Invariant: hexadecimal digits and dashes are valid in a field's value.
    headers.insert(TRACEPARENT, text.try_into().unwrap_or(HeaderValue::from_static("")));
}

/// True for a valid `traceparent` value (W3C Trace Context §3.2.2). Versions after 00 may have more
/// fields. All zeros and the version ff are invalid.
fn is_traceparent(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'-');
    let mut field = |length: usize| {
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        parts.next().filter(|part| part.len() == length && part.iter().all(hex))
    };
    let version = field(2);
    let trace = field(32);
    let span = field(16);
    let flags = field(2);
    let zero = |part: Option<&[u8]>| part.is_none_or(|part| part.iter().all(|byte| *byte == b'0'));
    version.is_some_and(|version| version != b"ff" && (version != b"00" || value.len() == 55))
        && !zero(trace)
        && !zero(span)
        && flags.is_some()
}

/// A text as a field's value. Invariant: the text was checked before (addresses, a parsed
/// authority, a configured prefix). If that were wrong, the value would be empty.
fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_short_and_plain() {
        for (id, good, why) in [
            ("a-b_c", true, "all of the list's kinds"),
            ("0190b2c4-7d3a", true, "a UUID's bytes"),
            ("", false, "empty"),
            ("a b", false, "a space"),
            (&"a".repeat(129), false, "too long"),
        ] {
            assert_eq!(is_request_id(id.as_bytes()), good, "{why}");
        }
    }

    #[test]
    fn only_valid_traces_are_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (value, valid, why) in [
            (good, true, "the example of the standard"),
            (&good.to_uppercase(), false, "upper case"),
            (&good.replace("b7ad6b7169203331", "0000000000000000"), false, "no parent"),
            (&format!("{good}-x"), false, "version 00 has four parts"),
            (&good.replacen("00", "ff", 1), false, "version ff is forbidden"),
            (&format!("{}-x", good.replacen("00", "01", 1)), true, "later versions may say more"),
            ("", false, "empty"),
        ] {
            assert_eq!(is_traceparent(value.as_bytes()), valid, "{why}");
        }
    }
}
