//! Forwards a request with the legacy credential of its own session.
//!
//! A request whose caller has no such session is never sent: neither without a credential nor with
//! another session's. A credential that the upstream refuses is renewed once, and the request is
//! sent again if its body is still there. A request that was answered 401 was not carried out,
//! whatever its method (RFC 9110, section 15.5.2). Another status with which a dialect says that a
//! token has ended says other things, too: after it only idempotent requests are sent again, and the
//! answer goes to the client if nothing better comes of that. `UpstreamPool::forward` calls this file.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use super::context::{CallerSession, ForwardContext, ForwardedResponse};
use super::upgrade_request::copy_tunnel;
use super::{replay, set_credential};
use crate::body::Request;
use crate::dialect::client::CallRefusal;
use crate::runtime::{WorkKind, Worker};
use crate::upstream::error::ForwardError;
use crate::upstream::pool::UpstreamPool;
use crate::users::{KeptSession, LegacySessionError};

/// The longest wait of a request for its session's credential: as long as a healthy system needs,
/// with a few requests of the session before this one.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// A credential that the upstream has refused.
#[derive(Debug)]
struct RefusedCredential {
    kept: Arc<KeptSession>,
    refusal: CallRefusal,
}

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
        // one. A tunnel that was refused has not begun, so the copy may ask for it again.
        replay::buffer_body(request, exchange.memory).await?;
        let mut again = replay::clone_request(request);
        if let Some(again) = &mut again {
            copy_tunnel(request, again);
        }
        set_credential(request, kept.credential())?;
        let forwarded = self.send(worker, request, exchange).await?;
        let answer = &forwarded.response;
        let status = answer.status();
        let Some(refusal) = session.legacy.refusal(&kept, status, answer.headers(), now) else {
            return Ok(forwarded);
        };
        let refused = Some(RefusedCredential { kept, refusal });
        let (mut again, renewed) = match status {
            StatusCode::UNAUTHORIZED => {
                // Its connection does not stay occupied meanwhile.
                drop(forwarded);
                let renewed = self.obtain(source, session, refused, exchange).await?;
                // Without the body the client has to send the request again. The next one succeeds.
                let lost = || self.refused(LegacySessionError::Ended("it cannot be repeated"));
                (again.ok_or_else(lost)?, renewed)
            }
            _ => {
                // Even if this request cannot be sent again, the next one succeeds.
                let renewed = self.obtain(source, session, refused, exchange).await;
                let again = again.filter(|again| replay::is_idempotent(again.method()));
                let (Some(again), Ok(renewed)) = (again, renewed) else { return Ok(forwarded) };
                drop(forwarded);
                (again, renewed)
            }
        };
        set_credential(&mut again, renewed.credential())?;
        self.send(worker, &mut again, exchange).await
    }

    /// The credential of a session, found or renewed on the background runtime. `refused` is the one
    /// that the upstream has refused. The request waits for a bounded time; what was begun goes on,
    /// because a system that has given new tokens may take the old ones no more.
    async fn obtain(
        &self,
        source: &Arc<str>,
        session: CallerSession<'_>,
        refused: Option<RefusedCredential>,
        exchange: &ForwardContext<'_>,
    ) -> Result<Arc<KeptSession>, ForwardError> {
        let legacy = session.legacy.clone();
        let id = session.id;
        let source = source.clone();
        let obtaining = async move {
            match refused {
                None => legacy.obtain(id, &source).await,
                Some(RefusedCredential { kept, refusal }) => legacy.renew(id, &kept, refusal).await,
            }
        };
        let unavailable = |cause: &str| self.refused(LegacySessionError::Unavailable(cause.into()));
        let obtaining = exchange.background.run(WorkKind::Calling, obtaining);
        match timeout(LONGEST_WAIT, obtaining).await {
            Ok(Ok(Some(obtained))) => obtained.map_err(|error| self.refused(error)),
            Ok(Ok(None)) => Err(unavailable("a panic")),
            Ok(Err(full)) => Err(unavailable(&full.to_string())),
            Err(_) => Err(unavailable("it takes too long")),
        }
    }

    fn refused(&self, source: LegacySessionError) -> ForwardError {
        ForwardError::Session { upstream: self.name().clone(), source }
    }
}
