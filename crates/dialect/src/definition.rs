//! The types of a checked dialect: `server` reads requests and renders answers by them, `client`
//! does the reverse.
//!
//! They are plain data and refer to nothing outside the dialect. Invariant: they are made by
//! `check` alone, so every template's placeholders exist, and every endpoint has credentials that
//! go with its step.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value};

use super::endpoint_kinds::{AccountLookup, BearerUse, EndpointStep, SecondStep};
use super::{CorsPolicy, ErrorFormat, MemberPath, Template};
use tollhouse_core::algorithm::Algorithm;
use tollhouse_core::secret::SecretString;

/// A login wire format.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    pub name: String,
    pub endpoints: Vec<Endpoint>,
    /// The errors of routes that name this dialect, and of requests that belong to no endpoint.
    pub errors: Arc<ErrorFormat>,
    /// Claims that are added to the standard claims of access tokens. The only standard claim that
    /// can be replaced is `sub`. A claim whose value is not known is left out, so the standard
    /// `sub` stays in that case.
    pub access_claims: Template,
    pub refresh_claims: Template,
    pub defaults: TokenDefaults,
    /// The table for `$user.role_number`: the number of the first role in this table that the user
    /// has. Such numbers are what some legacy clients expect instead of names.
    pub role_numbers: Vec<(String, i64)>,
    /// The number of a user who has none of these roles.
    pub role_number_default: i64,
    pub cors: Option<CorsPolicy>,
    /// Values of `$config.…` that apply where the login's configuration has none.
    pub config: Map<String, Value>,
    /// True if the dialect answers an unknown user differently from a wrong password. The operator
    /// must allow it, because it shows strangers which users exist. See `reveal_unknown_user` in
    /// `gateway.toml`.
    pub tells_unknown_user: bool,
    /// True if any answer contains a refresh token; otherwise none is made.
    pub gives_refresh_token: bool,
    /// True if any answer contains the session's key. Then access tokens are bound to the key by
    /// the claim `kh` and are accepted only together with it, so a stolen token alone is useless.
    pub gives_key: bool,
}

impl Dialect {
    /// The number of the first role in the dialect's table that is among `roles`, or the default
    /// number. The order of the user's own roles does not matter.
    pub fn role_number(&self, roles: &[String]) -> i64 {
        self.role_numbers
            .iter()
            .find(|(role, _)| roles.contains(role))
            .map_or(self.role_number_default, |(_, number)| *number)
    }
}

/// Preferences of a dialect for its tokens. They apply where `[[login]]` has no value, so that the
/// clients of a legacy system get tokens like those they had before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenDefaults {
    pub algorithm: Option<Algorithm>,
    pub access_ttl: Option<Duration>,
    pub refresh_ttl: Option<Duration>,
    pub refresh_idle: Option<Duration>,
    /// The session ends together with its only access token; there is no refresh of any kind.
    pub ends_with_access: bool,
}

/// One path and method of a dialect, with the step that it carries out.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub step: EndpointStep,
    pub method: Method,
    /// The exact path below the login's prefix. It has one spelling only and is compared byte by
    /// byte, so no two endpoints can match one request.
    pub path: String,
    /// If true, the endpoint answers only requests without a valid token; other requests go on to
    /// the routes. A path can thus be public for a login page and protected for users.
    pub when_unauthenticated: bool,
    /// The forms of credential that are accepted, in the order in which they are tried. Invariant:
    /// forms in the body come before forms in a header. The first form that the request has is
    /// taken.
    pub credential: Vec<CredentialForm>,
    /// The kind of name under which users are looked up: login name or e-mail address.
    pub account: AccountLookup,
    /// The second step of a login after the password.
    pub second_step: SecondStep,
    /// For the step `refresh`: true if each refresh makes a new refresh token (rotation).
    pub rotates: bool,
    /// The answer in case of success.
    pub reply: EndpointReply,
    /// The answer of a login that waits for its second step.
    pub pending_reply: Option<EndpointReply>,
    /// The error answers: those of the dialect, with this endpoint's own entries in front. They are
    /// complete when the configuration is loaded, except for the values that differ between
    /// requests.
    pub errors: Arc<ErrorFormat>,
}

impl Endpoint {
    /// True if the endpoint leaves some requests to the routes.
    pub fn falls_through(&self) -> bool {
        self.step == EndpointStep::Answer && self.when_unauthenticated
    }
}

/// The place of a credential in a request. `server` reads it there, and `client` writes it there
/// when it asks another system.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialForm {
    /// Members of a JSON object.
    JsonPassword { name: MemberPath, password: MemberPath },
    /// `Authorization: Basic` (RFC 7617).
    BasicPassword,
    /// Members of a JSON object. The `ticket`, where the dialect has one, proves that the client is
    /// the one that passed the first step.
    JsonCode { name: MemberPath, code: MemberPath, ticket: Option<MemberPath> },
    /// A member of a JSON object that holds a refresh token.
    JsonRefresh { token: MemberPath },
    /// `Authorization: Bearer` (RFC 6750), for the given purpose.
    Bearer(BearerUse),
    /// `X-Access-Token` with `X-Key`.
    TokenKey,
    /// A parameter of a form with the token that the request is about. It is no credential of the
    /// caller, who authenticates with an API key (RFC 7662, section 2.1).
    Form { token: String },
}

/// A template of an answer in case of success.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointReply {
    pub status: http::StatusCode,
    /// `None` for an empty body.
    pub json: Option<Template>,
}

/// The credential that a client presented at a login endpoint, or the token that it asks about. It
/// was read from the request and not verified yet. Secrets in it are wiped when it is dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum PresentedCredential {
    Password {
        name: String,
        password: SecretString,
    },
    Code {
        name: String,
        code: SecretString,
        ticket: Option<SecretString>,
    },
    Token {
        token: SecretString,
        purpose: BearerUse,
    },
    Pair {
        token: SecretString,
        key: SecretString,
    },
    /// No credential, but the token that a program asks about.
    InspectedToken {
        token: SecretString,
    },
}
