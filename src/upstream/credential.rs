//! The gateway's own credential at an upstream.
//!
//! It is set last, over everything that the client or a route's rules have set, so that nobody else
//! decides as whom the gateway calls. A credential from the gateway's own login may end early. The
//! upstream then answers 401; the gateway logs in again and repeats the request once, if its method
//! is idempotent (RFC 9110 §9.2.2) and its body small. `forward` is the caller.

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::credential_headers::CredentialHeaders;
use super::error::{ForwardError, LoginFailed, PoolBuildError};
use super::forward::{ForwardContext, ForwardedResponse};
use super::pool::UpstreamPool;
use super::replay::{self, BodyMemory};
use super::upstream_login::{UpstreamLoginClient, UpstreamSession};
use crate::body::Request;
use crate::clock::Timestamp;
use crate::config::{self, UpstreamCredential};
use crate::runtime::{BackgroundRuntime, WorkKind, Worker};
use crate::secret::SecretString;

/// The gateway's credential at one upstream, ready to send.
#[derive(Debug)]
pub(super) enum GatewayCredential {
    /// Header fields that never change.
    Fixed(CredentialHeaders),
    /// The result of a login that the gateway makes at the upstream.
    Login(Arc<UpstreamLoginClient>),
}

impl GatewayCredential {
    /// Prepares the configured credential. A login is made only when a request needs it.
    ///
    /// # Errors
    /// A value that no header field can carry, and certificate authorities that cannot be loaded.
    pub(super) fn build(config: &config::UpstreamSettings) -> Result<Option<Self>, PoolBuildError> {
        let upstream = || config.name.clone();
        let Some(credential) = &config.credential else { return Ok(None) };
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

impl UpstreamPool {
    /// Sends `request` with the fields of the gateway's own login.
    ///
    /// # Errors
    /// As `UpstreamPool::forward`; `ForwardError::Login` if the gateway cannot log in.
    pub(super) async fn forward_logged_in(
        &self,
        login: &Arc<UpstreamLoginClient>,
        worker: &Arc<Worker>,
        request: &mut Request,
        exchange: &ForwardContext<'_>,
    ) -> Result<ForwardedResponse, ForwardError> {
        let background = exchange.background;
        let now = exchange.now;
        // A valid login is reused without waiting. Only without one does the request wait for a
        // login on the background runtime.
        let session = match login.usable_session(now) {
            Some(session) => session,
            None => self.log_in(login, background, None, now).await?,
        };
        // The copy is made before the credential is set, because the second attempt gets another
        // one. Beyond this point hyper owns the request, so no copy could be made any more.
        let again = repeatable(request, exchange.memory).await?;
        session.fields.set(request.headers_mut());
        let forwarded = self.send(worker, request, exchange).await?;
        let ended = forwarded.response.status() == StatusCode::UNAUTHORIZED;
        if !ended || !session.may_have_ended(now) {
            return Ok(forwarded);
        }
        // The upstream may have ended the gateway's session early. The gateway logs in again even
        // if this request cannot be repeated, so that the next one succeeds.
        let renewed = self.log_in(login, background, Some(session), now).await;
        let (Some(mut again), Ok(renewed)) = (again, renewed) else { return Ok(forwarded) };
        renewed.fields.set(again.headers_mut());
        // The first answer is dropped before the second attempt, so that its connection does not
        // stay occupied meanwhile.
        drop(forwarded);
        self.send(worker, &mut again, exchange).await
    }

    /// Logs in on the background runtime. `stale` is the login that the upstream refused.
    ///
    /// # Errors
    /// The login failed, or the background runtime has no place for it.
    async fn log_in(
        &self,
        login: &Arc<UpstreamLoginClient>,
        background: &BackgroundRuntime,
        stale: Option<Arc<UpstreamSession>>,
        now: Timestamp,
    ) -> Result<Arc<UpstreamSession>, ForwardError> {
        let failed = |source| ForwardError::Login { upstream: self.name().clone(), source };
        let login = login.clone();
        let renewing = async move { login.renew(stale.as_deref(), now).await };
        match background.run(WorkKind::Calling, renewing).await {
            Ok(Some(renewed)) => renewed.map_err(failed),
            Ok(None) => Err(failed(LoginFailed::new("a panic"))),
            Err(full) => Err(failed(LoginFailed::new(&full.to_string()))),
        }
    }
}

/// A copy of the request for the second attempt. `None` if its method is not idempotent, it asks
/// for a tunnel, or its body is too large.
///
/// # Errors
/// The client's body failed while it was read into memory.
async fn repeatable(
    request: &mut Request,
    memory: BodyMemory<'_>,
) -> Result<Option<Request>, ForwardError> {
    if !request.method().is_idempotent() || request.headers().contains_key(http::header::UPGRADE) {
        return Ok(None);
    }
    replay::buffer_body(request, memory).await?;
    Ok(replay::clone_request(request))
}
