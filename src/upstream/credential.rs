//! What an upstream itself demands of whoever calls it.
//!
//! Set last, over whatever the client or a route's rules said: nobody else chooses as whom the
//! gateway calls. A credential that a login of ours gives may have ended before its time: then the
//! upstream says 401, and a request that may be repeated is, once, with a new one: its method is
//! idempotent (RFC 9110 §9.2.2) and its body short.

use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::{ForwardError, PoolError};
use super::forward::{Exchange, Forwarded};
use super::own_login::{Held, LoginFailed, OwnLogin};
use super::pool::Pool;
use super::spare::{self, BodyMemory};
use crate::body::Request;
use crate::clock::Timestamp;
use crate::config::{self, UpstreamCredential};
use crate::runtime::{BackRoom, Work, Worker};
use crate::secret::SecretString;

/// The gateway's own credential at one upstream, ready to send.
#[derive(Debug)]
pub(super) enum Credential {
    /// Fields that never change.
    Fixed(Fields),
    /// What a login of the gateway's gave it.
    Login(Arc<OwnLogin>),
}

/// Fields to set; their values do not print.
#[derive(Clone, Debug)]
pub(super) struct Fields(Vec<(HeaderName, HeaderValue)>);

impl Credential {
    /// Makes the configured credential ready; a login is made when a request needs it.
    pub(super) fn build(config: &config::Upstream) -> Result<Option<Self>, PoolError> {
        let upstream = || config.name.clone();
        let Some(credential) = &config.credential else { return Ok(None) };
        if let UpstreamCredential::Login(settings) = credential {
            let login = OwnLogin::new(settings, config.tls.ca.as_deref());
            let login =
                login.map_err(|source| PoolError::Trust { upstream: upstream(), source })?;
            return Ok(Some(Self::Login(Arc::new(login))));
        }
        let ready = |(name, value): (HeaderName, SecretString)| {
            let unusable = |_| PoolError::Credential { upstream: upstream() };
            let mut value = HeaderValue::from_str(value.expose()).map_err(unusable)?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        let fields = credential.fields().unwrap_or_default().into_iter();
        Ok(Some(Self::Fixed(Fields(fields.map(ready).collect::<Result<_, PoolError>>()?))))
    }
}

impl Fields {
    pub(super) fn new(fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self(fields)
    }

    pub(super) fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name.clone(), value.clone());
        }
    }
}

impl Pool {
    /// Sends `request` with what a login of the gateway's gives.
    pub(super) async fn forward_logged_in(
        &self,
        login: &Arc<OwnLogin>,
        worker: &Arc<Worker>,
        request: &mut Request,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let (back_room, now) = (exchange.back_room, exchange.now);
        let held = match login.held(now) {
            Some(held) => held,
            None => self.log_in(login, back_room, None, now).await?,
        };
        let again = repeatable(request, exchange.memory).await?;
        held.fields.set(request.headers_mut());
        let forwarded = self.send(worker, request, exchange).await?;
        let ended = forwarded.response.status() == StatusCode::UNAUTHORIZED;
        if !ended || !held.may_have_ended(now) {
            return Ok(forwarded);
        }
        // The session of the gateway's own may have been ended there. Logged in again even if this
        // request cannot be repeated, so that the next one need not fail.
        let renewed = self.log_in(login, back_room, Some(held), now).await;
        let (Some(mut again), Ok(renewed)) = (again, renewed) else { return Ok(forwarded) };
        renewed.fields.set(again.headers_mut());
        drop(forwarded);
        self.send(worker, &mut again, exchange).await
    }

    async fn log_in(
        &self,
        login: &Arc<OwnLogin>,
        back_room: &BackRoom,
        stale: Option<Arc<Held>>,
        now: Timestamp,
    ) -> Result<Arc<Held>, ForwardError> {
        let failed = |source| ForwardError::Login { upstream: self.name().clone(), source };
        let login = login.clone();
        let renewing = async move { login.renew(stale.as_deref(), now).await };
        match back_room.ask(Work::Calling, renewing).await {
            Ok(Some(renewed)) => renewed.map_err(failed),
            Ok(None) => Err(failed(LoginFailed::new("a panic"))),
            Err(full) => Err(failed(LoginFailed::new(&full.to_string()))),
        }
    }
}

/// A copy of the request for a second try, if there may be one and it is small enough: then its
/// body is in memory.
async fn repeatable(
    request: &mut Request,
    memory: BodyMemory<'_>,
) -> Result<Option<Request>, ForwardError> {
    if !request.method().is_idempotent() || request.headers().contains_key(http::header::UPGRADE) {
        return Ok(None);
    }
    spare::hold(request, memory).await?;
    Ok(spare::copy(request))
}
