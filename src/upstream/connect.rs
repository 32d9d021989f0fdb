//! Making a connection to a server: TCP, unix or TLS, then the HTTP handshake. Before both comes
//! the PROXY header, where there is one.
//!
//! Every address of a name is tried, each with its share of the connect timeout, so that one
//! silent address does not use up the time of the next. TLS is checked against the upstream's
//! own CA, or the public ones together with the system's; not at all only where the configuration
//! says so in so many words.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::client::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::error::{ConnectError, PoolError};
use super::extended_connect::{self, Fresh};
use super::headers::bare;
use super::link::{Address, Link, Sender};
use super::permits::Permit;
use super::preface::Preface;
use super::resolve::{Asker, Lookup, Names};
use super::transport::{Stream, Transport};
use crate::config;
use crate::runtime::Worker;
use crate::trust;

/// How a server is reached.
pub(super) enum Path {
    Tcp { host: Host, port: u16, tls: Option<Tls> },
    Unix(PathBuf),
}

/// An address, or a name that stands for some.
pub(super) enum Host {
    Address(IpAddr),
    Name(Arc<Names>),
}

impl Host {
    /// `host` as configured; a name is asked for again after `every`.
    pub(super) fn new(host: &str, every: Duration) -> Self {
        match bare(host).parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Name(Names::new(host, every, Lookup::System)),
        }
    }
}

impl fmt::Display for Host {
    /// As a URL has it: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
            Self::Address(v4) => write!(f, "{v4}"),
            Self::Name(names) => f.write_str(names.host()),
        }
    }
}

impl Path {
    /// What its name stands for, if it has one.
    pub(super) fn names(&self) -> Option<&Arc<Names>> {
        match self {
            Self::Tcp { host: Host::Name(names), .. } => Some(names),
            Self::Tcp { .. } | Self::Unix(_) => None,
        }
    }
}

pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// It was seen to speak HTTP/2 without letting a WebSocket be opened.
    sockets_by_http1: AtomicBool,
}

/// What a connection is to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speak {
    Http1,
    /// HTTP/2; HTTP/1.1 where TLS finds that the server has no more.
    Http2,
    /// HTTP/2 if a WebSocket can be opened by it, else HTTP/1.1 where TLS can agree on that. A
    /// server that knows HTTP/2 alone is asked for what the upgrade is without its upgrade.
    WebSocket,
}

impl Tls {
    /// For the server `host`, unless the configuration names it otherwise.
    pub(super) fn new(
        config: &config::Upstream,
        host: &str,
        shared: &Arc<ClientConfig>,
    ) -> Result<Self, PoolError> {
        let name = config.tls.server_name.as_deref().unwrap_or_else(|| bare(host));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| PoolError::ServerName {
            upstream: config.name.clone(),
            name: name.to_owned(),
        })?;
        let connector = TlsConnector::from(shared.clone());
        Ok(Self { connector, name, sockets_by_http1: AtomicBool::new(false) })
    }
}

/// The names of what can be spoken over TLS (RFC 7301).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// The TLS configuration that all servers of an upstream share.
pub(super) fn tls_config(config: &config::Upstream) -> Result<Arc<ClientConfig>, PoolError> {
    let tls_error = |source| PoolError::Tls { upstream: config.name.clone(), source };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?;
    let builder = if config.tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(trust::anybody())
    } else {
        let roots = trust::roots(config.tls.ca.as_deref())
            .map_err(|source| PoolError::Trust { upstream: config.name.clone(), source })?;
        builder.with_root_certificates(roots)
    };
    let mut tls = match &config.tls.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let unreadable = |path: &PathBuf| {
                let (upstream, path) = (config.name.clone(), path.clone());
                move |source| PoolError::Pem { upstream, path, source }
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

/// How a connection is to be made.
pub(super) struct Manner<'a> {
    pub(super) way: Way<'a>,
    pub(super) limit: Duration,
    /// How long it may be kept unused.
    pub(super) keep: Duration,
    pub(super) worker: &'a Arc<Worker>,
}

/// What is spoken on a way, and before that.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) speak: Speak,
    /// What it begins with, before TLS and HTTP.
    pub(super) preface: Option<&'a Preface>,
}

/// Connects in time and starts the connection's driver on the worker. The `permit` goes with the
/// socket.
pub(super) async fn connect(
    path: &Path,
    manner: &Manner<'_>,
    permit: Option<Permit>,
) -> Result<Link, ConnectError> {
    let limit = manner.limit;
    let permit = permit.map(Arc::new);
    let connecting = async {
        let (sender, at) = match manner.way.speak {
            Speak::WebSocket => for_websocket(path, manner, permit).await?,
            Speak::Http1 | Speak::Http2 => {
                let asker = Asker::Worker(manner.worker);
                let (stream, http2, at) = open(path, manner.way, limit, asker).await?;
                let transport = Transport::new(stream, permit);
                let sender = match http2 {
                    true => handshake_http2(transport, manner.worker).await?,
                    false => handshake_http1(transport, manner.worker).await?,
                };
                (sender, at)
            }
        };
        Ok(Link::new(sender, at, manner.keep))
    };
    tokio::time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::Slow { limit }))
}

/// A way to the server that HTTP can be spoken on, whether it will be HTTP/2, and to which of a
/// name's addresses it leads.
pub(super) async fn open(
    path: &Path,
    way: Way<'_>,
    limit: Duration,
    asker: Asker<'_>,
) -> Result<(Stream, bool, Option<Address>), ConnectError> {
    // Without TLS, HTTP/2 is spoken with prior knowledge (RFC 9113 §3.3).
    let prior = way.speak != Speak::Http1;
    let (host, port, tls) = match path {
        Path::Unix(path) => {
            let mut stream = UnixStream::connect(path).await.map_err(ConnectError::Refused)?;
            if let Some(preface) = way.preface {
                preface.write(&mut stream).await?;
            }
            return Ok((Stream::Unix(stream), prior, None));
        }
        Path::Tcp { host, port, tls } => (host, *port, tls),
    };
    let (mut stream, at) = match host {
        Host::Address(ip) => (dial((*ip, port).into()).await?, None),
        Host::Name(names) => {
            let (stream, address) = named(names, port, limit, asker).await?;
            (stream, Some(address))
        }
    };
    if let Some(preface) = way.preface {
        preface.write(&mut stream).await?;
    }
    let (stream, http2) = match tls {
        None => (Stream::Tcp(stream), prior),
        Some(tls) => secured(stream, tls, way.speak).await?,
    };
    Ok((stream, http2, at))
}

/// A connection for one WebSocket. A server that turns out not to let it be opened over HTTP/2 is
/// connected to again, in the place of the first connection, which ends.
async fn for_websocket(
    path: &Path,
    manner: &Manner<'_>,
    permit: Option<Arc<Permit>>,
) -> Result<(Sender, Option<Address>), ConnectError> {
    let (limit, worker) = (manner.limit, manner.worker);
    let asker = Asker::Worker(worker);
    let tls = match path {
        Path::Tcp { tls, .. } => tls.as_ref(),
        Path::Unix(_) => None,
    };
    if !tls.is_some_and(|tls| tls.sockets_by_http1.load(Ordering::Relaxed)) {
        let (stream, http2, at) = open(path, manner.way, limit, asker).await?;
        let transport = Transport::new(stream, permit.clone());
        if !http2 {
            return Ok((handshake_http1(transport, worker).await?, at));
        }
        match (extended_connect::handshake(transport, worker).await?, tls) {
            (Fresh::Opens(sender), _) => return Ok((Sender::WebSocket(sender), at)),
            (Fresh::Plain(sender), None) => return Ok((Sender::Http2(sender), at)),
            (Fresh::Plain(_), Some(tls)) => tls.sockets_by_http1.store(true, Ordering::Relaxed),
        }
    }
    let way = Way { speak: Speak::Http1, ..manner.way };
    let (stream, _, at) = open(path, way, limit, asker).await?;
    Ok((handshake_http1(Transport::new(stream, permit), worker).await?, at))
}

async fn named(
    names: &Arc<Names>,
    port: u16,
    limit: Duration,
    asker: Asker<'_>,
) -> Result<(TcpStream, Address), ConnectError> {
    let deadline = Instant::now() + limit;
    let addresses = names.addresses(asker).await?;
    let mut error = ConnectError::NoAddress;
    for (number, address) in addresses.iter().enumerate() {
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

async fn dial(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect(address).await.map_err(ConnectError::Refused)?;
    // A request is written whole; waiting for more would only add latency.
    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
    Ok(stream)
}

async fn secured(
    stream: TcpStream,
    tls: &Tls,
    speak: Speak,
) -> Result<(Stream, bool), ConnectError> {
    let name = tls.name.clone();
    let connecting = match speak {
        Speak::Http1 => tls.connector.with_alpn(vec![HTTP1.to_vec()]).connect(name, stream),
        Speak::Http2 | Speak::WebSocket => tls.connector.connect(name, stream),
    };
    let stream = connecting.await.map_err(|error: io::Error| ConnectError::Tls(error))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    Ok((Stream::Tls(Box::new(stream)), http2))
}

async fn handshake_http1(
    transport: Transport,
    worker: &Arc<Worker>,
) -> Result<Sender, ConnectError> {
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(transport))
        .await
        .map_err(ConnectError::Handshake)?;
    // What ends the connection early is told to the request it happens to; in between, an end is
    // no event.
    drive(connection.with_upgrades(), worker);
    Ok(Sender::Http1(sender))
}

/// A dead HTTP/2 connection would fail every request that shares it, so it is probed while in use.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

async fn handshake_http2(
    transport: Transport,
    worker: &Arc<Worker>,
) -> Result<Sender, ConnectError> {
    let (sender, connection) = http2_builder(OnWorker(worker.clone()))
        .handshake(TokioIo::new(transport))
        .await
        .map_err(ConnectError::Handshake)?;
    drive(connection, worker);
    Ok(Sender::Http2(sender))
}

pub(super) fn http2_builder(on: OnWorker) -> http2::Builder<OnWorker> {
    let mut builder = http2::Builder::new(on);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .adaptive_window(true);
    builder
}

/// Runs `connection` until it ends.
pub(super) fn drive(
    connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    worker: &Arc<Worker>,
) {
    worker.spawn_detached(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
}

/// Runs hyper's parts of an HTTP/2 connection on the worker that opened it.
#[derive(Clone)]
pub(super) struct OnWorker(pub(super) Arc<Worker>);

impl<F> Executor<F> for OnWorker
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_detached(future);
    }
}
