//! The settings that the connections of one listener share, and what is known about a peer.
//!
//! `served` keeps the context of the connections that are accepted from now on, and each connection
//! keeps its own to its end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

use crate::body::Response;
use crate::client::{AddressText, Client, RequestBounds, Scheme};
use crate::settings::{self, HstsPolicy};

use super::admission::{ConnectionLimits, HandshakeFailure};
use super::certificates::ListenerCertificates;
use super::drain::Drain;
use super::resolver::asked_name;
use super::streams::StreamExecutor;
use super::tls;

/// The parts that all connections of a listener under the same settings share. A reload that
/// changes the settings makes a new `ListenerContext` and drains the connections of the old one.
pub(super) struct ListenerContext<H> {
    name: Arc<str>,
    pub(super) config: settings::ListenerSettings,
    pub(super) tls: Option<Arc<ListenerCertificates>>,
    pub(super) gate: Arc<ConnectionLimits>,
    pub(super) drain: Drain,
    /// Counts the connections under these settings.
    pub(super) connections: TaskTracker,
    pub(super) http1: http1::Builder,
    hsts: Option<HeaderValue>,
    pub(super) handler: H,
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

impl ConnectedPeer {
    /// The peer at the other end of `socket`, as the settings of the listener judge it.
    pub(super) fn of(listener: &settings::ListenerSettings, socket: Option<SocketAddr>) -> Self {
        let address = socket.map(|socket| socket.ip().to_canonical());
        let is_in = |nets: &[IpNet]| match address {
            Some(address) => nets.iter().any(|net| net.contains(&address)),
            // The peer of a unix socket has no address. The mode of its file decides who may
            // connect, so a list that names anybody includes these peers.
            None => !nets.is_empty(),
        };
        let is_trusted = is_in(&listener.trusted_proxies);
        Self {
            socket,
            address,
            is_trusted,
            is_shared: is_trusted || is_in(&listener.shared_addresses),
            requires_proxy_header: is_in(&listener.proxy_protocol),
            lacks_proxy_header: false,
        }
    }
}

/// The limits of a listener for a single request.
pub(super) fn bounds_of(listener: &settings::ListenerSettings) -> RequestBounds {
    RequestBounds {
        uri_bytes: listener.limits.uri_bytes,
        header_count: listener.limits.header_count,
        body_idle: listener.timeouts.body_idle,
        body_rate: listener.timeouts.least_rate(),
    }
}

impl<H> ListenerContext<H> {
    pub(super) fn new(
        listener: &settings::ListenerSettings,
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
            connections: TaskTracker::new(),
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
        ConnectedPeer::of(&self.config, socket)
    }

    pub(super) fn client(
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
            sni: sni.map(|sni| asked_name(sni).into()),
            certificate: session.and_then(tls::client_certificate),
            certificate_fault: None,
            address_text: AddressText::default(),
            names: self.tls.as_ref().map(|certificates| certificates.names()),
            trusted_proxy: peer.is_trusted,
            only_health: peer.lacks_proxy_header,
            redirect: self.config.redirect_to_https,
            bounds: bounds_of(&self.config),
        }
    }

    /// Adds the header fields that every answer of this listener has.
    pub(super) fn mark(&self, response: &mut Response) {
        if let Some(hsts) = &self.hsts {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }

    pub(super) fn http2(&self, streams: StreamExecutor) -> http2::Builder<StreamExecutor> {
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
