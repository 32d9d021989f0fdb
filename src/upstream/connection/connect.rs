//! Opens a connection to a server: TCP or unix socket, then TLS, then the HTTP handshake. A PROXY
//! header, if configured, comes before TLS.
//!
//! Every address of a name is tried, each with its share of the connect timeout, so that one silent
//! address does not use up the time of the others. The TLS certificate is checked against the
//! upstream's own CA, or against the public and system authorities; the check is off only if the
//! configuration says `insecure_skip_verify`. `pool` and `forward` are the callers.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::handshake::{HandshakeResult, handshake_http1, handshake_http2, handshake_websocket};
use super::limit::ConnectionPermit;
use super::pooled::{PooledConnection, RequestSender, ResolvedAddress};
use super::proxy_header::ProxyHeaderBytes;
use super::resolve::{DnsBackend, LookupSpawner, NameResolver};
use super::transport::{UpstreamStream, UpstreamTransport};
use crate::headers::bare;
use crate::runtime::Worker;
use crate::settings;
use crate::tls_roots;
use crate::upstream::error::{ConnectError, PoolBuildError};

/// The way to a server.
pub(in crate::upstream) enum ServerEndpoint {
    Tcp { host: ServerHost, port: u16, tls: Option<ServerTls> },
    Unix(PathBuf),
}

/// An IP address, or a name that is resolved to addresses.
pub(in crate::upstream) enum ServerHost {
    Address(IpAddr),
    Name(Arc<NameResolver>),
}

impl ServerHost {
    /// A `host` as configured. A name is resolved again after `every`.
    pub(in crate::upstream) fn new(host: &str, every: Duration) -> Self {
        match bare(host).parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Name(NameResolver::new(host, every, DnsBackend::System)),
        }
    }
}

impl fmt::Display for ServerHost {
    /// Formats the host as in a URL: an IPv6 address is in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
            Self::Address(v4) => write!(f, "{v4}"),
            Self::Name(names) => f.write_str(names.host()),
        }
    }
}

impl ServerEndpoint {
    /// The resolver of the server's name; `None` for an IP address or a unix socket.
    pub(in crate::upstream) fn names(&self) -> Option<&Arc<NameResolver>> {
        match self {
            Self::Tcp { host: ServerHost::Name(names), .. } => Some(names),
            Self::Tcp { .. } | Self::Unix(_) => None,
        }
    }
}

/// The TLS settings of one server.
pub(in crate::upstream) struct ServerTls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// True once the server was found to speak HTTP/2 without extended CONNECT, so that WebSockets
    /// need HTTP/1.1.
    sockets_by_http1: AtomicBool,
}

/// The protocol that a connection is to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum WireProtocol {
    Http1,
    /// HTTP/2, or HTTP/1.1 if the server selects that in the TLS handshake (ALPN).
    Http2,
    /// HTTP/2 if the server supports extended CONNECT, else HTTP/1.1, which needs TLS to be agreed
    /// on. A server without TLS and without extended CONNECT gets a plain HTTP/2 request.
    WebSocket,
}

impl ServerTls {
    /// TLS to the server `host`, whose certificate must be for that name or for the configured
    /// `server_name`.
    ///
    /// # Errors
    /// The name is neither a DNS name nor an IP address.
    pub(in crate::upstream) fn new(
        config: &settings::UpstreamSettings,
        host: &str,
        shared: &Arc<ClientConfig>,
    ) -> Result<Self, PoolBuildError> {
        let name = config.tls.server_name.as_deref().unwrap_or_else(|| bare(host));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            PoolBuildError::ServerName { upstream: config.name.clone(), name: name.to_owned() }
        })?;
        let connector = TlsConnector::from(shared.clone());
        Ok(Self { connector, name, sockets_by_http1: AtomicBool::new(false) })
    }
}

/// The protocol names of ALPN (RFC 7301 §6).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// The TLS configuration that all servers of an upstream share.
///
/// # Errors
/// Certificate authorities, a certificate or a key cannot be read.
pub(in crate::upstream) fn tls_config(
    config: &settings::UpstreamSettings,
) -> Result<Arc<ClientConfig>, PoolBuildError> {
    let tls_error = |source| PoolBuildError::Tls { upstream: config.name.clone(), source };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?;
    let builder = if config.tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(tls_roots::no_verification())
    } else {
        let roots = tls_roots::roots(config.tls.ca.as_deref())
            .map_err(|source| PoolBuildError::Trust { upstream: config.name.clone(), source })?;
        builder.with_root_certificates(roots)
    };
    let mut tls = match &config.tls.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let unreadable = |path: &PathBuf| {
                let upstream = config.name.clone();
                let path = path.clone();
                move |source| PoolBuildError::Pem { upstream, path, source }
            };
            let chain = CertificateDer::pem_file_iter(chain)
                .and_then(Iterator::collect)
                .map_err(unreadable(chain))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
            builder.with_client_auth_cert(chain, key).map_err(tls_error)?
        }
    };
    tls.alpn_protocols = match config.http2 {
        true => vec![HTTP2.to_vec(), HTTP1.to_vec()],
        false => vec![HTTP1.to_vec()],
    };
    Ok(Arc::new(tls))
}

/// The parameters of a new connection.
pub(in crate::upstream) struct ConnectOptions<'a> {
    pub(in crate::upstream) way: HandshakeOptions<'a>,
    pub(in crate::upstream) limit: Duration,
    /// How long the connection may stay unused before it is dropped.
    pub(in crate::upstream) keep: Duration,
    pub(in crate::upstream) worker: &'a Arc<Worker>,
}

/// The protocol of a connection, and the bytes before it.
#[derive(Clone, Copy)]
pub(in crate::upstream) struct HandshakeOptions<'a> {
    pub(in crate::upstream) speak: WireProtocol,
    /// The PROXY header, which is written before TLS and HTTP.
    pub(in crate::upstream) proxy_header: Option<&'a ProxyHeaderBytes>,
}

/// Connects within the limit and starts the connection's driver on the worker. The `permit` lives
/// as long as the socket.
///
/// # Errors
/// The name has no address, no connection or handshake succeeds, or the limit passes.
pub(in crate::upstream) async fn connect(
    path: &ServerEndpoint,
    manner: &ConnectOptions<'_>,
    permit: Option<ConnectionPermit>,
) -> Result<PooledConnection, ConnectError> {
    let limit = manner.limit;
    let permit = permit.map(Arc::new);
    let connecting = async {
        let (sender, at) = match manner.way.speak {
            WireProtocol::WebSocket => for_websocket(path, manner, permit).await?,
            WireProtocol::Http1 | WireProtocol::Http2 => {
                let asker = LookupSpawner::Worker(manner.worker);
                let (stream, http2, at) = open(path, manner.way, limit, asker).await?;
                let transport = UpstreamTransport::new(stream, permit);
                let sender = match http2 {
                    true => handshake_http2(transport, manner.worker).await?,
                    false => handshake_http1(transport, manner.worker).await?,
                };
                (sender, at)
            }
        };
        Ok(PooledConnection::new(sender, at, manner.keep))
    };
    tokio::time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::Slow { limit }))
}

/// Opens a stream on which HTTP can begin. Returns it with true if HTTP/2 is to be spoken, and with
/// the address that was chosen among those of a name.
pub(in crate::upstream) async fn open(
    path: &ServerEndpoint,
    way: HandshakeOptions<'_>,
    limit: Duration,
    asker: LookupSpawner<'_>,
) -> Result<(UpstreamStream, bool, Option<ResolvedAddress>), ConnectError> {
    // Without TLS there is no negotiation, so HTTP/2 begins with prior knowledge (RFC 9113 §3.3).
    let prior = way.speak != WireProtocol::Http1;
    let (host, port, tls) = match path {
        ServerEndpoint::Unix(path) => {
            let mut stream = UnixStream::connect(path).await.map_err(ConnectError::Refused)?;
            if let Some(proxy_header) = way.proxy_header {
                proxy_header.write(&mut stream).await?;
            }
            return Ok((UpstreamStream::Unix(stream), prior, None));
        }
        ServerEndpoint::Tcp { host, port, tls } => (host, *port, tls),
    };
    let (mut stream, at) = match host {
        ServerHost::Address(ip) => (dial((*ip, port).into()).await?, None),
        ServerHost::Name(names) => {
            let (stream, address) = named(names, port, limit, asker).await?;
            (stream, Some(address))
        }
    };
    if let Some(proxy_header) = way.proxy_header {
        proxy_header.write(&mut stream).await?;
    }
    let (stream, http2) = match tls {
        None => (UpstreamStream::Tcp(stream), prior),
        Some(tls) => secured(stream, tls, way.speak).await?,
    };
    Ok((stream, http2, at))
}

/// A connection for one WebSocket. If the server turns out not to support extended CONNECT, then a
/// second connection with HTTP/1.1 replaces the first.
async fn for_websocket(
    path: &ServerEndpoint,
    manner: &ConnectOptions<'_>,
    permit: Option<Arc<ConnectionPermit>>,
) -> Result<(RequestSender, Option<ResolvedAddress>), ConnectError> {
    let limit = manner.limit;
    let worker = manner.worker;
    let asker = LookupSpawner::Worker(worker);
    let tls = match path {
        ServerEndpoint::Tcp { tls, .. } => tls.as_ref(),
        ServerEndpoint::Unix(_) => None,
    };
    if !tls.is_some_and(|tls| tls.sockets_by_http1.load(Ordering::Relaxed)) {
        let (stream, http2, at) = open(path, manner.way, limit, asker).await?;
        let transport = UpstreamTransport::new(stream, permit.clone());
        if !http2 {
            return Ok((handshake_http1(transport, worker).await?, at));
        }
        match (handshake_websocket(transport, worker).await?, tls) {
            (HandshakeResult::Opens(sender), _) => {
                return Ok((RequestSender::WebSocket(sender), at));
            }
            (HandshakeResult::Plain(sender), None) => {
                return Ok((RequestSender::Http2(sender), at));
            }
            (HandshakeResult::Plain(_), Some(tls)) => {
                tls.sockets_by_http1.store(true, Ordering::Relaxed)
            }
        }
    }
    // The permit is shared by both connections. The first one has been dropped, so the limit on
    // open sockets still holds. The server learns nothing of the request from the first one.
    let way = HandshakeOptions { speak: WireProtocol::Http1, ..manner.way };
    let (stream, _, at) = open(path, way, limit, asker).await?;
    Ok((handshake_http1(UpstreamTransport::new(stream, permit), worker).await?, at))
}

/// Connects to one of a name's addresses.
///
/// # Errors
/// The error of the last address. Every failed address is recorded and tried last for a while.
async fn named(
    names: &Arc<NameResolver>,
    port: u16,
    limit: Duration,
    asker: LookupSpawner<'_>,
) -> Result<(TcpStream, ResolvedAddress), ConnectError> {
    let deadline = Instant::now() + limit;
    let addresses = names.addresses(asker).await?;
    let mut error = ConnectError::NoAddress;
    for (number, address) in addresses.iter().enumerate() {
        // Each address gets an equal part of the time that is left. An address that fails early
        // leaves more time for the others. Without parts, one silent address would take all the
        // time.
        let share = u32::try_from(addresses.len() - number).unwrap_or(u32::MAX);
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / share;
        match timeout_at(until, dial((address.ip, port).into())).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(refused)) => error = refused,
            Err(_) => error = ConnectError::Slow { limit },
        }
        names.failed(address.ip);
    }
    Err(error)
}

/// Connects a TCP socket.
async fn dial(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect(address).await.map_err(ConnectError::Refused)?;
    // A request is written in one piece. Waiting for more data (Nagle's algorithm) would only add
    // latency. The delay would be up to 40 ms per request with delayed acknowledgements.
    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
    Ok(stream)
}

/// The TLS handshake. The returned flag is true if the server selected HTTP/2.
///
/// # Errors
/// The certificate is not valid for the server's name, or the handshake fails.
async fn secured(
    stream: TcpStream,
    tls: &ServerTls,
    speak: WireProtocol,
) -> Result<(UpstreamStream, bool), ConnectError> {
    let name = tls.name.clone();
    let connecting = match speak {
        WireProtocol::Http1 => tls.connector.with_alpn(vec![HTTP1.to_vec()]).connect(name, stream),
        WireProtocol::Http2 | WireProtocol::WebSocket => tls.connector.connect(name, stream),
    };
    let stream = connecting.await.map_err(|error: io::Error| ConnectError::Tls(error))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    Ok((UpstreamStream::Tls(Box::new(stream)), http2))
}
