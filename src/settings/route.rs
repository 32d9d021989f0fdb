//! `[[route]]`: which requests are forwarded to which upstream, and who may make them.
//!
//! The order of routes has no meaning; `routing` chooses the closest match.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;
use serde::{Serialize, Serializer};

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
use super::written;
use crate::dialect::{CallCarrier, Carrier, CorsPolicy, ErrorFormat};

/// One route. Every setting has its final value here: defaults were filled in and names resolved.
#[derive(Clone, Debug, Serialize)]
pub struct RouteSettings {
    /// The name in logs and metrics. The default is made of hosts, methods and path.
    #[serde(skip_serializing_if = "is_made_up")]
    pub name: String,
    /// The path as written: `/prefix`, `=/exact`, or a pattern with `{segments}`.
    pub path: String,
    /// Host names in lower case; `*` for all.
    pub hosts: Vec<String>,
    /// Empty: all methods except CONNECT and TRACE.
    #[serde(serialize_with = "written::texts", skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// The kinds of credentials that are accepted; empty: no credential is needed.
    pub auth: Vec<CredentialKind>,
    /// Names of the user sources whose passwords are accepted, in order; empty without `basic`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// The name of the `[[signature]]` that is accepted; `None` without `signature` in `auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Names of the issuers whose tokens are accepted (`self` is the gateway); empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// Names of the logins whose tokens are accepted; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<String>,
    #[serde(serialize_with = "written::size")]
    pub body_limit: u64,
    /// The form of error answers.
    #[serde(serialize_with = "error_format")]
    pub errors: Arc<ErrorFormat>,
    /// False: a refusal is only logged, and the request is forwarded all the same (a trial run).
    pub enforce: bool,
    /// Accept `access_token` and `x_key` in the query as a pair of token and key.
    pub query_credentials: bool,
    pub allow_path: Vec<AllowPath>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limit: Vec<RateLimit>,
    #[serde(flatten)]
    pub action: RouteAction,
    #[serde(flatten)]
    pub identity: IdentityForm,
    /// Credentials that are forwarded without verification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pass: Vec<PassRule>,
    pub forward_credential: bool,
    /// Tell the upstream the certificate that the client showed.
    pub forward_certificate: bool,
    pub allow_method_override: bool,
    /// Fields of other gateways that clients may send.
    #[serde(serialize_with = "written::texts")]
    pub allow_headers: Vec<HeaderName>,
    pub mirror: Option<MirrorSettings>,
    pub compression: CompressionSettings,
    pub request_headers: HeaderRules,
    #[serde(flatten)]
    pub streams: RouteStreams,
    /// How the path is rewritten before it is forwarded.
    #[serde(flatten)]
    pub prefix: PrefixRule,
    pub maintenance: Option<MaintenanceMode>,
    #[serde(skip_serializing_if = "RouteCors::is_none")]
    pub cors: RouteCors,
    pub require: RequireRule,
    pub response_headers: HeaderRules,
    /// The upstream ignores case in paths, so the gateway must match paths in the same way. Set by
    /// the upstream's configuration, not by the route's. It is not set while the route is read.
    #[serde(skip)]
    pub case_insensitive: bool,
}

/// Conditions on an identity. All parts must be fulfilled; an empty part demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequireRule {
    /// The identity must have one of these.
    pub roles: Vec<String>,
    /// The identity must have all of these.
    pub scopes: Vec<String>,
    /// Each value must be equal to the claim, or be an element of it if the claim is a list.
    #[serde(serialize_with = "written::entries")]
    pub claims: Vec<(String, serde_json::Value)>,
}

/// How the identity of the caller is passed to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "identity", content = "identity_header", rename_all = "snake_case")]
pub enum IdentityForm {
    /// `X-Auth-…` headers.
    Headers,
    /// A short-lived token for this upstream, signed by the gateway, in the named field.
    Jwt(#[serde(serialize_with = "written::text")] HeaderName),
    /// The upstream is not told.
    None,
}

/// How cross-origin calls (CORS) to a route are handled.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteCors {
    /// A preflight is handled like any other request, so it needs a credential and is usually
    /// refused.
    None,
    /// Preflights are forwarded to the upstream, without credential or identity.
    Upstream,
    /// The gateway answers preflights, and replaces the upstream's CORS fields.
    #[serde(untagged)]
    Own(#[serde(serialize_with = "written::cors")] Arc<CorsPolicy>),
}

/// Spellings of a path that are refused, unless a route allows them. Servers disagree about their
/// meaning, so a path could mean one thing to the gateway and another to the upstream. An attacker
/// could use the difference to reach a protected path through an open route (path confusion).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

    /// True if the route takes tokens as logins carry theirs.
    pub fn takes_logins(&self) -> bool {
        self.auth.contains(&CredentialKind::Login)
    }

    /// True if the route takes the carrier as a kind of credential of its own. The rules of that kind
    /// hold for it then, also for tokens of other issuers.
    pub fn has_as_kind(&self, carrier: &CallCarrier) -> bool {
        let takes = |kind| self.auth.contains(&kind);
        match carrier {
            CallCarrier::Token(Carrier::Scheme(scheme)) => {
                scheme.eq_ignore_ascii_case("bearer") && takes(CredentialKind::Bearer)
            }
            CallCarrier::Token(_) => false,
            CallCarrier::Pair(pair) => {
                let is = |place: &Carrier, name: &str| matches!(place, Carrier::Field(field) if field == name);
                is(&pair.token, "x-access-token")
                    && is(&pair.key, "x-key")
                    && pair.fact.is_none()
                    && takes(CredentialKind::TokenKey)
            }
        }
    }

    /// True if the route needs no credential.
    pub fn is_open(&self) -> bool {
        self.auth.is_empty()
    }
}

impl RouteCors {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// True for a name that was made of the path. No name that an operator chooses has a slash.
fn is_made_up(name: &str) -> bool {
    name.contains('/')
}

fn error_format<S: Serializer>(errors: &ErrorFormat, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(errors.name())
}
