//! One connection, from its handshake to its end.
//!
//! TLS negotiates HTTP/1.1 or HTTP/2 by ALPN; without TLS the protocol is HTTP/1.1. A TLS listener
//! recognises plain HTTP by its first byte and refuses it with a readable answer. Hyper reads and
//! writes. This file watches the time: it tells the connection to end when a drain begins or nobody
//! uses it, and cuts it when the client is too slow. Requests are passed to the handler.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::{StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::body::Response;
use crate::client::{AddressText, Client, RequestBounds, Scheme};
use crate::config::{self, HstsPolicy};
use crate::runtime::Worker;

use super::admission::{ConnectionEvent, ConnectionLimits, HandshakeFailure, ListenerPermit};
use super::certificates::ListenerCertificates;
use super::connection_timer::{ConnectionTimer, TimerAction};
use super::drain::Drain;
use super::handshake;
use super::proxy_protocol::read_proxy_header;
use super::socket::{ClientSocket, ClientStream};
use super::streams::{AnswerBody, StreamExecutor};
use super::tls;

/// The parts that all connections of a listener under the same settings share. A reload that
/// changes the settings makes a new `ListenerContext` and drains the connections of the old one.
pub(super) struct ListenerContext<H> {
    name: Arc<str>,
    config: config::ListenerSettings,
    tls: Option<Arc<ListenerCertificates>>,
    gate: Arc<ConnectionLimits>,
    drain: Drain,
    http1: http1::Builder,
    hsts: Option<HeaderValue>,
    handler: H,
}

/// The peer of a connection, as far as the socket or its PROXY header shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectedPeer {
    pub(super) socket: Option<SocketAddr>,
    pub(super) address: Option<IpAddr>,
    pub(super) is_trusted: bool,
    /// Many clients share this address, so a limit per address would be one limit for all of them.
    pub(super) is_shared: bool,
    /// The connection must begin with a PROXY header.
    pub(super) requires_proxy_header: bool,
    /// The header is required, and the connection began without one.
    pub(super) lacks_proxy_header: bool,
}

/// Room for a few pieces of an answer. More would only make slow clients expensive.
const BUFFER: usize = 128 << 10;
/// Up to this number hyper stores header fields without an allocation for each request.
const HEADERS_WITHOUT_COST: usize = 100;

/// Flow control: at most 2 MiB are in flight on one connection, and 256 KiB of one body.
const CONNECTION_WINDOW: u32 = 2 << 20;
const STREAM_WINDOW: u32 = 256 << 10;
const SEND_BUFFER: usize = 64 << 10;
/// Bounds on streams that a client resets at once (rapid reset) and on those that are reset here
/// because they are malformed. Beyond them the connection is closed. Each such stream costs work
/// here and nothing at the client.
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 256;

impl<H> ListenerContext<H> {
    pub(super) fn new(
        listener: &config::ListenerSettings,
        tls: Option<Arc<ListenerCertificates>>,
        gate: Arc<ConnectionLimits>,
        drain: Drain,
        handler: H,
    ) -> Self {
        let limits = &listener.limits;
        let mut http1 = http1::Builder::new();
        http1
            .half_close(false)
            // `ConnectionTimer` watches the time of heads instead.
            .header_read_timeout(None)
            .max_header_size(limits.header_bytes)
            .max_buf_size(BUFFER.max(limits.header_bytes.saturating_add(1)));
        if limits.header_count != HEADERS_WITHOUT_COST {
            http1.max_headers(limits.header_count);
        }
        Self {
            name: listener.name.as_str().into(),
            config: listener.clone(),
            tls,
            gate,
            drain,
            http1,
            hsts: listener.tls.as_ref().and_then(|tls| tls.hsts.as_ref()).map(HstsPolicy::value),
            handler,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn handler(&self) -> &H {
        &self.handler
    }

    pub(super) fn gate(&self) -> &Arc<ConnectionLimits> {
        &self.gate
    }

    pub(super) fn drain(&self) -> &Drain {
        &self.drain
    }

    pub(super) fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Counts a connection that failed before its first request.
    pub(super) fn failed(&self, failure: HandshakeFailure) {
        self.gate.count_failure(failure);
        tracing::debug!(listener = self.name(), class = failure.as_str(), "no handshake");
    }

    pub(super) fn peer(&self, socket: Option<SocketAddr>) -> ConnectedPeer {
        let address = socket.map(|socket| socket.ip().to_canonical());
        let is_in = |nets: &[IpNet]| match address {
            Some(address) => nets.iter().any(|net| net.contains(&address)),
            // The peer of a unix socket has no address. The mode of its file decides who may
            // connect, so a list that names anybody includes these peers.
            None => !nets.is_empty(),
        };
        let is_trusted = is_in(&self.config.trusted_proxies);
        let is_shared = is_trusted || is_in(&self.config.shared_addresses);
        let owes_header = is_in(&self.config.proxy_protocol);
        ConnectedPeer {
            socket,
            address,
            is_trusted,
            is_shared,
            requires_proxy_header: owes_header,
            lacks_proxy_header: false,
        }
    }

    fn client(
        &self,
        peer: &ConnectedPeer,
        local: Option<SocketAddr>,
        session: Option<&rustls::ServerConnection>,
    ) -> Client {
        let sni = session.and_then(|session| session.server_name());
        Client {
            address: peer.address,
            peer: peer.socket,
            local,
            listener: self.name.clone(),
            scheme: if self.tls.is_some() { Scheme::Https } else { Scheme::Http },
            sni: sni.map(|sni| tls::asked_name(sni).into()),
            certificate: session.and_then(tls::client_certificate),
            address_text: AddressText::default(),
            names: self.tls.as_ref().map(|certificates| certificates.names()),
            trusted_proxy: peer.is_trusted,
            only_health: peer.lacks_proxy_header,
            redirect: self.config.redirect_to_https,
            bounds: RequestBounds {
                uri_bytes: self.config.limits.uri_bytes,
                header_count: self.config.limits.header_count,
                body_idle: self.config.timeouts.body_idle,
                body_rate: self.config.timeouts.least_rate(),
            },
        }
    }

    /// Adds the header fields that every answer of this listener has.
    fn mark(&self, response: &mut Response) {
        if let Some(hsts) = &self.hsts {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }

    fn http2(&self, streams: StreamExecutor) -> http2::Builder<StreamExecutor> {
        let limits = &self.config.limits;
        let timeouts = &self.config.timeouts;
        let mut http2 = http2::Builder::new(streams);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            // For WebSocket over HTTP/2 (RFC 8441). The handler refuses other protocols.
            .enable_connect_protocol()
            // HTTP/2 pings notice a client that is gone, even while a stream is open.
            .keep_alive_interval(timeouts.body_idle)
            .keep_alive_timeout(timeouts.header);
        http2
    }
}

/// Serves one connection until it ends, for whatever reason.
pub(super) async fn serve<H, F>(
    shared: Arc<ListenerContext<H>>,
    worker: Arc<Worker>,
    mut stream: ClientStream,
    mut peer: ConnectedPeer,
    mut permit: ListenerPermit,
) where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let local = match &stream {
        // Without an address it would be taken for a connection of a unix socket.
        ClientStream::Tcp(stream) => match stream.local_addr() {
            Ok(local) => Some(local),
            Err(error) => return tracing::debug!(%error, "a connection without an address"),
        },
        ClientStream::Unix(_) => None,
    };
    let limit = shared.config.timeouts.handshake;
    let begun = Instant::now();
    let mut ahead = Bytes::new();
    if peer.requires_proxy_header {
        // Boxed, because it is rare and would otherwise enlarge the future of every connection.
        let proxied =
            Box::pin(read_proxy_header(&shared, &mut stream, peer, &mut permit, limit)).await;
        let Some(proxied) = proxied else { return };
        (peer, ahead) = (proxied.peer, proxied.rest);
    }
    let activity = ConnectionTimer::new();
    let Some(certificates) = &shared.tls else {
        let socket = ClientSocket::new(stream, activity.clone(), permit).with_ahead(ahead);
        let client = Arc::new(shared.client(&peer, local, None));
        return ReadyConnection { shared, worker, client, activity }.http1(socket).await;
    };
    let limit = limit.saturating_sub(begun.elapsed());
    let begun = Instant::now();
    // The first bytes are read here, in the read with which the handshake would have begun.
    match handshake::greeting(&mut stream, ahead, limit).await {
        Ok(greeting) => ahead = greeting,
        Err(failure) => return shared.failed(failure),
    }
    let socket = ClientSocket::new(stream, activity.clone(), permit).with_ahead(ahead.clone());
    if handshake::is_plain_http(&ahead) {
        shared.failed(HandshakeFailure::NotTls);
        // It does not matter whether the client reads the whole answer.
        let _ = tokio::time::timeout(limit, Box::pin(handshake::refuse_plain(socket))).await;
        return;
    }
    drop(ahead);
    let limit = limit.saturating_sub(begun.elapsed());
    // Boxed: otherwise every connection would stay as large as its handshake.
    match Box::pin(handshake::accept(certificates, socket, limit)).await {
        Ok(stream) => {
            let session = stream.get_ref().1;
            let is_http2 = session.alpn_protocol() == Some(tls::H2);
            let client = Arc::new(shared.client(&peer, local, Some(session)));
            activity.connected(is_http2);
            let connection = ReadyConnection { shared, worker, client, activity };
            if is_http2 {
                // Boxed: otherwise every connection would be as large as the larger of the two.
                Box::pin(connection.http2(stream)).await;
            } else {
                Box::pin(connection.http1(stream)).await;
            }
        }
        Err(failure) => shared.failed(failure),
    }
}

/// A connection that is ready for requests.
struct ReadyConnection<H> {
    shared: Arc<ListenerContext<H>>,
    worker: Arc<Worker>,
    client: Arc<Client>,
    activity: Arc<ConnectionTimer>,
}

impl<H, F> ReadyConnection<H>
where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    fn for_request(&self) -> (Arc<ListenerContext<H>>, Arc<Worker>, Arc<Client>) {
        (self.shared.clone(), self.worker.clone(), self.client.clone())
    }

    async fn http1<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: http::Request<Incoming>| {
            let answering = self.activity.begin();
            let (shared, worker, client) = self.for_request();
            // Boxed: hyper keeps room for it for the whole connection, which is mostly idle.
            Box::pin(async move {
                let mut response = (shared.handler)(worker, client, request).await;
                shared.mark(&mut response);
                // Hyper adds it too, but only if it was told before the answer was ready.
                if shared.drain.is_started() && response.status() != StatusCode::SWITCHING_PROTOCOLS
                {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| AnswerBody::new(body, None, answering)))
            })
        });
        let connection =
            self.shared.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let end = |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| {
            connection.graceful_shutdown();
        };
        // Hyper would close a connection without a request at once. A client that was waiting to be
        // accepted when the drain began should still get its answer.
        self.drive(connection, end, Version::HTTP_11).await;
    }

    async fn http2<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limit = self.shared.config.timeouts.body_idle;
        let worker = self.worker.clone();
        let gate = self.shared.gate.clone();
        let streams = StreamExecutor::new(worker, gate, self.activity.clone(), limit);
        let service = service_fn(|request: http::Request<Incoming>| {
            let answering = self.activity.begin();
            let taking = streams.watch_next();
            let (shared, worker, client) = self.for_request();
            // The handler is called inside the future: a panic outside of it would end the whole
            // connection, with all its streams. Boxed: otherwise hyper and the stream's task would
            // each hold a copy.
            Box::pin(async move {
                let mut response = (shared.handler)(worker, client, request).await;
                shared.mark(&mut response);
                Ok::<_, Infallible>(
                    response.map(|body| AnswerBody::new(body, Some(taking), answering)),
                )
            })
        });
        let connection =
            self.shared.http2(streams.clone()).serve_connection(TokioIo::new(stream), service);
        let end = |connection: Pin<&mut http2::Connection<_, _, _>>| {
            connection.graceful_shutdown();
        };
        self.drive(connection, end, Version::HTTP_2).await;
    }

    /// Runs `connection` to its end. `end` tells it to end after its current requests.
    async fn drive<C>(&self, connection: C, end: impl Fn(Pin<&mut C>), version: Version)
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let limits = &self.shared.config.timeouts;
        let mut connection = pin!(connection);
        let mut draining = pin!(self.shared.drain.watch());
        let mut timer = pin!(tokio::time::sleep(limits.header));
        // The time at which it was told to end, or will be as soon as its first request has
        // arrived.
        let mut ending = None;
        let mut told_to_end = false;
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return Poll::Ready(());
                }
                if ending.is_none() && draining.as_mut().poll(cx).is_ready() {
                    ending = Some(Instant::now());
                }
                let may_end = version == Version::HTTP_2 || self.activity.has_begun();
                if ending.is_some() && !told_to_end && may_end {
                    told_to_end = true;
                    end(connection.as_mut());
                    continue;
                }
                let Some((deadline, due)) = self.activity.due(limits, ending) else {
                    return Poll::Pending;
                };
                if Instant::now() < deadline {
                    // A timer that fires too early is set again when it fires. That is rarer than a
                    // deadline that moves, which happens with every request.
                    if timer.deadline() > deadline || timer.is_elapsed() {
                        timer.as_mut().reset(deadline);
                    }
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    continue;
                }
                match due {
                    TimerAction::Idle => ending = Some(Instant::now()),
                    TimerAction::Over => return Poll::Ready(()),
                    TimerAction::SlowHead => {
                        self.shared.gate.count(ConnectionEvent::SlowHead);
                        return Poll::Ready(());
                    }
                    TimerAction::Stalled => {
                        self.shared.gate.count(ConnectionEvent::Stalled);
                        return Poll::Ready(());
                    }
                }
            }
        })
        .await;
    }
}
