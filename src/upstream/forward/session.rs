//! Forwards a request with the legacy credential of its own session.
//!
//! A request whose caller has no such session is never sent: neither without a credential nor with
//! another session's. A credential that the upstream refuses is renewed once, and the request is
//! sent again if its body is still there: a refused request was not carried out, whatever its method.
//! `UpstreamPool::forward` calls this file.

use std::sync::Arc;

use http::header::UPGRADE;

use super::context::{CallerSession, ForwardContext, ForwardedResponse};
use super::{replay, set_credential};
use crate::body::Request;
use crate::runtime::{WorkKind, Worker};
use crate::upstream::error::ForwardError;
use crate::upstream::pool::UpstreamPool;
use crate::users::{KeptSession, LegacySessionError};

impl UpstreamPool {
    /// Sends `request` with the credential of its session, whose user is of `source`.
    ///
    /// # Errors
    /// As `UpstreamPool::forward`; `ForwardError::Session` if there is no credential.
    pub(super) async fn forward_in_session(
        &self,
        source: &Arc<str>,
        worker: &Arc<Worker>,
        request: &mut Request,
        exchange: &ForwardContext<'_>,
    ) -> Result<ForwardedResponse, ForwardError> {
        if let Some(end) = &self.dry_run {
            end.leave_login_out();
            return self.send(worker, request, exchange).await;
        }
        let session = exchange.session;
        let session = session.ok_or_else(|| self.refused(LegacySessionError::Foreign))?;
        let now = exchange.now;
        let kept = match session.legacy.usable(session.id, source, now) {
            Some(kept) => kept,
            None => self.obtain(source, session, None, exchange).await?,
        };
        // The copy is made before the credential is set, because the second attempt gets another
        // one. Of a request for a tunnel there is none.
        let again = match request.headers().contains_key(UPGRADE) {
            true => None,
            false => {
                replay::buffer_body(request, exchange.memory).await?;
                replay::clone_request(request)
            }
        };
        set_credential(request, kept.credential())?;
        let forwarded = self.send(worker, request, exchange).await?;
        let answer = &forwarded.response;
        if !session.legacy.may_renew(&kept, answer.status(), answer.headers(), now) {
            return Ok(forwarded);
        }
        // Its connection does not stay occupied meanwhile.
        drop(forwarded);
        let renewed = self.obtain(source, session, Some(kept), exchange).await?;
        // Without the body the client has to send the request again. The next one succeeds.
        let Some(mut again) = again else {
            return Err(self.refused(LegacySessionError::Ended("the request cannot be repeated")));
        };
        set_credential(&mut again, renewed.credential())?;
        self.send(worker, &mut again, exchange).await
    }

    /// The credential of a session, found or renewed on the background runtime. `refused` is the one
    /// that the upstream has refused.
    async fn obtain(
        &self,
        source: &Arc<str>,
        session: CallerSession<'_>,
        refused: Option<Arc<KeptSession>>,
        exchange: &ForwardContext<'_>,
    ) -> Result<Arc<KeptSession>, ForwardError> {
        let legacy = session.legacy.clone();
        let id = session.id;
        let now = exchange.now;
        let source = source.clone();
        let obtaining = async move {
            match refused {
                None => legacy.obtain(id, &source, now).await,
                Some(refused) => legacy.renew(id, &refused, now).await,
            }
        };
        let unavailable = |cause: &str| self.refused(LegacySessionError::Unavailable(cause.into()));
        match exchange.background.run(WorkKind::Calling, obtaining).await {
            Ok(Some(obtained)) => obtained.map_err(|error| self.refused(error)),
            Ok(None) => Err(unavailable("a panic")),
            Err(full) => Err(unavailable(&full.to_string())),
        }
    }

    fn refused(&self, source: LegacySessionError) -> ForwardError {
        ForwardError::Session { upstream: self.name().clone(), source }
    }
}
