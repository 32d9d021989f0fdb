//! Extracts the one credential of a request: a token, an API key, a signature, or a
//! name and password.
//!
//! Kinds that the route does not accept are ignored. Two accepted kinds are ambiguous, even if only
//! one of them is valid. The client certificate is not handled here: it belongs to the connection
//! and counts only if nothing else is presented. The pipeline calls it for every route.

use http::HeaderName;
use http::request::Parts;

use super::call_carriers::{CallCarriers, CarriedToken};
use super::credential::{AcceptedKinds, CredentialError, TokenCredential, single};
use super::signature::RequestSignature;
use crate::dialect::{Reason, server};
use crate::secret::SecretString;
use crate::settings::CredentialKind;

/// A credential that is not verified yet.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestCredential {
    Token(TokenCredential),
    /// A token where the logins of the route carry theirs.
    Login(CarriedToken),
    ApiKey(SecretString),
    /// A signature of the request.
    Signature(RequestSignature),
    Password {
        name: String,
        password: SecretString,
    },
}

impl RequestCredential {
    /// The kind that a route names in its `auth`.
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::Token(TokenCredential::Bearer(_)) => CredentialKind::Bearer,
            Self::Token(TokenCredential::Pair { .. }) => CredentialKind::TokenKey,
            Self::Login(_) => CredentialKind::Login,
            Self::ApiKey(_) => CredentialKind::ApiKey,
            Self::Signature(_) => CredentialKind::Signature,
            Self::Password { .. } => CredentialKind::Basic,
        }
    }

    /// Extracts the credential; `None` if the request has none of an accepted kind. `api_key` is
    /// the header field for API keys, `carriers` the places where logins of the route have tokens.
    ///
    /// # Errors
    /// More than one credential, or one that cannot be read.
    pub fn extract(
        head: &Parts,
        accept: AcceptedKinds,
        api_key: Option<&HeaderName>,
        carriers: &CallCarriers,
    ) -> Result<Option<Self>, CredentialError> {
        let key = match api_key.filter(|_| accept.api_key) {
            Some(name) => single(&head.headers, name, "the API key")?,
            None => None,
        };
        let password = if accept.basic { basic(head)? } else { None };
        if key.is_some() && password.is_some() {
            return Err(CredentialError::Several);
        }
        let token = TokenCredential::extract(&head.headers, head.uri.query(), accept);
        let carried = carriers.extract(head);
        let signature = carriers.extract_signature(head);
        if !matches!(signature, Ok(None)) {
            // A second credential counts, even a malformed one.
            let is_alone = matches!((&token, &carried), (Ok(None), Ok(None)));
            if !is_alone || key.is_some() || password.is_some() {
                return Err(CredentialError::Several);
            }
            return Ok(signature?.map(Self::Signature));
        }
        if !matches!(carried, Ok(None)) {
            // As below: a second credential counts, even a malformed one.
            if !matches!(token, Ok(None)) || key.is_some() || password.is_some() {
                return Err(CredentialError::Several);
            }
            return Ok(carried?.map(Self::Login));
        }
        match (token, key, password) {
            // A malformed token counts as a second credential. If it were ignored, the upstream
            // could still read it and act for another user. The same holds for a token whose key is
            // missing.
            (Ok(Some(_)) | Err(_), Some(_), _) | (Ok(Some(_)) | Err(_), _, Some(_)) => {
                Err(CredentialError::Several)
            }
            (token, None, None) => Ok(token?.map(Self::Token)),
            (Ok(None), Some(key), _) => {
                let text = std::str::from_utf8(key);
                let text = text.map_err(|_| CredentialError::Malformed("the API key is no text"));
                Ok(Some(Self::ApiKey(text?.into())))
            }
            (Ok(None), None, Some((name, password))) => Ok(Some(Self::Password { name, password })),
        }
    }
}

/// The name and password of `Authorization: Basic` (RFC 7617).
fn basic(head: &Parts) -> Result<Option<(String, SecretString)>, CredentialError> {
    server::basic(&head.headers).map_err(|reason| match reason {
        Reason::AmbiguousCredential => CredentialError::Repeated("Authorization"),
        _ => CredentialError::Unreadable,
    })
}
