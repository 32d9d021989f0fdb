//! Header fields on their way through the gateway: which client fields are removed, and which
//! fields the gateway sets.
//!
//! The order is a rule of security: `as_upgrade`, `RequestId::choose`, `strip_inbound`, the
//! decision, `remove_credentials`, `set_forwarded`, `set_identity`, `HeaderEdits::apply`. The
//! gateway's own fields are added after the client's hop-by-hop fields were removed; otherwise a
//! client could name them in `Connection` and have them removed. The pipeline and `upstream` are
//! the callers.

mod call_credential;
mod credential_removal;
mod extended_connect;
mod foreign_fields;
mod identity;
mod inbound;
mod outbound;
mod response;
mod rules;

use http::HeaderMap;
use http::header::{self, HeaderName};

use crate::client::Client;
use crate::identity::Identity;

pub use self::call_credential::set_call_credential;
pub use self::credential_removal::{
    CredentialFields, ForwardedCredential, QueryCredentials, remove_credentials, remove_from_query,
};
pub use self::extended_connect::{as_upgrade, is_by_connect};
pub use self::foreign_fields::{foreign_fields, is_foreign};
pub use self::identity::{identity_fields, set_identity};
pub use self::inbound::{ReservedHeaders, count_hop, strip_inbound};
pub use self::outbound::{RequestId, set_forwarded};
pub use self::rules::{HeaderEdits, RuleError};

pub(crate) use self::call_credential::set_carried;
pub(crate) use self::response::{bare, clean_response, rewrite_location};

/// The facts about a request from which fields are made.
#[derive(Clone, Copy, Debug)]
pub struct HeaderFacts<'a> {
    pub client: &'a Client,
    /// The caller's identity. Invariant: it has been verified.
    pub identity: Option<&'a Identity>,
    pub request_id: &'a RequestId,
    /// The canonical host without its port.
    pub host: &'a str,
    /// The host as the client named it, with the port if the client named one. It goes to the
    /// upstream as `Host` and `X-Forwarded-Host`.
    pub authority: &'a str,
    /// The prefix that was taken from the path.
    pub prefix: Option<PathPrefix<'a>>,
}

impl<'a> HeaderFacts<'a> {
    /// The port that the client named.
    fn port(&self) -> Option<&'a str> {
        self.authority.strip_prefix(self.host)?.strip_prefix(':')
    }
}

/// The beginning of a path as the client and as the upstream see it, without a slash at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPrefix<'a> {
    pub outer: &'a str,
    /// The prefix at the upstream; empty if the client's prefix was only removed.
    pub inner: &'a str,
}

const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");
const X_KEY: HeaderName = HeaderName::from_static("x-key");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// True for the fields in which clients present credentials on every route.
pub fn is_credential(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || *name == X_ACCESS_TOKEN || *name == X_KEY
}

/// True if the comma-separated list in all `name` fields has `token`, in any case.
pub(crate) fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token.as_bytes()))
}

/// The elements of the comma-separated list in all `name` fields.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Removes the fields that are meant for one connection only, and those that `Connection` names
/// (RFC 9110 §7.6.1). The named fields are removed before `Connection` itself, which lists them.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        // The two usual values name no field, or one that is removed below. Skipping them saves a
        // search for nearly every request.
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
    // One pass over the names is cheaper than a search for each field that could be present.
    remove_where(headers, is_hop_by_hop);
}

/// True for the fields of one connection, `Connection` included.
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

/// Removes every field for which `unwanted` is true. Allocates only if there is one.
fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// True for fields that `Connection` must not be able to remove. Without them, the upstream would
/// read another message than the gateway checked. A client could otherwise name `Content-Length`
/// there and smuggle a second request in the body.
fn frames_the_message(name: &HeaderName) -> bool {
    *name == header::HOST || *name == header::CONTENT_LENGTH || *name == header::CONTENT_TYPE
}
