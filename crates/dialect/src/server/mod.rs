//! The server side of a dialect: reading requests and rendering answers.
//!
//! `read` finds the credential of a request at a login endpoint. It is strict: a request that could
//! be read in two ways is refused, and only the carriers that the endpoint lists count. An
//! `Authorization` header beside a JSON login, for example, is ignored. Whether a credential is
//! valid is decided by `login`, not here.

mod body;
mod form;
mod header;

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

use self::body::BodyObject;
pub use self::header::basic;
use super::definition::{CredentialForm, Dialect, Endpoint, EndpointReply, PresentedCredential};
use super::endpoint_kinds::BearerUse;
use super::error_format::json_answer;
use super::{LocalResponse, Reason, TemplateValues};

/// Reads the credential that the client presented at `endpoint`.
///
/// # Errors
///
/// The reason why there is no credential, for the endpoint's error form. None of these errors is a
/// guess at a password, so none needs to be counted.
pub fn read(endpoint: &Endpoint, head: &Parts, body: &[u8]) -> Result<PresentedCredential, Reason> {
    let about = endpoint.credential.iter().find_map(|form| match form {
        CredentialForm::Form { token } => Some(token),
        _ => None,
    });
    if let Some(name) = about {
        return Ok(PresentedCredential::InspectedToken {
            token: form::read(&head.headers, body, name)?,
        });
    }
    let reads_body = endpoint.credential.iter().any(CredentialForm::is_in_body);
    // An endpoint that takes its credential from headers ignores the body: some clients send one
    // with every request.
    let object =
        if reads_body { BodyObject::read(&head.headers, body)? } else { BodyObject::default() };
    for form in &endpoint.credential {
        if let Some(presented) = form.read(head, &object)? {
            return Ok(presented);
        }
    }
    Err(nothing_found(endpoint))
}

/// True if the head has a bearer token.
pub fn has_bearer(head: &Parts) -> bool {
    matches!(header::bearer(&head.headers), Ok(Some(_)))
}

/// True if the head alone shows that `endpoint` is asked to renew a token of ours, so that no
/// password can follow in the body. `login` uses it to sort requests into kinds of work before
/// their bodies are read.
pub fn renews(endpoint: &Endpoint, head: &Parts) -> bool {
    let is_in_head = |form: &CredentialForm| {
        matches!(form, CredentialForm::BasicPassword | CredentialForm::Bearer(BearerUse::Renew))
    };
    endpoint.credential.iter().all(is_in_head) && has_bearer(head)
}

/// Renders the answer of an endpoint in case of success. All values must be in `facts`: a missing
/// one is rendered as `null`, and nothing is looked up here.
pub fn render(reply: &EndpointReply, facts: &TemplateValues, dialect: &Dialect) -> LocalResponse {
    let body = reply.json.as_ref().map(|json| dialect.render(json, facts));
    json_answer(reply.status, body.as_ref())
}

/// An answer in JSON that looks the same in every dialect, because a standard defines it.
pub fn json(value: &Value) -> LocalResponse {
    json_answer(StatusCode::OK, Some(value))
}

/// The reason for a request without any credential. Where only JSON credentials are accepted, the
/// first missing member is the name; otherwise the credential as a whole is missing. The difference
/// only helps developers of clients.
fn nothing_found(endpoint: &Endpoint) -> Reason {
    let asks_for_name = |form: &CredentialForm| {
        matches!(form, CredentialForm::JsonPassword { .. } | CredentialForm::JsonCode { .. })
    };
    if !endpoint.credential.is_empty() && endpoint.credential.iter().all(asks_for_name) {
        Reason::MissingUsername
    } else {
        Reason::CredentialMissing
    }
}

impl CredentialForm {
    /// True if this form of credential is in the body.
    pub fn is_in_body(&self) -> bool {
        match self {
            Self::JsonPassword { .. }
            | Self::JsonCode { .. }
            | Self::JsonRefresh { .. }
            | Self::Form { .. } => true,
            Self::BasicPassword | Self::Bearer(_) | Self::TokenKey => false,
        }
    }

    /// Reads a credential of this form. `None` if the request has none, so that the next form is
    /// tried.
    fn read(
        &self,
        head: &Parts,
        object: &BodyObject,
    ) -> Result<Option<PresentedCredential>, Reason> {
        match self {
            Self::JsonPassword { name, password } => {
                // A request with only one of the two members clearly meant this form. It is refused
                // here instead of being tried as another form, so that the client learns what is
                // missing.
                match (object.text(name)?, object.text(password)?) {
                    (None, None) => Ok(None),
                    (None, Some(_)) => Err(Reason::MissingUsername),
                    (Some(_), None) => Err(Reason::MissingPassword),
                    (Some(name), Some(password)) => Ok(Some(PresentedCredential::Password {
                        name: name.expose().clone(),
                        password: password.clone(),
                    })),
                }
            }
            Self::JsonCode { name, code, ticket } => {
                match (object.text(name)?, object.text(code)?) {
                    (None, None) => Ok(None),
                    (None, Some(_)) => Err(Reason::MissingUsername),
                    (Some(_), None) => Err(Reason::CodeRequired),
                    (Some(name), Some(code)) => Ok(Some(PresentedCredential::Code {
                        name: name.expose().clone(),
                        code: code.clone(),
                        ticket: match ticket {
                            Some(ticket) => object.text(ticket)?.cloned(),
                            None => None,
                        },
                    })),
                }
            }
            Self::JsonRefresh { token } => {
                let token = object.text(token)?.cloned();
                let purpose = BearerUse::Refresh;
                Ok(token.map(|token| PresentedCredential::Token { token, purpose }))
            }
            Self::BasicPassword => {
                let pair = basic(&head.headers)?;
                Ok(pair.map(|(name, password)| PresentedCredential::Password { name, password }))
            }
            Self::Bearer(purpose) => {
                let token = match header::bearer(&head.headers) {
                    // A foreign token may be malformed by the rules of RFC 6750. Nobody can say
                    // whose it is, so it counts as "no token" and not as a bad one.
                    Err(Reason::TokenInvalid) if *purpose == BearerUse::Exchange => None,
                    token => token?,
                };
                Ok(token.map(|token| PresentedCredential::Token { token, purpose: *purpose }))
            }
            Self::TokenKey => header::token_key(&head.headers),
            // A form is not a JSON object; it was read before the loop over the forms.
            Self::Form { .. } => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
