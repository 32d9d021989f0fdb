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

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Uri};
use serde::Serialize;

pub use self::response::{LONGEST_ANSWER, LoginOutcome, parse_response};
pub use self::values::ResponseValues;
pub use self::values::{text, texts};
use super::definition::{CredentialForm, Dialect, Endpoint};
use super::endpoint_kinds::{BearerUse, EndpointStep, SecondStep};
use super::member::MemberPath;
use super::placeholders::{Placeholder, PlaceholderName};
use tollhouse_core::secret::SecretString;

/// A request to be sent. Its debug output leaves out headers and body, because they contain the
/// credential. It borrows from the dialect, because the answer is read by the same endpoint.
#[derive(Clone)]
pub struct ClientRequest<'d> {
    /// The endpoint that the request goes to; the answer must be read by the same endpoint.
    pub endpoint: &'d Endpoint,
    pub method: Method,
    /// The path below the address of the system.
    pub path: &'d str,
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
        let reply = password_login(self).and_then(|(endpoint, _)| endpoint.reply.json.as_ref());
        reply.into_iter().chain([&self.access_claims]).any(|template| {
            // A placeholder inside a longer text counts as well, although the text around it may
            // not be separable.
            names.iter().any(|name| template.names(&Placeholder::Named(*name)))
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
    match form {
        CredentialForm::JsonPassword { name: known_as, password: member } => {
            Ok(json(endpoint, &[(known_as, name), (member, password.expose())]))
        }
        _ => basic(endpoint, name, password),
    }
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
        CredentialForm::JsonCode { name, code, ticket } => Some((name, code, ticket)),
        _ => None,
    });
    let (endpoint, (known_as, member, carries)) = found.ok_or(RequestError::NoEndpoint)?;
    if name.is_empty() || code.expose().is_empty() {
        return Err(RequestError::Unwritable);
    }
    let mut members = vec![(known_as, name), (member, code.expose().as_str())];
    members.extend(carries.as_ref().zip(ticket.map(|ticket| ticket.expose().as_str())));
    Ok(json(endpoint, &members))
}

/// Makes a request for a new access token with a refresh token.
///
/// # Errors
///
/// If the dialect has no refresh, or the token cannot be sent in a header.
pub fn refresh<'d>(
    dialect: &'d Dialect,
    token: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    let found = find(dialect, EndpointStep::Refresh, |form| match form {
        CredentialForm::JsonRefresh { .. } | CredentialForm::Bearer(BearerUse::Refresh) => {
            Some(form)
        }
        _ => None,
    });
    match found.ok_or(RequestError::NoEndpoint)? {
        (endpoint, CredentialForm::JsonRefresh { token: member }) => {
            Ok(json(endpoint, &[(member, token.expose())]))
        }
        (endpoint, _) => bearer(endpoint, token),
    }
}

/// Makes a request for a newer access token with one that is still valid.
///
/// # Errors
///
/// If the dialect has no such login, or the token cannot be sent in a header.
pub fn renew<'d>(
    dialect: &'d Dialect,
    token: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    let found = find(dialect, EndpointStep::Login, |form| {
        (*form == CredentialForm::Bearer(BearerUse::Renew)).then_some(())
    });
    bearer(found.ok_or(RequestError::NoEndpoint)?.0, token)
}

fn password_login(dialect: &Dialect) -> Option<(&Endpoint, &CredentialForm)> {
    find(dialect, EndpointStep::Login, |form| match form {
        CredentialForm::JsonPassword { .. } | CredentialForm::BasicPassword => Some(form),
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

fn json<'d>(endpoint: &'d Endpoint, members: &[(&MemberPath, &str)]) -> ClientRequest<'d> {
    let mut body = ObjectMembers::default();
    for (path, value) in members {
        body.put(path.names(), value);
    }
    // Texts as keys and values can always be written as JSON.
    let body = serde_json::to_vec(&body).unwrap_or_default().into();
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    ask(endpoint, headers.into_iter().collect(), body)
}

/// A JSON object that is being written, in the order of its names.
#[derive(Debug, Default, Serialize)]
struct ObjectMembers<'t>(BTreeMap<&'t str, ObjectMember<'t>>);

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ObjectMember<'t> {
    Text(&'t str),
    Object(ObjectMembers<'t>),
}

impl<'t> ObjectMembers<'t> {
    /// Puts a text at a path. Invariant: no path is on the way to another one; `check` has made
    /// sure of that. A text in the way of a path would be kept, and the path ignored.
    fn put(&mut self, path: &'t [String], value: &'t str) {
        match path {
            [] => {}
            [name] => drop(self.0.insert(name, ObjectMember::Text(value))),
            [name, rest @ ..] => {
                let inner =
                    self.0.entry(name).or_insert_with(|| ObjectMember::Object(Self::default()));
                if let ObjectMember::Object(inner) = inner {
                    inner.put(rest, value);
                }
            }
        }
    }
}

fn basic<'d>(
    endpoint: &'d Endpoint,
    name: &str,
    password: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    // RFC 7617, section 2: the name ends at the first colon, and neither name nor password may
    // contain control characters.
    let unwritable = |text: &str| text.contains(char::is_control);
    if name.contains(':') || unwritable(name) || unwritable(password.expose()) {
        return Err(RequestError::Unwritable);
    }
    let pair = SecretString::new(format!("{name}:{}", password.expose()));
    authorized(endpoint, "Basic", &SecretString::new(STANDARD.encode(pair.expose())))
}

fn bearer<'d>(
    endpoint: &'d Endpoint,
    token: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    if !values::is_token(token.expose()) {
        return Err(RequestError::Unwritable);
    }
    authorized(endpoint, "Bearer", token)
}

/// The header is marked as sensitive, so that the HTTP library neither logs it nor keeps it in its
/// header compression table.
fn authorized<'d>(
    endpoint: &'d Endpoint,
    scheme: &str,
    credential: &SecretString,
) -> Result<ClientRequest<'d>, RequestError> {
    let value = SecretString::new(format!("{scheme} {}", credential.expose()));
    let value = HeaderValue::from_str(value.expose());
    let mut value = value.map_err(|_| RequestError::Unwritable)?;
    value.set_sensitive(true);
    Ok(ask(endpoint, [(AUTHORIZATION, value)].into_iter().collect(), Bytes::new()))
}

fn ask(endpoint: &Endpoint, headers: HeaderMap, body: Bytes) -> ClientRequest<'_> {
    let method = endpoint.method.clone();
    let path = endpoint.path.as_str();
    ClientRequest { endpoint, method, path, headers, body }
}

#[cfg(test)]
mod tests;
