//! Sending a request to a server of the pool and taking its answer.
//!
//! How a request is written and when it is written again is `attempt`'s. Here it is made ready,
//! and its answer is made ours: checked, cleaned, its body watched, or a tunnel begun.

use std::mem;
use std::sync::Arc;

use http::header::HeaderMap;
use http::{StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::{self, OnUpgrade};

use super::attempt::{Call, Deadline};
use super::credential::Credential;
use super::echo;
use super::error::ForwardError;
use super::headers::{Facts, Protected, Rules, clean_response, rewrite_location};
use super::opening::Opening;
use super::pick::Wanted;
use super::pool::Pool;
use super::preface::Preface;
use super::request;
use super::response::{self, Lease, Limits};
use super::server::{InFlight, Server};
use super::spare::{self, BodyMemory};
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
    /// What a long answer or a tunnel must not outlive, if there is anything.
    pub watch: Option<&'a Watch>,
    /// `Pool::key` of the request.
    pub key: Option<u64>,
    /// Where the gateway logs in, if the upstream demands that.
    pub back_room: &'a BackRoom,
    pub memory: BodyMemory<'a>,
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
    /// the answer as soon as its head is there; bodies flow on both ways. What is left of
    /// `request` is empty.
    ///
    /// By reference, here and further down: each of these futures would have a copy of its own.
    ///
    /// # Errors
    /// When there is no answer, or none that may be passed on.
    pub async fn forward(
        &self,
        worker: &Arc<Worker>,
        request: &mut Request,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        match &self.credential {
            None => (),
            Some(Credential::Fixed(fields)) => fields.set(request.headers_mut()),
            // Boxed: it is rare, and its size would be every request's.
            Some(Credential::Login(login)) => {
                let logged_in = self.forward_logged_in(login, worker, request, exchange);
                return Box::pin(logged_in).await;
            }
        }
        self.send(worker, request, exchange).await
    }

    /// `forward` for a request that needs nothing more.
    pub(super) async fn send(
        &self,
        worker: &Arc<Worker>,
        request: &mut Request,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let idempotent = spare::is_idempotent(request.method());
        // Any request may be refused unseen over HTTP/2.
        let repeated = self.retries > 0 && (idempotent || self.http2);
        // Where connections are few, nobody has one while their body is still on the way.
        if repeated || self.few_connections {
            spare::hold(request, exchange.memory).await?;
        }
        request::frame(request);
        let bodyless = request.body().is_end_stream();
        let progress = request::watch_body(request, exchange.protected);
        let opening = Opening::of(request, !bodyless, self.http2);
        // Before anything is sent: a tunnel too many is none that the upstream hears of.
        let joined = match exchange.watch.filter(|_| opening.is_some()) {
            Some(watch) => {
                let limit = watch.max_tunnels;
                let joined = watch.join_tunnel().ok_or(ForwardError::Tunnels { limit })?;
                Some((joined, watch.notice))
            }
            None => None,
        };
        let named = self.proxy_protocol.map(|v| Preface::naming(v, exchange.facts.client));
        self.budget.earn(worker.index);
        let mut call = Call {
            pool: self,
            worker,
            progress,
            opening,
            joined,
            preface: named.transpose()?,
            idempotent,
            deadline: self.timeouts.total.map(Deadline::after),
            key: exchange.key,
            fresh: false,
            tries: 0,
            failed: Vec::new(),
        };
        let wanted = Wanted { failed: &[], key: exchange.key };
        let mut server = self.pick(worker, &wanted).ok_or_else(|| self.no_server())?;
        loop {
            server = self.roomier(server);
            let Some(path) = &server.path else {
                // Boxed: it is for the sample, and its size would be every request's.
                return Box::pin(call.echoed(server, mem::take(request), exchange)).await;
            };
            let failed = match call.attempt(server, path, request).await {
                Ok((answer, lease)) => return call.accept(answer, lease, exchange),
                Err(failed) => failed,
            };
            server = call.next(server, failed)?;
        }
    }
}

impl Call<'_> {
    /// Makes the answer ours: nothing is passed on that was not checked.
    fn accept(
        self,
        answer: http::Response<Incoming>,
        mut lease: Lease,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let server = lease.in_flight.server().name.clone();
        let refuse = |what| ForwardError::Framing { server: server.clone(), what };
        let (mut head, incoming) = answer.into_parts();
        lease.link.heed(&head.headers);
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
            let limits = Limits { idle: self.pool.timeouts.idle, total: self.deadline };
            let mut response =
                answer.map(|incoming| response::body(incoming, lease, limits, exchange.watch));
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
            let (joined, in_flight) = (self.joined.take(), lease.in_flight);
            self.worker.spawn(Tunnel { client, upstream, websocket, joined, in_flight }.run());
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
