//! Header fields on their way through: what a client may not say, what we say instead, and what
//! stays on each side.
//!
//! In the only order that is safe: `RequestId::choose`, `strip_inbound`, the decision,
//! `remove_credentials`, `set_forwarded`, `set_identity`, `Rules::apply`. Fields of ours are
//! added after the client's hop-by-hop fields are gone, so that no `Connection` field of the
//! client's can take ours away.

mod identity;
mod inbound;
mod outbound;
mod response;
mod rules;

use http::HeaderMap;
use http::header::{self, HeaderName};

use crate::client::Client;
use crate::identity::Identity;

pub use self::identity::{identity_fields, set_identity};
pub use self::inbound::{
    CredentialFields, Kept, Protected, count_hop, remove_credentials, remove_from_query,
    strip_inbound,
};
pub use self::outbound::{RequestId, set_forwarded};
pub use self::rules::{RuleError, Rules};

pub(super) use self::response::{bare, clean_response, rewrite_location};

/// What is known of a request when its fields are set.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub client: &'a Client,
    /// Only a proved identity.
    pub identity: Option<&'a Identity>,
    pub request_id: &'a RequestId,
    /// The canonical host, without port.
    pub host: &'a str,
    /// What the client named: the host, with the port if it said one. Goes to the upstream as
    /// `Host` and `X-Forwarded-Host`.
    pub authority: &'a str,
    /// The prefix that was taken from the path.
    pub prefix: Option<Prefix<'a>>,
}

impl<'a> Facts<'a> {
    /// The port that the client named.
    fn port(&self) -> Option<&'a str> {
        self.authority.strip_prefix(self.host)?.strip_prefix(':')
    }
}

/// The beginning of a path as the client and as the upstream see it; without slashes at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<'a> {
    pub outer: &'a str,
    /// Empty where the prefix was only stripped.
    pub inner: &'a str,
}

const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");
const X_KEY: HeaderName = HeaderName::from_static("x-key");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// True for the fields in which clients present credentials.
pub fn is_credential(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || *name == X_ACCESS_TOKEN || *name == X_KEY
}

/// True if the comma-separated list in all `name` fields has `token`, in any case.
pub(super) fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token.as_bytes()))
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Removes what is meant for one connection only (RFC 9110 §7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        // The two that nearly all say name no field, or one that is removed below.
        let is_usual = |token: &&[u8]| token == b"close" || token == b"keep-alive";
        let named: Vec<HeaderName> = tokens(headers, header::CONNECTION)
            .filter(|token| !is_usual(token))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| !frames_the_message(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // One look at each name instead of one search for each that could be there.
    remove_where(headers, is_hop_by_hop);
}

/// True for the fields of one connection, `Connection` among them.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HTTP2_SETTINGS,
];

/// Removes every field whose name is `unwanted`; allocates only if there is one.
fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Fields that a `Connection` field must not be able to take away: the message would be read
/// differently behind us.
fn frames_the_message(name: &HeaderName) -> bool {
    *name == header::HOST || *name == header::CONTENT_LENGTH || *name == header::CONTENT_TYPE
}
