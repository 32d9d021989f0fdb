//! Sending a request to a server of the pool and taking its answer.
//!
//! A request is tried again only where no byte of it can have reached an upstream: no connection
//! could be made, or a kept one was closed before the request was written (hyper then gives it
//! back whole). Each wait has a limit: connecting, the first byte of the answer once the request
//! is written, silence within the answer's body.

use std::pin::pin;
use std::sync::Arc;

use http::header::HeaderMap;
use http::{StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::upgrade::{self, OnUpgrade};
use tokio::time::{Instant, timeout_at};

use super::connect::{self, Path, Speak};
use super::credential::Credential;
use super::echo;
use super::error::ForwardError;
use super::extended_connect;
use super::headers::{Facts, Protected, Rules, clean_response, rewrite_location};
use super::opening::Opening;
use super::pool::Pool;
use super::request::{self, Progress};
use super::response::{self, Lease};
use super::server::{InFlight, Sender, Server};
use super::upgrade::Tunnel;
use super::watch::Watch;
use crate::body::{Body, Request, Response};
use crate::clock::Timestamp;
use crate::runtime::{BackRoom, Worker};

/// What belongs to one request besides the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    pub facts: &'a Facts<'a>,
    /// The names that a client must not smuggle in through trailers.
    pub protected: &'a Arc<Protected>,
    /// The route's `response_headers`.
    pub response_rules: &'a Rules,
    /// What a long answer or a tunnel must not outlive; `None` on open routes.
    pub watch: Option<&'a Watch>,
    /// Where the gateway logs in, if the upstream demands that.
    pub back_room: &'a BackRoom,
    pub now: Timestamp,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Forwarded {
    pub response: Response,
    /// The server that gave it, for the log.
    pub server: Arc<str>,
    /// It agrees to the tunnel that was asked for, which has begun. What status tells the client so
    /// depends on how it asked.
    pub tunnel: bool,
}

impl Pool {
    /// Sends `request` (its fields final, its target as the upstream is to see it) and returns
    /// the answer as soon as its head is there; bodies flow on both ways.
    ///
    /// # Errors
    /// When there is no answer, or none that may be passed on.
    pub async fn forward(
        &self,
        worker: &Arc<Worker>,
        mut request: Request,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        match &self.credential {
            None => self.send(worker, request, exchange).await,
            Some(Credential::Fixed(fields)) => {
                fields.set(request.headers_mut());
                self.send(worker, request, exchange).await
            }
            // Boxed: it is rare, and its size would be every request's.
            Some(Credential::Login(login)) => {
                Box::pin(self.forward_logged_in(login, worker, request, exchange)).await
            }
        }
    }

    /// `forward` for a request that needs nothing more.
    pub(super) async fn send(
        &self,
        worker: &Arc<Worker>,
        mut request: Request,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        request::frame(&mut request);
        let progress = request::watch_body(&mut request, exchange.protected);
        let opening = Opening::of(&mut request, progress.is_some(), self.http2);
        let mut call = Call { pool: self, worker, progress, opening, fresh: false };
        let mut tries = 0;
        let mut failed = None;
        loop {
            let no_server = ForwardError::Unwritable { what: "the pool is empty" };
            let server = self.pick(worker, failed.as_ref()).ok_or(no_server)?.clone();
            let Some(path) = &server.path else {
                return call.echoed(&server, request, exchange).await;
            };
            match call.attempt(&server, path, request).await {
                Ok((answer, lease)) => return call.accept(answer, lease, exchange),
                Err(Failed { error: None, request: Some(back) }) => {
                    call.fresh = true;
                    request = back;
                }
                Err(Failed { error: Some(error), request: Some(back) })
                    if error.safe_to_retry() && tries < self.retries =>
                {
                    tries += 1;
                    failed = Some(server);
                    request = back;
                }
                Err(Failed { error, .. }) => {
                    return Err(error.unwrap_or(ForwardError::Unwritable { what: "it is gone" }));
                }
            }
        }
    }
}

/// An attempt that brought no answer.
struct Failed {
    /// `None`: a kept connection was closed before the request was written.
    error: Option<ForwardError>,
    /// The request, if no byte of it was written.
    request: Option<Request>,
}

impl From<ForwardError> for Failed {
    fn from(error: ForwardError) -> Self {
        Self { error: Some(error), request: None }
    }
}

/// One request on its way.
struct Call<'a> {
    pool: &'a Pool,
    worker: &'a Arc<Worker>,
    progress: Option<Arc<Progress>>,
    /// The tunnel that the client asks for.
    opening: Option<Opening>,
    /// Take no kept connection: one was dead already, the others may be too.
    fresh: bool,
}

impl Call<'_> {
    async fn attempt(
        &self,
        server: &Arc<Server>,
        path: &Path,
        mut request: Request,
    ) -> Result<(http::Response<Incoming>, Lease), Failed> {
        let in_flight = InFlight::start(server);
        // Over HTTP/2 a tunnel has a connection of its own, as it has otherwise.
        let alone = self.pool.http2 && self.opening.is_some();
        let kept = if self.fresh || alone { None } else { server.take(self.worker) };
        let reused = kept.is_some();
        let sender = match kept {
            Some(sender) => sender,
            None => match self.connect(server, path).await {
                Ok(sender) => sender,
                Err(error) => return Err(Failed { error: Some(error), request: Some(request) }),
            },
        };
        let (answer, sender) = match sender {
            Sender::Http1(mut sender) => {
                if let Some(opening) = &self.opening {
                    opening.for_http1(&mut request);
                }
                request::for_http1(&mut request);
                let answer = self.await_head(sender.try_send_request(request)).await;
                (answer, Sender::Http1(sender))
            }
            Sender::Http2(mut sender) => {
                let tls = matches!(path, Path::Tcp { tls: Some(_), .. });
                request::for_http2(&mut request, tls)?;
                let answer = self.await_head(sender.try_send_request(request)).await;
                (answer, Sender::Http2(sender))
            }
            Sender::WebSocket(mut sender) => {
                let tls = matches!(path, Path::Tcp { tls: Some(_), .. });
                request::for_http2(&mut request, tls)?;
                extended_connect::for_http2(&mut request);
                let answer = self.await_head(sender.try_send_request(request)).await;
                (answer, Sender::WebSocket(sender))
            }
        };
        match answer {
            Some(Ok(answer)) => {
                Ok((answer, Lease { sender, worker: self.worker.clone(), in_flight }))
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) if reused => Err(Failed { error: None, request: Some(request) }),
                _ => Err(self.failure(server, error).into()),
            },
            None => {
                let (server, limit) = (server.name.clone(), self.pool.timeouts.first_byte);
                Err(ForwardError::Slow { server, limit }.into())
            }
        }
    }

    async fn connect(&self, server: &Arc<Server>, path: &Path) -> Result<Sender, ForwardError> {
        let limit = self.pool.timeouts.connect;
        let speak = match (self.pool.http2, &self.opening) {
            (false, _) => Speak::Http1,
            (true, None) => Speak::Http2,
            (true, Some(_)) => Speak::WebSocket,
        };
        match connect::connect(path, speak, limit, self.worker).await {
            Ok(sender) => {
                server.connected();
                if let Sender::Http2(sender) = &sender {
                    server.share(self.worker, sender);
                }
                Ok(sender)
            }
            Err(source) => {
                server.failed();
                Err(ForwardError::Connect { server: server.name.clone(), source })
            }
        }
    }

    /// The answer's head; `None` if the upstream took too long. The time that a client takes for
    /// its body is not the upstream's.
    async fn await_head<F: Future>(&self, sending: F) -> Option<F::Output> {
        let limit = self.pool.timeouts.first_byte;
        let mut sending = pin!(sending);
        let mut until = Instant::now() + limit;
        loop {
            if let Ok(answer) = timeout_at(until, &mut sending).await {
                return Some(answer);
            }
            until = self.progress.as_ref()?.patience(limit)?;
        }
    }

    fn failure(&self, server: &Arc<Server>, error: TrySendError<Request>) -> ForwardError {
        let server = server.name.clone();
        let source = error.into_error();
        if let Some(fault) = self.progress.as_ref().and_then(|progress| progress.fault()) {
            return fault.into();
        }
        if source.is_parse() || source.is_parse_too_large() {
            return ForwardError::Malformed { server, source };
        }
        ForwardError::Closed { server, source }
    }

    /// Makes the answer ours: nothing is passed on that was not checked.
    fn accept(
        self,
        answer: http::Response<Incoming>,
        lease: Lease,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let server = lease.in_flight.server().name.clone();
        let refuse = |what| ForwardError::Framing { server: server.clone(), what };
        let (mut head, incoming) = answer.into_parts();
        response::check_framing(head.status, &mut head.headers).map_err(refuse)?;
        let tunnel = match &self.opening {
            Some(opening) => opening.is_opened(&head).map_err(refuse)?,
            None if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(refuse("a 101 that nobody asked for"));
            }
            None => false,
        };
        let over_http2 = head.version == Version::HTTP_2;
        // An HTTP/1.0 upstream does not make the client's connection one of HTTP/1.0.
        head.version = Version::HTTP_11;
        let answer = http::Response::from_parts(head, incoming);
        let mut response = if tunnel {
            self.begin_tunnel(answer, lease, over_http2, exchange)
        } else {
            let idle = self.pool.timeouts.idle;
            let mut response =
                answer.map(|incoming| response::body(incoming, lease, idle, exchange.watch));
            self.pass_on(response.headers_mut(), exchange);
            response
        };
        // What was one connection's is not the next one's.
        response.extensions_mut().remove::<OnUpgrade>();
        Ok(Forwarded { response, server, tunnel })
    }

    /// Begins the tunnel that the upstream has agreed to; the client is told by its answer.
    fn begin_tunnel(
        mut self,
        mut answer: http::Response<Incoming>,
        lease: Lease,
        over_http2: bool,
        exchange: &Exchange<'_>,
    ) -> Response {
        let upstream = upgrade::on(&mut answer);
        let mut response = answer.map(|_| Body::empty());
        let headers = response.headers_mut();
        self.pass_on(headers, exchange);
        if let Some(opening) = self.opening.take() {
            opening.agree(headers, over_http2);
            let websocket = opening.is_websocket();
            let client = opening.into_client();
            let (watch, in_flight) = (exchange.watch.cloned(), lease.in_flight);
            self.worker.spawn(Tunnel { client, upstream, websocket, watch, in_flight }.run());
        }
        response
    }

    fn pass_on(&self, headers: &mut HeaderMap, exchange: &Exchange<'_>) {
        clean_response(headers);
        rewrite_location(headers, self.pool.authorities(), exchange.facts);
        exchange.response_rules.apply(headers, exchange.facts);
    }

    async fn echoed(
        &self,
        server: &Arc<Server>,
        request: Request,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let _in_flight = InFlight::start(server);
        let mut response = echo::answer(request).await?;
        self.pass_on(response.headers_mut(), exchange);
        Ok(Forwarded { response, server: server.name.clone(), tunnel: false })
    }
}
