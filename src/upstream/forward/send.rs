//! Sends a request to a server of the pool and prepares the answer for the client.
//!
//! `attempt` writes the request and decides about retries. This file prepares the request before,
//! and the answer after that: the answer is checked and cleaned, its body is watched, or a tunnel
//! begins. An answer that was not checked is never passed on. `forward` calls `UpstreamPool::send`.

use std::mem;
use std::sync::Arc;

use http::header::HeaderMap;
use http::{StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::{self, OnUpgrade};

use super::attempt::Delivery;
use super::context::{ForwardContext, ForwardedResponse};
use super::deadline::ExchangeDeadline;
use super::echo;
use super::replay;
use super::request;
use super::response::{self, BodyLimits, ConnectionLease};
use super::upgrade::UpgradeTunnel;
use super::upgrade_request::UpgradeRequest;
use crate::body::{Body, Request, Response};
use crate::headers::{clean_response, rewrite_location};
use crate::runtime::Worker;
use crate::upstream::connection::ProxyHeaderBytes;
use crate::upstream::error::ForwardError;
use crate::upstream::pool::{InFlight, PickRequest, PoolServer, UpstreamPool};

impl UpstreamPool {
    /// `forward` after the credential was set. `forward` calls it twice if the upstream refuses the
    /// first credential.
    ///
    /// # Errors
    /// As `UpstreamPool::forward`.
    pub(super) async fn send(
        &self,
        worker: &Arc<Worker>,
        request: &mut Request,
        exchange: &ForwardContext<'_>,
    ) -> Result<ForwardedResponse, ForwardError> {
        let idempotent = replay::is_idempotent(request.method());
        // An HTTP/2 server may refuse any request unseen, so a copy can be useful for every method.
        let repeated = self.retries > 0 && (idempotent || self.http2);
        // If connections are limited, a client that sends its body slowly would occupy one for all
        // that time. A small body is therefore read before a connection is taken. Without a limit a
        // slow body occupies only its own connection.
        if repeated || self.few_connections {
            replay::buffer_body(request, exchange.memory).await?;
        }
        request::frame(request);
        let bodyless = request.body().is_end_stream();
        let progress = request::watch_body(request, exchange.protected);
        let upgrade_request = UpgradeRequest::of(request, !bodyless, self.http2);
        // The place is taken before anything is sent: if the session has too many tunnels, then the
        // upstream does not learn of this one. A place that is not used is given back when the call
        // ends.
        let registered = match exchange.lifetime.filter(|_| upgrade_request.is_some()) {
            Some(lifetime) => {
                let limit = lifetime.max_tunnels;
                let registered = lifetime.join_tunnel().ok_or(ForwardError::Tunnels { limit })?;
                Some((registered, lifetime.notice))
            }
            None => None,
        };
        let named = self.proxy_protocol.map(|v| ProxyHeaderBytes::naming(v, exchange.facts.client));
        self.budget.earn(worker.index);
        let mut call = Delivery {
            pool: self,
            worker,
            progress,
            upgrade_request,
            registered,
            proxy_header: named.transpose()?,
            idempotent,
            deadline: self.timeouts.total.map(ExchangeDeadline::after),
            key: exchange.key,
            fresh: false,
            tries: 0,
            failed: Vec::new(),
        };
        let wanted = PickRequest { failed: &[], key: exchange.key };
        let mut server = self.pick(worker, &wanted).ok_or_else(|| self.no_server())?;
        loop {
            server = self.roomier(server);
            let Some(path) = &server.path else {
                // Boxed because the echo is a sample: unboxed, its state would enlarge the future
                // of every request.
                return Box::pin(call.at_home(server, mem::take(request), exchange)).await;
            };
            let failed = match call.attempt(server, path, request).await {
                Ok((answer, lease)) => return call.accept(answer, lease, exchange),
                Err(failed) => failed,
            };
            server = call.next(server, failed)?;
        }
    }
}

impl Delivery<'_> {
    /// Checks the answer and prepares it for the client. Nothing is passed on that was not checked.
    ///
    /// # Errors
    /// The answer's framing can be read in two ways, or it agrees to a tunnel that nobody asked
    /// for.
    fn accept(
        self,
        answer: http::Response<Incoming>,
        mut lease: ConnectionLease,
        exchange: &ForwardContext<'_>,
    ) -> Result<ForwardedResponse, ForwardError> {
        let server = lease.in_flight.server().name.clone();
        let refuse = |what| ForwardError::Framing { server: server.clone(), what };
        let (mut head, incoming) = answer.into_parts();
        lease.connection.apply_keep_alive(&head.headers);
        response::check_framing(head.status, &mut head.headers).map_err(refuse)?;
        let tunnel = match &self.upgrade_request {
            Some(upgrade_request) => upgrade_request.is_opened(&head).map_err(refuse)?,
            None if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(refuse("a 101 that was not requested"));
            }
            None => false,
        };
        let over_http2 = head.version == Version::HTTP_2;
        // An HTTP/1.0 upstream does not make the client's connection HTTP/1.0. hyper's server would
        // otherwise close the client's connection after the answer.
        head.version = Version::HTTP_11;
        let answer = http::Response::from_parts(head, incoming);
        let mut response = if tunnel {
            self.begin_tunnel(answer, lease, over_http2, exchange)
        } else {
            let limits = BodyLimits { idle: self.pool.timeouts.idle, total: self.deadline };
            let mut response =
                answer.map(|incoming| response::body(incoming, lease, limits, exchange.lifetime));
            self.pass_on(response.headers_mut(), exchange);
            response
        };
        // The handle belongs to the connection to the upstream. On the client's connection it must
        // not cause an upgrade. The tunnel has taken it already if there is one.
        response.extensions_mut().remove::<OnUpgrade>();
        Ok(ForwardedResponse { response, server, tunnel })
    }

    /// Starts the tunnel that the upstream agreed to. The client learns of it by the returned
    /// answer; the tunnel's task waits until the client has received that. The answer's own body is
    /// empty: everything after its head belongs to the tunnel.
    fn begin_tunnel(
        mut self,
        mut answer: http::Response<Incoming>,
        lease: ConnectionLease,
        over_http2: bool,
        exchange: &ForwardContext<'_>,
    ) -> Response {
        let upstream = upgrade::on(&mut answer);
        let mut response = answer.map(|_| Body::empty());
        let headers = response.headers_mut();
        self.pass_on(headers, exchange);
        if let Some(upgrade_request) = self.upgrade_request.take() {
            upgrade_request.agree(headers, over_http2);
            let websocket = upgrade_request.is_websocket();
            let client = upgrade_request.into_client();
            let registered = self.registered.take();
            let in_flight = lease.in_flight;
            self.worker
                .spawn(UpgradeTunnel { client, upstream, websocket, registered, in_flight }.run());
        }
        response
    }

    /// Cleans the answer's fields, rewrites `Location`, and applies the route's rules, in this
    /// order: the rules have the last word. The same is done for an ordinary answer, for the answer
    /// that opens a tunnel, and for the echo.
    fn pass_on(&self, headers: &mut HeaderMap, exchange: &ForwardContext<'_>) {
        clean_response(headers);
        rewrite_location(headers, self.pool.authorities(), exchange.facts);
        exchange.response_rules.apply(headers, exchange.facts);
    }

    /// The answer of a server to which no way leads out of the process: the built-in echo, or any
    /// server in a dry run.
    async fn at_home(
        &self,
        server: &Arc<PoolServer>,
        request: Request,
        exchange: &ForwardContext<'_>,
    ) -> Result<ForwardedResponse, ForwardError> {
        if let Some(end) = &self.pool.dry_run {
            return self.capture(end, server, request);
        }
        let _in_flight = InFlight::start(server);
        let mut response = echo::answer(request).await?;
        self.pass_on(response.headers_mut(), exchange);
        Ok(ForwardedResponse { response, server: server.name.clone(), tunnel: false })
    }
}
