//! Forwards a request to a pool with the gateway's own credential, if the upstream wants one.
//!
//! An upstream that takes the caller's own legacy credential is called by `session`.
//!
//! The credential is set last, over everything that the client or a route's rules have set, so that
//! nobody else decides as whom the gateway calls. A credential from the gateway's own login may end
//! early. The upstream then answers 401; the gateway logs in again and repeats the request once, if
//! its method is idempotent (RFC 9110 §9.2.2) and its body small. The pipeline calls
//! `UpstreamPool::forward`.

mod attempt;
mod context;
mod deadline;
mod dry_run;
mod echo;
mod lifetime;
mod replay;
mod request;
mod response;
mod send;
mod session;
mod upgrade;
mod upgrade_request;
mod websocket;

use std::sync::Arc;

use crate::body::Request;
use crate::clock::Timestamp;
use crate::dialect::client::CallCredential;
use crate::headers::{set_call_credential, set_carried};
use crate::runtime::{BackgroundRuntime, WorkKind, Worker};
use crate::upstream::error::{ForwardError, LoginFailed, MintError};
use crate::upstream::pool::{
    GatewayCredential, TokenMint, UpstreamLoginClient, UpstreamPool, UpstreamSession,
};

pub use self::context::{CallerSession, ForwardContext, ForwardedResponse};
pub use self::lifetime::{CancellationSources, RouteCancellation, StreamLifetime};
pub use self::replay::BodyMemory;

impl UpstreamPool {
    /// Sends `request`, whose fields and target are final, and returns the answer as soon as its
    /// head has arrived. Both bodies are streamed. Afterwards `request` is empty.
    ///
    /// The request is passed by reference here and in the functions below: otherwise each of their
    /// futures would contain a copy of it.
    ///
    /// # Errors
    /// There is no answer, or one that must not be passed on.
    pub async fn forward(
        &self,
        worker: &Arc<Worker>,
        request: &mut Request,
        exchange: &ForwardContext<'_>,
    ) -> Result<ForwardedResponse, ForwardError> {
        match &self.credential {
            None => (),
            Some(GatewayCredential::Fixed(fields)) => fields.set(request.headers_mut()),
            // Boxed because such logins are rare: unboxed, the state would enlarge the future of
            // every request.
            Some(GatewayCredential::Login(login)) => {
                let logged_in = self.forward_logged_in(login, worker, request, exchange);
                return Box::pin(logged_in).await;
            }
            Some(GatewayCredential::Minted(mint)) => {
                self.set_minted(mint, request, exchange).await?;
            }
            Some(GatewayCredential::Session(source)) => {
                let forwarded = self.forward_in_session(source, worker, request, exchange);
                return Box::pin(forwarded).await;
            }
        }
        self.send(worker, request, exchange).await
    }

    /// Sets the token of the caller. A request without a verified caller goes without any token: the
    /// upstream knows of nobody but those whom the gateway names.
    ///
    /// # Errors
    /// The caller's token cannot be made.
    async fn set_minted(
        &self,
        mint: &Arc<TokenMint>,
        request: &mut Request,
        exchange: &ForwardContext<'_>,
    ) -> Result<(), ForwardError> {
        let failed = |source| ForwardError::Mint { upstream: self.name().clone(), source };
        let token = match exchange.facts.identity {
            None => None,
            Some(identity) => {
                let now = exchange.now;
                let digest = mint.digest(identity);
                let token = match mint.remembered(&digest, now) {
                    Some(token) => token,
                    // Boxed because it is rare: unboxed, the state would enlarge the future of
                    // every request.
                    None => {
                        let made = mint.make(digest, identity, exchange.background, now);
                        Box::pin(made).await.map_err(failed)?
                    }
                };
                Some(token)
            }
        };
        let mut uri = std::mem::take(request.uri_mut());
        let set = set_carried(&mut uri, request.headers_mut(), mint.carrier(), token.as_deref());
        *request.uri_mut() = uri;
        set.map_err(|_| failed(MintError::Unwritable))
    }

    /// Sends `request` with the fields of the gateway's own login.
    ///
    /// # Errors
    /// As `UpstreamPool::forward`; `ForwardError::Login` if the gateway cannot log in.
    async fn forward_logged_in(
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
            None => match &self.dry_run {
                None => self.log_in(login, background, None, now).await?,
                Some(end) => {
                    end.leave_login_out();
                    return self.send(worker, request, exchange).await;
                }
            },
        };
        // The copy is made before the credential is set, because the second attempt gets another
        // one. Beyond this point hyper owns the request, so no copy could be made any more.
        let again = repeatable(request, exchange.memory).await?;
        set_credential(request, &session.credential)?;
        let forwarded = self.send(worker, request, exchange).await?;
        let answer = &forwarded.response;
        let ended = login.is_refusal(answer.status(), answer.headers());
        if !ended || !session.may_have_ended(now) {
            return Ok(forwarded);
        }
        // The upstream may have ended the gateway's session early. The gateway logs in again even
        // if this request cannot be repeated, so that the next one succeeds.
        let renewed = self.log_in(login, background, Some(session), now).await;
        let (Some(mut again), Ok(renewed)) = (again, renewed) else { return Ok(forwarded) };
        set_credential(&mut again, &renewed.credential)?;
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

/// Sets the credential of a session at the upstream.
///
/// # Errors
/// The request cannot carry it, and so is not sent.
fn set_credential(request: &mut Request, credential: &CallCredential) -> Result<(), ForwardError> {
    let mut uri = std::mem::take(request.uri_mut());
    let set = set_call_credential(&mut uri, request.headers_mut(), credential);
    *request.uri_mut() = uri;
    set.map_err(|_| ForwardError::Unwritable { what: "it cannot carry the credential" })
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
