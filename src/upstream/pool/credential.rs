//! The credential that the gateway shows an upstream: fixed header fields, a login of its own, tokens
//! that it makes, or what the caller's session has there.
//!
//! It is prepared once, with the pool. `forward` sets it and logs in again if a login has ended
//! early; health checks use a fixed one.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};

use super::credential_headers::CredentialHeaders;
use super::login::UpstreamLoginClient;
use super::mint::TokenMint;
use crate::secret::SecretString;
use crate::settings::{self, UpstreamCredential};
use crate::upstream::error::PoolBuildError;

/// The credential for one upstream, ready to send.
#[derive(Debug)]
pub(in crate::upstream) enum GatewayCredential {
    /// Header fields that never change.
    Fixed(CredentialHeaders),
    /// The result of a login that the gateway makes at the upstream.
    Login(Arc<UpstreamLoginClient>),
    /// A token for each user, which the gateway makes.
    Minted(Arc<TokenMint>),
    /// The legacy credential of each request's own session, if its user is of this source.
    Session(Arc<str>),
}

impl GatewayCredential {
    /// Prepares the configured credential. A login is made only when a request needs it.
    ///
    /// # Errors
    /// A value that no header field can carry, a key that cannot be used, and certificate authorities
    /// that cannot be loaded.
    pub(super) fn build(
        config: &settings::UpstreamSettings,
    ) -> Result<Option<Self>, PoolBuildError> {
        let upstream = || config.name.clone();
        let Some(credential) = &config.credential else { return Ok(None) };
        if let UpstreamCredential::Mint(settings) = credential {
            let mint = TokenMint::new(settings);
            let mint =
                mint.map_err(|source| PoolBuildError::Key { upstream: upstream(), source })?;
            return Ok(Some(Self::Minted(Arc::new(mint))));
        }
        if let UpstreamCredential::Session(session) = credential {
            return Ok(Some(Self::Session(session.source.as_str().into())));
        }
        if let UpstreamCredential::Login(settings) = credential {
            let login = UpstreamLoginClient::new(settings, config.tls.ca.as_deref());
            let login =
                login.map_err(|source| PoolBuildError::Trust { upstream: upstream(), source })?;
            return Ok(Some(Self::Login(Arc::new(login))));
        }
        let ready = |(name, value): (HeaderName, SecretString)| {
            let unusable = |_| PoolBuildError::Credential { upstream: upstream() };
            let mut value = HeaderValue::from_str(value.expose()).map_err(unusable)?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        let fields = credential.fields().unwrap_or_default().into_iter();
        let fields = fields.map(ready).collect::<Result<_, PoolBuildError>>()?;
        Ok(Some(Self::Fixed(CredentialHeaders::new(fields))))
    }
}
