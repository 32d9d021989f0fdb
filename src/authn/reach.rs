//! Whether an issuer is there who has to be asked for keys or about tokens: for an operator who
//! wants to know before a start. No token is asked about.

use super::discovery::{KeyProvider, ProviderOptions};
use super::introspect::IntrospectionClient;
use super::legacy_sessions::SessionClient;
use crate::settings::{IssuerKeys, IssuerSettings};

/// Asks the issuer, and answers what was seen.
///
/// # Errors
/// Why it could not be asked now.
pub async fn reach(issuer: &IssuerSettings) -> Result<String, String> {
    match &issuer.keys {
        IssuerKeys::Url(_) | IssuerKeys::Discovery(_) => {
            let provider = KeyProvider::new(ProviderOptions::from(issuer)).map_err(text_of)?;
            let published = provider.fetch().await.map_err(text_of)?;
            let count = published.keys.keys().len();
            Ok(format!("{count} {} that can be used", if count == 1 { "key" } else { "keys" }))
        }
        IssuerKeys::Introspection(options) => {
            IntrospectionClient::new(issuer, options).map_err(text_of)?.reach().await?;
            Ok("connected".to_owned())
        }
        IssuerKeys::Sessions(options) => {
            SessionClient::new(issuer, options).map_err(text_of)?.reach().await.map(str::to_owned)
        }
        IssuerKeys::Jwks(_) | IssuerKeys::Pem(_) | IssuerKeys::Secret(_) => {
            Ok("its keys are here".to_owned())
        }
    }
}

fn text_of(error: impl std::error::Error) -> String {
    crate::format::error_chain(&error)
}
