//! The client side of a dialect: the reverse of `server`, for asking a system that serves the
//! dialect.
//!
//! `login`, `verify_code`, `refresh` and `renew` put a credential where the dialect wants it.
//! `parse_response` reads the answer by the templates that `server` would render. A success must
//! contain its proof, a token or key; other members of the answer are ignored. Only an answer that
//! the dialect defines as a refusal is one. Everything else is `Unexpected`, never "wrong
//! password".
//!
//! This module is pure: it makes a `ClientRequest`, and the caller (`users::http`,
//! `upstream::pool::login`) sends it.

mod match_template;
mod response;
mod values;
mod writer;

use std::fmt;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Uri};

pub use self::response::{LONGEST_ANSWER, LoginOutcome, parse_response};
pub use self::values::ResponseValues;
pub use self::values::{text, texts};
use self::writer::RequestWriter;
use super::credential::CredentialForm;
use super::definition::{Dialect, Endpoint};
use super::endpoint_kinds::{EndpointStep, SecondStep, TokenUse};
use super::placeholders::{Placeholder, PlaceholderName};
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

/// The reasons why a request cannot be made in a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the dialect has no endpoint that takes it")]
    NoEndpoint,

    /// The dialect's form cannot carry this name or password; so no user of that system can have
    /// them. The caller treats it as a wrong password, without asking the system.
    #[error("it cannot be written in the dialect's form")]
    Unwritable,
}

/// The reasons why a login cannot be delegated in a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    #[error("has no login by name and password")]
    NoPassword,

    #[error("asks for a second step at every login, which cannot be taken in its user's stead")]
    SecondStep,

    #[error("answers a login with neither token nor key, so that nothing would prove its success")]
    NoProof,
}

impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("method", &self.method)
            .field("path", &self.path)
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
        let (endpoint, _) = password_login(self).ok_or(DelegationError::NoPassword)?;
        if endpoint.second_step != SecondStep::None {
            return Err(DelegationError::SecondStep);
        }
        if response::proves(endpoint) { Ok(()) } else { Err(DelegationError::NoProof) }
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
    dialect: &'d Dialect,
    name: &str,
    password: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    let (endpoint, form) = password_login(dialect).ok_or(RequestError::NoEndpoint)?;
    if name.is_empty() || password.expose().is_empty() {
        return Err(RequestError::Unwritable);
    }
    let mut request = RequestWriter::new(endpoint);
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
    dialect: &'d Dialect,
    name: &str,
    code: &SecretString,
    ticket: Option<&SecretString>,
) -> Result<ClientRequest<'d>, RequestError> {
    let found = find(dialect, EndpointStep::VerifyCode, |form| match form {
        CredentialForm::Code { name, code, ticket } => Some((name, code, ticket)),
        _ => None,
    });
    let (endpoint, (known_as, at, carries)) = found.ok_or(RequestError::NoEndpoint)?;
    if name.is_empty() || code.expose().is_empty() {
        return Err(RequestError::Unwritable);
    }
    let mut request = RequestWriter::new(endpoint);
    request.name(known_as, name)?;
    request.put(at, code.expose())?;
    if let Some((carrier, ticket)) = carries.as_ref().zip(ticket) {
        request.put(carrier, ticket.expose())?;
    }
    request.finish()
}

/// Makes a request for a new access token with a refresh token.
///
/// # Errors
///
/// If the dialect has no refresh, or the token cannot be sent in its place.
pub fn refresh<'d>(
    dialect: &'d Dialect,
    token: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    with_token(dialect, EndpointStep::Refresh, TokenUse::Refresh, token)
}

/// Makes a request for a newer access token with one that is still valid.
///
/// # Errors
///
/// If the dialect has no such login, or the token cannot be sent in its place.
pub fn renew<'d>(
    dialect: &'d Dialect,
    token: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    with_token(dialect, EndpointStep::Login, TokenUse::Renew, token)
}

fn with_token<'d>(
    dialect: &'d Dialect,
    step: EndpointStep,
    wanted: TokenUse,
    token: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    let found = find(dialect, step, |form| match form {
        CredentialForm::Token { at, purpose } if *purpose == wanted => Some(at),
        _ => None,
    });
    let (endpoint, at) = found.ok_or(RequestError::NoEndpoint)?;
    let mut request = RequestWriter::new(endpoint);
    request.put(at, token.expose())?;
    request.finish()
}

fn password_login(dialect: &Dialect) -> Option<(&Endpoint, &CredentialForm)> {
    find(dialect, EndpointStep::Login, |form| match form {
        CredentialForm::Password { .. } | CredentialForm::BasicPassword => Some(form),
        _ => None,
    })
}

/// The first endpoint of a step that has a suitable credential.
fn find<'d, T>(
    dialect: &'d Dialect,
    step: EndpointStep,
    suits: impl Fn(&'d CredentialForm) -> Option<T>,
) -> Option<(&'d Endpoint, T)> {
    dialect
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.step == step)
        .find_map(|endpoint| Some((endpoint, endpoint.credential.iter().find_map(&suits)?)))
}

#[cfg(test)]
mod tests;
