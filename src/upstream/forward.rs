//! Sending a request to a server of the pool and taking its answer.
//!
//! How a request is written and when it is written again is `attempt`'s. Here it is made ready,
//! and its answer is made ours: checked, cleaned, its body watched, or a tunnel begun.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::{self, OnUpgrade};

use super::attempt::{Call, Deadline};
use super::credential::Credential;
use super::echo;
use super::error::ForwardError;
use super::headers::{Facts, Protected, Rules, clean_response, rewrite_location};
use super::pick::Wanted;
use super::pool::Pool;
use super::preface::Preface;
use super::request;
use super::response::{self, Lease, Limits};
use super::server::{InFlight, Server};
use super::spare;
use super::upgrade::{self as tunnel, Tunnel};
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
    pub now: Timestamp,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Forwarded {
    pub response: Response,
    /// The server that gave it, for the log.
    pub server: Arc<str>,
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
        let idempotent = spare::is_idempotent(request.method());
        // Any request may be refused unseen over HTTP/2.
        if self.retries > 0 && (idempotent || self.http2) {
            spare::hold(&mut request).await?;
        }
        request::frame(&mut request);
        let bodyless = request.body().is_end_stream();
        let progress = request::watch_body(&mut request, exchange.protected);
        // A tunnel begins where the request ends: one that has a body of its own, or that goes out
        // over HTTP/2, is sent as the plain request it also is (RFC 9110 §7.8).
        let asked = tunnel::asked(request.headers_mut(), bodyless && !self.http2);
        // Before anything is sent: a tunnel too many is none that the upstream hears of.
        let joined = match exchange.watch.filter(|_| asked.is_some()) {
            Some(watch) => {
                let limit = watch.max_tunnels;
                let joined = watch.join_tunnel().ok_or(ForwardError::Tunnels { limit })?;
                Some((joined, watch.notice))
            }
            None => None,
        };
        let named = self.proxy_protocol.map(|v| Preface::naming(v, exchange.facts.client));
        let client = asked.is_some().then(|| upgrade::on(&mut request));
        self.budget.earn(worker.index);
        let mut call = Call {
            pool: self,
            worker,
            progress,
            asked,
            joined,
            preface: named.transpose()?,
            idempotent,
            deadline: self.timeouts.total.map(Deadline::after),
            key: exchange.key,
            fresh: false,
            tries: 0,
        };
        let wanted = Wanted { failed: None, key: exchange.key };
        let mut server = self.pick(worker, &wanted).ok_or_else(|| self.no_server())?.clone();
        loop {
            server = self.roomier(server);
            let Some(path) = &server.path else {
                return call.echoed(&server, request, exchange).await;
            };
            let failed = match call.attempt(&server, path, request).await {
                Ok((answer, lease)) => return call.accept(answer, lease, client, exchange),
                Err(failed) => failed,
            };
            (server, request) = call.next(&server, failed)?;
        }
    }
}

impl Call<'_> {
    /// Makes the answer ours: nothing is passed on that was not checked.
    fn accept(
        self,
        answer: http::Response<Incoming>,
        mut lease: Lease,
        client: Option<OnUpgrade>,
        exchange: &Exchange<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let server = lease.in_flight.server().name.clone();
        let refuse = |what| ForwardError::Framing { server: server.clone(), what };
        let (mut head, incoming) = answer.into_parts();
        lease.link.heed(&head.headers);
        response::check_framing(head.status, &mut head.headers).map_err(refuse)?;
        // An HTTP/1.0 upstream does not make the client's connection one of HTTP/1.0.
        head.version = Version::HTTP_11;
        let answer = http::Response::from_parts(head, incoming);
        let response = if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.begin_tunnel(answer, lease, client, exchange).map_err(refuse)?
        } else {
            let limits = Limits { idle: self.pool.timeouts.idle, total: self.deadline };
            let mut response =
                answer.map(|incoming| response::body(incoming, lease, limits, exchange.watch));
            self.pass_on(response.headers_mut(), exchange);
            response
        };
        Ok(Forwarded { response, server })
    }

    fn begin_tunnel(
        mut self,
        mut answer: http::Response<Incoming>,
        lease: Lease,
        client: Option<OnUpgrade>,
        exchange: &Exchange<'_>,
    ) -> Result<Response, &'static str> {
        let (Some(client), Some(asked)) = (client, &self.asked) else {
            return Err("a 101 that nobody asked for");
        };
        tunnel::check_agreement(asked, answer.headers())?;
        let upstream = upgrade::on(&mut answer);
        let websocket = asked.as_bytes().eq_ignore_ascii_case(b"websocket");
        let (joined, in_flight) = (self.joined.take(), lease.in_flight);
        self.worker.spawn(Tunnel { client, upstream, websocket, joined, in_flight }.run());
        let mut response = answer.map(|_| Body::empty());
        let headers = response.headers_mut();
        self.pass_on(headers, exchange);
        headers.insert(header::UPGRADE, asked.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        Ok(response)
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
        Ok(Forwarded { response, server: server.name.clone() })
    }
}
