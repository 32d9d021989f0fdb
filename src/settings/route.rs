//! `[[route]]`: which requests are forwarded to which upstream, and who may make them.
//!
//! The order of routes has no meaning; `routing` chooses the closest match.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;

use super::action::RouteAction;
use super::auth::CredentialKind;
use super::compression::CompressionSettings;
use super::headers::HeaderRules;
use super::maintenance::MaintenanceMode;
use super::mirror::MirrorSettings;
use super::pass::PassRule;
use super::path::{hosts_meet, is_below};
use super::prefix::PrefixRule;
use super::rate_limit::RateLimit;
use super::route_streams::RouteStreams;
use crate::dialect::{CorsPolicy, ErrorFormat};

/// One route. Every setting has its final value here: defaults were filled in and names resolved.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// The name in logs and metrics. The default is made of hosts, methods and path.
    pub name: String,
    /// The path as written: `/prefix`, `=/exact`, or a pattern with `{segments}`.
    pub path: String,
    /// Host names in lower case; `*` for all.
    pub hosts: Vec<String>,
    /// Empty: all methods except CONNECT and TRACE.
    pub methods: Vec<Method>,
    pub action: RouteAction,
    /// The kinds of credentials that are accepted; empty: no credential is needed.
    pub auth: Vec<CredentialKind>,
    /// Credentials that are forwarded without verification.
    pub pass: Vec<PassRule>,
    /// Names of the user sources whose passwords are accepted, in order; empty without `basic`.
    pub users: Vec<String>,
    /// Names of the issuers whose tokens are accepted (`self` is the gateway); empty: all.
    pub issuers: Vec<String>,
    /// Names of the logins whose tokens are accepted; empty: all.
    pub logins: Vec<String>,
    pub require: RequireRule,
    /// How the path is rewritten before it is forwarded.
    pub prefix: PrefixRule,
    pub maintenance: Option<MaintenanceMode>,
    pub identity: IdentityForm,
    pub forward_credential: bool,
    pub request_headers: HeaderRules,
    pub response_headers: HeaderRules,
    pub body_limit: u64,
    pub streams: RouteStreams,
    /// The form of error answers.
    pub errors: Arc<ErrorFormat>,
    /// False: a refusal is only logged, and the request is forwarded all the same (a trial run).
    pub enforce: bool,
    pub cors: RouteCors,
    /// Accept `access_token` and `x_key` in the query as a pair of token and key.
    pub query_credentials: bool,
    pub allow_path: Vec<AllowPath>,
    /// The upstream ignores case in paths, so the gateway must match paths in the same way. Set by
    /// the upstream's configuration, not by the route's. It is not set while the route is read.
    pub case_insensitive: bool,
    pub allow_method_override: bool,
    /// Fields of other gateways that clients may send.
    pub allow_headers: Vec<HeaderName>,
    pub rate_limit: Vec<RateLimit>,
    pub mirror: Option<MirrorSettings>,
    pub compression: CompressionSettings,
}

/// Conditions on an identity. All parts must be fulfilled; an empty part demands nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequireRule {
    /// The identity must have one of these.
    pub roles: Vec<String>,
    /// The identity must have all of these.
    pub scopes: Vec<String>,
    /// Each value must be equal to the claim, or be an element of it if the claim is a list.
    pub claims: Vec<(String, serde_json::Value)>,
}

/// How the identity of the caller is passed to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityForm {
    /// `X-Auth-…` headers.
    Headers,
    /// A short-lived token for this upstream, signed by the gateway, in the named field.
    Jwt(HeaderName),
    /// The upstream is not told.
    None,
}

/// How cross-origin calls (CORS) to a route are handled.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteCors {
    /// A preflight is handled like any other request, so it needs a credential and is usually
    /// refused.
    None,
    /// Preflights are forwarded to the upstream, without credential or identity.
    Upstream,
    /// The gateway answers preflights, and replaces the upstream's CORS fields.
    Own(Arc<CorsPolicy>),
}

/// Spellings of a path that are refused, unless a route allows them. Servers disagree about their
/// meaning, so a path could mean one thing to the gateway and another to the upstream. An attacker
/// could use the difference to reach a protected path through an open route (path confusion).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowPath {
    Semicolon,
    DoubleSlash,
    EncodedSlash,
    /// An escape that is left after one decoding, or an encoded `?` or `#`.
    Percent,
    /// Characters that some servers convert to separators of paths.
    Unicode,
}

impl RouteSettings {
    /// True if this route may take requests that `other` would get without it. A reload uses it to
    /// find the open streams that a new, stricter route would refuse. Methods are not compared, so
    /// `true` may be too much; a stream then ends that could have gone on.
    pub fn takes_from(&self, other: &Self) -> bool {
        let folded = self.folds_with(other);
        hosts_meet(&self.hosts, &other.hosts) && is_below(&self.path, &other.path, folded)
    }

    /// True if the paths of the two routes are compared without regard to case. One such route is
    /// enough, since it takes the other's spellings as well. Comparing with regard to case would
    /// miss a request that both routes match.
    pub(crate) fn folds_with(&self, other: &Self) -> bool {
        self.case_insensitive || other.case_insensitive
    }

    /// The name of the upstream that the route forwards to, if it forwards.
    pub fn upstream(&self) -> Option<&str> {
        self.action.upstream()
    }

    /// True if the route needs no credential.
    pub fn is_open(&self) -> bool {
        self.auth.is_empty()
    }
}
