//! The client side of a dialect: the reverse of `server`, for asking a system that serves the
//! dialect.
//!
//! `login`, `verify_code`, `refresh` and `logout` put a credential where the dialect wants it, and
//! `RemoteTokens::call` does so for all other requests. `parse_response` reads the answer by the templates that `server` would render. A success must
//! contain its proof, a token or key; other members of the answer are ignored. Only an answer that
//! the dialect defines as a refusal is one. Everything else is `Unexpected`, never "wrong
//! password".
//!
//! This module is pure: it makes a `ClientRequest`, and the caller (`users::http`,
//! `upstream::pool::login`) sends it.

mod answer_head;
mod body_pattern;
mod match_template;
mod remote_tokens;
mod response;
mod values;
mod writer;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Uri};

pub use self::remote_tokens::{CallCredential, CallRefusal, RemoteTokens};
pub use self::response::{LONGEST_ANSWER, LoginOutcome, ReceivedAnswer, parse_response};
pub use self::values::ResponseValues;
pub use self::values::{text, texts};
use self::writer::RequestWriter;
use super::carrier::Carrier;
use super::credential::{CredentialForm, NameOrigin, NameSource};
use super::definition::{Dialect, Endpoint};
use super::endpoint_kinds::{EndpointStep, SecondStep, TokenUse};
use super::placeholders::{Placeholder, PlaceholderName};
use crate::Reason;
use tollhouse_core::secret::SecretString;

/// A request to be sent. Its debug output leaves out headers and body, because they contain the
/// credential. It borrows from the dialect, because the answer is read by the same endpoint.
#[derive(Clone)]
pub struct ClientRequest<'d> {
    /// The endpoint that the request goes to; the answer must be read by the same endpoint.
    pub endpoint: &'d Endpoint,
    pub method: Method,
    /// The path below the address of the system, with its query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The id and secret of the program that calls, where a system wants them beside the user's.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramCredential {
    pub id: String,
    /// `None` for a program that cannot keep a secret.
    pub secret: Option<SecretString>,
}

/// A dialect as a program speaks it.
#[derive(Clone, Copy, Debug)]
pub struct DialectClient<'d> {
    dialect: &'d Dialect,
    program: Option<&'d ProgramCredential>,
}

impl<'d> DialectClient<'d> {
    /// The program that speaks, and its own credential if it has one.
    pub fn new(dialect: &'d Dialect, program: Option<&'d ProgramCredential>) -> Self {
        Self { dialect, program }
    }
}

impl<'d> From<&'d Dialect> for DialectClient<'d> {
    fn from(dialect: &'d Dialect) -> Self {
        Self::new(dialect, None)
    }
}

impl<'d> From<&'d Arc<Dialect>> for DialectClient<'d> {
    fn from(dialect: &'d Arc<Dialect>) -> Self {
        Self::new(dialect, None)
    }
}

/// The reasons why a request cannot be made in a dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the dialect has no endpoint that takes it")]
    NoEndpoint,

    /// The dialect's form cannot carry this name or password; so no user of that system can have
    /// them. The caller treats it as a wrong password, without asking the system.
    #[error("it cannot be written in the dialect's form")]
    Unwritable,

    /// The dialect says that a request has this, and not with which value.
    #[error("nothing says what to send as {0}: name it in `send`")]
    Incomplete(String),
}

/// The reasons why a login cannot be delegated in a dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    #[error("has no login by name and password")]
    NoPassword,

    #[error("asks for a second step at every login, which cannot be taken in its user's stead")]
    SecondStep,

    #[error("answers a login with neither token nor key, so that nothing would prove its success")]
    NoProof,

    #[error("does not say what a client sends as {0}: name it in `send` of the login")]
    Incomplete(String),

    #[error("has a login whose parts are in several kinds of body, so that no client can write it")]
    MixedBodies,
}

impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("method", &self.method)
            // The path as it is written and the query may have a credential.
            .field("path", &self.endpoint.path.masked())
            .finish_non_exhaustive()
    }
}

impl ClientRequest<'_> {
    /// The request to the system at the address `base`, whose path comes before the dialect's path.
    ///
    /// # Errors
    ///
    /// If `base` is not an absolute address.
    pub fn request(&self, base: &Uri) -> Result<Request<Bytes>, http::Error> {
        let path = format!("{}{}", base.path().trim_end_matches('/'), self.path);
        let mut parts = base.clone().into_parts();
        parts.path_and_query = Some(path.parse()?);
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_parts(parts)?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

impl Dialect {
    /// Checks whether logins can be delegated to a system that speaks this dialect.
    ///
    /// # Errors
    ///
    /// The reason why they cannot.
    pub fn delegates(&self) -> Result<(), DelegationError> {
        // Delegation needs a login by password, no second step that only the user could take, and
        // an answer whose token or key proves the success. Without a proof, any page with status
        // 200 would let everybody in.
        let (endpoint, form) = password_login(self).ok_or(DelegationError::NoPassword)?;
        if endpoint.second_step != SecondStep::None {
            return Err(DelegationError::SecondStep);
        }
        if !response::proves(endpoint) {
            return Err(DelegationError::NoProof);
        }
        let name = match form {
            CredentialForm::Password {
                name: NameSource { from: NameOrigin::Fixed(name), .. },
                ..
            } => name,
            _ => "name",
        };
        let program = ProgramCredential { id: "id".to_owned(), secret: None };
        match login(DialectClient::new(self, Some(&program)), name, &"password".into()) {
            Ok(_) => Ok(()),
            Err(RequestError::Incomplete(at)) => Err(DelegationError::Incomplete(at)),
            Err(RequestError::NoEndpoint | RequestError::Unwritable) => {
                Err(DelegationError::MixedBodies)
            }
        }
    }

    /// True if a request to this dialect can have the calling program's own id and secret.
    pub fn asks_for_program(&self) -> bool {
        self.endpoints.iter().any(Endpoint::asks_for_program)
    }

    /// True if a refusal of this dialect says whether the user or the password is wrong.
    pub fn hears_unknown_user(&self) -> bool {
        let mut logins =
            self.endpoints.iter().filter(|endpoint| endpoint.step == EndpointStep::Login);
        let is_seen = |endpoint: &Endpoint| {
            endpoint.errors.seen().iter().any(|(reason, _)| *reason == Reason::UnknownUser)
        };
        self.tells_unknown_user || logins.any(is_seen)
    }

    /// True if the answer to a login, or the token in it, contains the user's name or id.
    pub fn tells_name(&self) -> bool {
        self.tells_any(&[PlaceholderName::UserId, PlaceholderName::Username])
    }

    /// True if the answer to a login, or the token in it, contains the user's id.
    pub fn tells_id(&self) -> bool {
        self.tells_any(&[PlaceholderName::UserId])
    }

    fn tells_any(&self, names: &[PlaceholderName]) -> bool {
        // A placeholder inside a longer text counts as well, although the text around it may not be
        // separable.
        let reply = password_login(self).map(|(endpoint, _)| &endpoint.reply);
        names.iter().map(|name| Placeholder::Named(*name)).any(|name| {
            reply.is_some_and(|reply| reply.names(&name)) || self.access_claims.names(&name)
        })
    }
}

/// Makes a login request with name and password.
///
/// # Errors
///
/// If the dialect has no such login, or cannot carry this name and password. An empty name or
/// password is never sent: some systems treat it as an anonymous login, which succeeds.
pub fn login<'d>(
    speaker: impl Into<DialectClient<'d>>,
    name: &str,
    password: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    let speaker = speaker.into();
    let (endpoint, form) = password_login(speaker.dialect).ok_or(RequestError::NoEndpoint)?;
    if name.is_empty() || password.expose().is_empty() {
        return Err(RequestError::Unwritable);
    }
    let mut request = RequestWriter::new(speaker, endpoint);
    match form {
        CredentialForm::Password { name: at, password: carrier, .. } => {
            request.name(at, name)?;
            request.put(carrier, password.expose())?;
        }
        _ => request.basic(name, password)?,
    }
    request.finish()
}

/// Makes the request of the second step, with the code that the user got, and with the ticket that
/// the first step gave.
///
/// # Errors
///
/// If the dialect has no such step.
pub fn verify_code<'d>(
    speaker: impl Into<DialectClient<'d>>,
    name: &str,
    code: &SecretString,
    ticket: Option<&SecretString>,
) -> Result<ClientRequest<'d>, RequestError> {
    let speaker = speaker.into();
    let found = find(speaker.dialect, EndpointStep::VerifyCode, |form| match form {
        CredentialForm::Code { name, code, ticket } => Some((name, code, ticket)),
        _ => None,
    });
    let (endpoint, (known_as, at, carries)) = found.ok_or(RequestError::NoEndpoint)?;
    if name.is_empty() || code.expose().is_empty() {
        return Err(RequestError::Unwritable);
    }
    let mut request = RequestWriter::new(speaker, endpoint);
    request.name(known_as, name)?;
    request.put(at, code.expose())?;
    if let Some((carrier, ticket)) = carries.as_ref().zip(ticket) {
        request.put(carrier, ticket.expose())?;
    }
    request.finish()
}

/// Makes a request for a new access token: with the refresh token, or with the access token itself
/// where the dialect renews it by that.
///
/// # Errors
///
/// If the dialect has neither, or the tokens cannot be sent in its place.
pub fn refresh<'d>(
    speaker: impl Into<DialectClient<'d>>,
    tokens: &RemoteTokens,
) -> Result<ClientRequest<'d>, RequestError> {
    let speaker = speaker.into();
    let dialect = speaker.dialect;
    let by_refresh = find_token(dialect, EndpointStep::Refresh, TokenUse::Refresh);
    if let (Some((endpoint, at)), Some(token)) = (by_refresh, &tokens.refresh) {
        let mut request = RequestWriter::new(speaker, endpoint).about(tokens);
        request.put(at, token.expose())?;
        return request.finish();
    }
    let by_access = find_token(dialect, EndpointStep::Login, TokenUse::Renew);
    let (endpoint, at) = by_access.ok_or(RequestError::NoEndpoint)?;
    let mut request = RequestWriter::new(speaker, endpoint).about(tokens);
    request.put(at, tokens.access.expose())?;
    request.finish()
}

/// Makes the request that ends a session.
///
/// # Errors
///
/// If the dialect has no logout, or the tokens cannot be sent in its place.
pub fn logout<'d>(
    speaker: impl Into<DialectClient<'d>>,
    tokens: &RemoteTokens,
) -> Result<ClientRequest<'d>, RequestError> {
    let speaker = speaker.into();
    let found = find(speaker.dialect, EndpointStep::Logout, |form| match form {
        CredentialForm::Pair(pair) => Some((&pair.token, Some((&pair.key, tokens.key.as_ref()?)))),
        CredentialForm::Token { at, purpose: TokenUse::Access } => Some((at, None)),
        _ => None,
    });
    let (endpoint, (at, pair)) = found.ok_or(RequestError::NoEndpoint)?;
    let mut request = RequestWriter::new(speaker, endpoint).about(tokens);
    request.put(at, tokens.access.expose())?;
    if let Some((at, key)) = pair {
        request.put(at, key.expose())?;
    }
    request.finish()
}

fn find_token(
    dialect: &Dialect,
    step: EndpointStep,
    wanted: TokenUse,
) -> Option<(&Endpoint, &Carrier)> {
    find(dialect, step, |form| match form {
        CredentialForm::Token { at, purpose } if *purpose == wanted => Some(at),
        _ => None,
    })
}

fn password_login(dialect: &Dialect) -> Option<(&Endpoint, &CredentialForm)> {
    find(dialect, EndpointStep::Login, |form| match form {
        CredentialForm::Password { .. } | CredentialForm::BasicPassword => Some(form),
        _ => None,
    })
}

/// The first endpoint of a step that has a suitable credential, in the kind of body that the
/// endpoint's other values are in.
fn find<'d, T>(
    dialect: &'d Dialect,
    step: EndpointStep,
    suits: impl Fn(&'d CredentialForm) -> Option<T>,
) -> Option<(&'d Endpoint, T)> {
    dialect.endpoints.iter().filter(|endpoint| endpoint.step == step).find_map(|endpoint| {
        let body = writer::other_body(endpoint);
        let fits = |form: &&CredentialForm| {
            body.is_none() || form.body_kind().is_none() || form.body_kind() == body
        };
        Some((endpoint, endpoint.credential.iter().filter(fits).find_map(&suits)?))
    })
}

#[cfg(test)]
mod tests;
