//! One connection, from its handshake to its end.
//!
//! TLS negotiates HTTP/1.1 or HTTP/2 by ALPN; without TLS the protocol is HTTP/1.1. A TLS listener
//! recognises plain HTTP by its first byte and refuses it with a readable answer. Hyper reads and
//! writes. This file watches the time: it tells the connection to end when a drain begins or nobody
//! uses it, and cuts it when the client is too slow. Requests are passed to the handler.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::acme;
use crate::body::Response;
use crate::client::Client;
use crate::runtime::Worker;

use super::admission::{ConnectionEvent, HandshakeFailure, ListenerPermit};
use super::connection_timer::{ConnectionEnd, ConnectionTimer, TimerAction};
use super::context::{ConnectedPeer, ListenerContext};
use super::handshake;
use super::proxy_protocol::read_proxy_header;
use super::socket::{ClientSocket, ClientStream};
use super::streams::{AnswerBody, StreamExecutor};
use super::tls;

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
            if acme::is_challenge(session.alpn_protocol()) {
                return Box::pin(handshake::end_challenge(stream, limit)).await;
            }
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
                // Hyper adds it too, but only if it was notified before the answer was ready.
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
        let mut ending = ConnectionEnd::None;
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return Poll::Ready(());
                }
                if ending == ConnectionEnd::None && draining.as_mut().poll(cx).is_ready() {
                    ending = ConnectionEnd::Wanted(Instant::now());
                }
                if let ConnectionEnd::Wanted(since) = ending
                    && self.may_end(version)
                {
                    ending = ConnectionEnd::Told(since);
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
                    TimerAction::Idle => {
                        ending = ConnectionEnd::Told(Instant::now());
                        end(connection.as_mut());
                    }
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

    /// Whether a connection that should end is told so now. A connection without a request is not:
    /// its first request may be on its way, and every further connection of the client would end in
    /// the same way. Hyper closes an idle HTTP/1 connection at once, with whatever its client is just
    /// sending. Therefore it is told while a request is being answered: the answer says that it is
    /// the last. HTTP/2 has a message for it, after which nothing is lost (RFC 9113, section 6.8).
    /// Clients that were let in by settings that count no more get no such time.
    fn may_end(&self, version: Version) -> bool {
        let is_told_at_once = version == Version::HTTP_2 || self.shared.drain.is_urgent();
        self.activity.has_begun() && (is_told_at_once || self.activity.is_answering())
    }
}
