//! Making a connection to a server: TCP, unix or TLS, then the HTTP handshake.
//!
//! Every address of a name is tried, each with its share of the connect timeout, so that one
//! silent address does not use up the time of the next. TLS is checked against the upstream's
//! own CA, or the public ones together with the system's; not at all only where the configuration
//! says so in so many words.

use std::io;
use std::net::SocketAddr;
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
use super::server::Sender;
use super::transport::Transport;
use crate::config;
use crate::runtime::Worker;
use crate::trust;

/// How a server is reached.
pub(super) enum Path {
    Tcp { host: Box<str>, port: u16, tls: Option<Tls> },
    Unix(PathBuf),
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

/// Connects within `limit` and starts the connection's driver on `worker`.
pub(super) async fn connect(
    path: &Path,
    speak: Speak,
    limit: Duration,
    worker: &Arc<Worker>,
) -> Result<Sender, ConnectError> {
    let connecting = async {
        match speak {
            Speak::WebSocket => handshake_websocket(path, limit, worker).await,
            Speak::Http1 | Speak::Http2 => match reach(path, speak, limit).await? {
                (transport, true) => handshake_http2(transport, worker).await,
                (transport, false) => handshake_http1(transport, worker).await,
            },
        }
    };
    tokio::time::timeout(limit, connecting).await.unwrap_or(Err(ConnectError::Slow { limit }))
}

/// A connection, and whether it is one of HTTP/2.
async fn reach(
    path: &Path,
    speak: Speak,
    limit: Duration,
) -> Result<(Transport, bool), ConnectError> {
    // Without TLS, HTTP/2 is spoken with prior knowledge (RFC 9113 §3.3).
    let prior = speak != Speak::Http1;
    match path {
        Path::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(ConnectError::Refused)?;
            Ok((Transport::Unix(stream), prior))
        }
        Path::Tcp { host, port, tls } => {
            let stream = tcp(host, *port, limit).await?;
            match tls {
                None => Ok((Transport::Tcp(stream), prior)),
                Some(tls) => secured(stream, tls, speak).await,
            }
        }
    }
}

async fn handshake_websocket(
    path: &Path,
    limit: Duration,
    worker: &Arc<Worker>,
) -> Result<Sender, ConnectError> {
    let tls = match path {
        Path::Tcp { tls, .. } => tls.as_ref(),
        Path::Unix(_) => None,
    };
    if !tls.is_some_and(|tls| tls.sockets_by_http1.load(Ordering::Relaxed)) {
        let (transport, http2) = reach(path, Speak::WebSocket, limit).await?;
        if !http2 {
            return handshake_http1(transport, worker).await;
        }
        match (extended_connect::handshake(transport, worker).await?, tls) {
            (Fresh::Opens(sender), _) => return Ok(Sender::WebSocket(sender)),
            (Fresh::Plain(sender), None) => return Ok(Sender::Http2(sender)),
            (Fresh::Plain(_), Some(tls)) => tls.sockets_by_http1.store(true, Ordering::Relaxed),
        }
    }
    let (transport, _) = reach(path, Speak::Http1, limit).await?;
    handshake_http1(transport, worker).await
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Result<TcpStream, ConnectError> {
    let deadline = Instant::now() + limit;
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((bare(host), port)).await.map_err(ConnectError::Resolve)?.collect();
    let mut error = ConnectError::NoAddress;
    for (number, address) in addresses.iter().enumerate() {
        let share = u32::try_from(addresses.len() - number).unwrap_or(u32::MAX);
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / share;
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A request is written whole; waiting for more would only add latency.
                stream.set_nodelay(true).map_err(ConnectError::Refused)?;
                return Ok(stream);
            }
            Ok(Err(refused)) => error = ConnectError::Refused(refused),
            Err(_) => error = ConnectError::Slow { limit },
        }
    }
    Err(error)
}

async fn secured(
    stream: TcpStream,
    tls: &Tls,
    speak: Speak,
) -> Result<(Transport, bool), ConnectError> {
    let name = tls.name.clone();
    let connecting = match speak {
        Speak::Http1 => tls.connector.with_alpn(vec![HTTP1.to_vec()]).connect(name, stream),
        Speak::Http2 | Speak::WebSocket => tls.connector.connect(name, stream),
    };
    let stream = connecting.await.map_err(|error: io::Error| ConnectError::Tls(error))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    Ok((Transport::Tls(Box::new(stream)), http2))
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
