//! A dialect, checked: what `serve` reads and renders by.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Cors, ErrorForm, MemberPath, Template};
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::secret::SecretString;

/// A login wire format.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    pub name: String,
    pub endpoints: Vec<Endpoint>,
    /// Errors of routes that name the dialect, and where no endpoint is meant.
    pub errors: Arc<ErrorForm>,
    /// Added to the standard claims of access tokens; a claim named here replaces a standard one
    /// only where it is `sub` (what is not known is left out, so the standard `sub` stays).
    pub access_claims: Template,
    pub refresh_claims: Template,
    pub defaults: TokenDefaults,
    /// `$user.role_number`: the first role of the table that the user has gives the number.
    pub role_numbers: Vec<(String, i64)>,
    /// The number of a user with none of those roles.
    pub role_number_default: i64,
    pub cors: Option<Cors>,
    /// `$config.…` where the login's configuration says nothing.
    pub config: Map<String, Value>,
    /// Whether the dialect answers an unknown user differently from a wrong password.
    pub tells_unknown_user: bool,
    /// Whether any answer gives out a refresh token; if none does, none need be made.
    pub gives_refresh_token: bool,
    /// Whether any answer gives out the session's key, so that tokens are bound to it (`kh`).
    pub gives_key: bool,
}

impl Dialect {
    /// The number of the first role in the dialect's table that is among `roles`.
    pub fn role_number(&self, roles: &[String]) -> i64 {
        self.role_numbers
            .iter()
            .find(|(role, _)| roles.contains(role))
            .map_or(self.role_number_default, |(_, number)| *number)
    }
}

/// What a dialect wants of its tokens, where `[[login]]` says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenDefaults {
    pub algorithm: Option<Algorithm>,
    pub access_ttl: Option<Duration>,
    pub refresh_ttl: Option<Duration>,
    pub refresh_idle: Option<Duration>,
    /// The session ends with its (only) access token: there is no refresh of any kind.
    pub ends_with_access: bool,
}

/// One path and method of a dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub step: Step,
    pub method: Method,
    /// Exact path, before the login's prefix.
    pub path: String,
    /// Answers only requests without a good token; others go on to the routes.
    pub when_unauthenticated: bool,
    /// Forms of credential, tried in order; those in the body come first.
    pub credential: Vec<CredentialForm>,
    /// Name looked up in the users: login name or e-mail.
    pub account: AccountKey,
    /// What a login waits for after the password.
    pub second_step: SecondStep,
    /// Refresh: whether each makes a new refresh token.
    pub rotates: bool,
    /// The answer where all went well.
    pub reply: Reply,
    /// The answer of a login that waits for its second step.
    pub pending_reply: Option<Reply>,
    /// The dialect's errors, with this endpoint's own laid over them.
    pub errors: Arc<ErrorForm>,
}

impl Endpoint {
    /// Whether it leaves some requests to the routes.
    pub fn falls_through(&self) -> bool {
        self.step == Step::Answer && self.when_unauthenticated
    }
}

/// What an endpoint does; `login` implements each once for all dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A password (or a token to trade or renew) for a session.
    Login,
    /// A code for the session that the login prepared.
    VerifyCode,
    /// A refresh token for a new access token.
    Refresh,
    /// Ends the session.
    Logout,
    /// Ends all sessions of the user.
    LogoutAll,
    /// Tells about the session of the presented access token.
    Session,
    /// Says what a token of ours is worth (RFC 7662), to a program with an API key.
    Introspect,
    /// Ends the session of a token of ours (RFC 7009), for a program with an API key.
    Revoke,
    /// A fixed answer.
    Answer,
}

/// Where a credential sits in a request.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialForm {
    /// Members of a JSON object.
    JsonPassword { name: MemberPath, password: MemberPath },
    /// `Authorization: Basic` (RFC 7617).
    BasicPassword,
    /// Members of a JSON object. Where there is a `ticket`, it proves that the client is who passed
    /// the first step.
    JsonCode { name: MemberPath, code: MemberPath, ticket: Option<MemberPath> },
    /// A member of a JSON object that holds a refresh token.
    JsonRefresh { token: MemberPath },
    /// `Authorization: Bearer`, used as told.
    Bearer(BearerUse),
    /// `X-Access-Token` with `X-Key`.
    TokenKey,
    /// A member of a form that holds the token which the request is about.
    Form { token: String },
}

/// What a Bearer at a login endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BearerUse {
    /// Our access token: logout, session.
    Access,
    /// Our access token, for a fresh one of the same session.
    Renew,
    /// Our refresh token.
    Refresh,
    /// A foreign token to be traded for ours.
    Exchange,
}

/// By which of a user's names a login looks him up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKey {
    #[default]
    Username,
    Email,
}

/// What a login waits for after the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondStep {
    #[default]
    None,
    /// A code sent by mail.
    Mail,
}

/// An answer to be rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: http::StatusCode,
    /// `None`: an empty body.
    pub json: Option<Template>,
}

/// What a client presented at a login endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Presented {
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
    /// No credential: the token that a program asks about.
    About {
        token: SecretString,
    },
}

/// What templates may refer to; what is absent renders as `null` in a whole value.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub now: Timestamp,
    pub login: LoginFacts,
    pub user: Option<UserFacts>,
    pub session: Option<SessionFacts>,
    pub access: Option<TokenFacts>,
    pub refresh: Option<TokenFacts>,
    /// `$pending.ticket`: what the second step has to bring.
    pub ticket: Option<SecretString>,
}

/// `$login.…` and `$config.…`.
#[derive(Clone, Debug, Default)]
pub struct LoginFacts {
    pub name: String,
    pub issuer: String,
    pub audience: Vec<String>,
    pub about: Map<String, Value>,
}

/// `$user.…`.
#[derive(Clone, Debug, Default)]
pub struct UserFacts {
    pub id: String,
    pub name: String,
    pub email: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Map<String, Value>,
}

/// `$session.…`.
#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    pub id: String,
    pub key: Option<SecretString>,
    pub created: Timestamp,
    pub expires: Timestamp,
}

/// `$access.…` and `$refresh.…`.
#[derive(Clone, Debug, Default)]
pub struct TokenFacts {
    /// Empty while the token's own claims are rendered.
    pub token: SecretString,
    pub id: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}
