//! A dialect as it is served to clients: requests read, answers rendered.
//!
//! `read` finds the credential of a request at a login endpoint. It is strict: what could be read
//! in two ways is refused, and only the carriers that the endpoint names count (an
//! `Authorization` beside a JSON login is nothing). What a credential is worth, `login` decides.

mod body;
mod form;
mod header;

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;

use self::body::Object;
pub use self::header::basic;
use super::form::json_answer;
use super::spec::{BearerUse, CredentialForm, Dialect, Endpoint, Facts, Presented, Reply};
use super::{Answer, Reason};

/// Reads what the client presented at `endpoint`.
///
/// # Errors
/// Why there is nothing to go on, for the endpoint's error form. None of these are guesses at a
/// password, so none need be counted.
pub fn read(endpoint: &Endpoint, head: &Parts, body: &[u8]) -> Result<Presented, Reason> {
    let about = endpoint.credential.iter().find_map(|form| match form {
        CredentialForm::Form { token } => Some(token),
        _ => None,
    });
    if let Some(name) = about {
        return Ok(Presented::About { token: form::read(&head.headers, body, name)? });
    }
    let reads_body = endpoint.credential.iter().any(CredentialForm::is_in_body);
    // An endpoint that takes headers only does not care what comes with them.
    let object = if reads_body { Object::read(&head.headers, body)? } else { Object::default() };
    for form in &endpoint.credential {
        if let Some(presented) = form.read(head, &object)? {
            return Ok(presented);
        }
    }
    Err(nothing_found(endpoint))
}

/// Whether a token is presented in the head.
pub fn has_bearer(head: &Parts) -> bool {
    matches!(header::bearer(&head.headers), Ok(Some(_)))
}

/// Whether the head alone says that `endpoint` is asked to renew a token of ours.
pub fn renews(endpoint: &Endpoint, head: &Parts) -> bool {
    let is_in_head = |form: &CredentialForm| {
        matches!(form, CredentialForm::BasicPassword | CredentialForm::Bearer(BearerUse::Renew))
    };
    endpoint.credential.iter().all(is_in_head) && has_bearer(head)
}

/// The answer of an endpoint where all went well.
pub fn render(reply: &Reply, facts: &Facts, dialect: &Dialect) -> Answer {
    let body = reply.json.as_ref().map(|json| json.render(facts, dialect));
    json_answer(reply.status, body.as_ref())
}

/// An answer that is the same in every dialect, because a standard says how it looks.
pub fn json(value: &Value) -> Answer {
    json_answer(StatusCode::OK, Some(value))
}

/// A JSON login without any of its members lacks the first of them; anything else lacks a
/// credential.
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
    /// True if the credential is a member of the body.
    pub fn is_in_body(&self) -> bool {
        match self {
            Self::JsonPassword { .. }
            | Self::JsonCode { .. }
            | Self::JsonRefresh { .. }
            | Self::Form { .. } => true,
            Self::BasicPassword | Self::Bearer(_) | Self::TokenKey => false,
        }
    }

    /// `None`: not here, try the next form.
    fn read(&self, head: &Parts, object: &Object) -> Result<Option<Presented>, Reason> {
        match self {
            Self::JsonPassword { name, password } => {
                match (object.text(name)?, object.text(password)?) {
                    (None, None) => Ok(None),
                    (None, Some(_)) => Err(Reason::MissingUsername),
                    (Some(_), None) => Err(Reason::MissingPassword),
                    (Some(name), Some(password)) => Ok(Some(Presented::Password {
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
                    (Some(name), Some(code)) => Ok(Some(Presented::Code {
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
                Ok(token.map(|token| Presented::Token { token, purpose }))
            }
            Self::BasicPassword => {
                let pair = basic(&head.headers)?;
                Ok(pair.map(|(name, password)| Presented::Password { name, password }))
            }
            Self::Bearer(purpose) => {
                let token = match header::bearer(&head.headers) {
                    // Whose it is cannot be said, and only the tokens of some are traded.
                    Err(Reason::TokenInvalid) if *purpose == BearerUse::Exchange => None,
                    token => token?,
                };
                Ok(token.map(|token| Presented::Token { token, purpose: *purpose }))
            }
            Self::TokenKey => header::token_key(&head.headers),
            // A form is no JSON object, and was read before.
            Self::Form { .. } => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
