//! The one credential of a request, of whatever kind its route takes.
//!
//! Kinds that the route does not take are not counted; two that it takes are ambiguous, whichever
//! of them is good. A client certificate is not among them: it belongs to the connection, so it
//! counts where nothing else is presented, and nobody asks for it here.

use http::HeaderName;
use http::request::Parts;

use super::credential::{Accept, Credential, CredentialError, single};
use crate::dialect::{Reason, serve};
use crate::secret::SecretString;

/// A credential, unproved.
#[derive(Clone, Debug, PartialEq)]
pub enum Presented {
    Token(Credential),
    ApiKey(SecretString),
    Password { name: String, password: SecretString },
}

impl Presented {
    /// The credential of a request; `None` where none of an accepted kind is presented. API keys
    /// are in the field `api_key`.
    ///
    /// # Errors
    /// Where there is more than one, or one that cannot be read.
    pub fn extract(
        head: &Parts,
        accept: Accept,
        api_key: Option<&HeaderName>,
    ) -> Result<Option<Self>, CredentialError> {
        let key = match api_key.filter(|_| accept.api_key) {
            Some(name) => single(&head.headers, name, "the API key")?,
            None => None,
        };
        let password = if accept.basic { basic(head)? } else { None };
        if key.is_some() && password.is_some() {
            return Err(CredentialError::Several);
        }
        let token = Credential::extract(&head.headers, head.uri.query(), accept);
        match (token, key, password) {
            // Even a token that could not be read is a second credential.
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

fn basic(head: &Parts) -> Result<Option<(String, SecretString)>, CredentialError> {
    serve::basic(&head.headers).map_err(|reason| match reason {
        Reason::AmbiguousCredential => CredentialError::Repeated("Authorization"),
        _ => CredentialError::Unreadable,
    })
}
