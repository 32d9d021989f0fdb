//! `[[route]]`: what is forwarded where, and to whom it is permitted.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;

use crate::dialect::{Cors, ErrorForm};

/// One rule of the gateway.
#[derive(Clone, Debug)]
pub struct Route {
    /// For logs and metrics; default: host, methods and path.
    pub name: String,
    /// As written: `/prefix`, `=/exact` or a pattern with `{segments}`.
    pub path: String,
    /// Lower-cased; `*` for all.
    pub hosts: Vec<String>,
    /// Empty: all but CONNECT and TRACE.
    pub methods: Vec<Method>,
    /// Name of the `[[upstream]]`.
    pub upstream: String,
    /// Kinds of credentials taken; empty: open to all.
    pub auth: Vec<CredentialKind>,
    /// Names of issuers whose tokens are taken, `self` among them; empty: all.
    pub issuers: Vec<String>,
    /// Names of logins whose tokens are taken; empty: all.
    pub logins: Vec<String>,
    pub require: Require,
    pub strip_prefix: Option<String>,
    pub identity: IdentityForm,
    pub forward_credential: bool,
    pub request_headers: HeaderRules,
    pub response_headers: HeaderRules,
    pub body_limit: u64,
    /// Shape of refusals.
    pub errors: Arc<ErrorForm>,
    pub enforce: bool,
    pub cors: RouteCors,
    /// `access_token` and `x_key` in the query are taken as the pair.
    pub query_credentials: bool,
    pub allow_path: Vec<AllowPath>,
    pub allow_method_override: bool,
}

/// A kind of credential a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Bearer,
    /// `X-Access-Token` with `X-Key`.
    TokenKey,
}

/// What an identity must have; empty parts ask nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Require {
    /// One of these.
    pub roles: Vec<String>,
    /// All of these.
    pub scopes: Vec<String>,
    /// Each equal to the claim, or contained in it where it is a list.
    pub claims: Vec<(String, serde_json::Value)>,
}

/// How the upstream is told who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityForm {
    /// `X-Auth-…` headers.
    Headers,
    /// Not at all.
    None,
}

/// Fields to set and to remove.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderRules {
    pub set: Vec<(HeaderName, Value)>,
    pub remove: Vec<HeaderName>,
}

/// A header value that may hold placeholders; parts are joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Value(pub Vec<ValuePart>);

/// One part of a header value.
#[derive(Clone, Debug, PartialEq)]
pub enum ValuePart {
    Text(String),
    /// `$claims.a.b`: a path into the identity's claims.
    Claim(Vec<String>),
    /// `$subject`, `$username`, `$session`, `$roles`, `$scopes`, `$issuer`, `$source`.
    Subject,
    Username,
    Session,
    Roles,
    Scopes,
    Issuer,
    Source,
    /// `$client.address`
    ClientAddress,
    /// `$request.id`
    RequestId,
    /// `$host`: the canonical host the client asked for.
    Host,
}

/// Cross-origin calls to a route.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteCors {
    /// A preflight is a request like any other.
    None,
    /// Preflights go to the upstream without credential or identity.
    Upstream,
    /// Answered here; the upstream's fields are replaced.
    Own(Arc<Cors>),
}

/// Spellings of a path that are refused unless a route lets them through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowPath {
    Semicolon,
    DoubleSlash,
    EncodedSlash,
}
