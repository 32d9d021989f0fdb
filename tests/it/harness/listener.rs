//! Listeners on port 0 with a handler of the test's own, and clients that speak to them in raw
//! bytes, by hyper and over TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tollhouse::body::{Body, Response};
use tollhouse::client::Client;
use tollhouse::clock::Clock;
use tollhouse::listener::{
    self, BindError, BindOptions, BoundListeners, InheritedSockets, ListenerStats,
    RunningListeners, TicketKeys,
};
use tollhouse::runtime::{GatewayThreads, Worker};
use tollhouse::settings::{
    BindAddress, CertificateFiles, ClientAuth, ListenerLimits, ListenerSettings, ListenerTimeouts,
    ListenerTls, TlsVersion,
};

/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A plain listener on a free port of 127.0.0.1 with limits that no test meets by accident.
pub(crate) fn plain() -> ListenerSettings {
    ListenerSettings {
        name: "127.0.0.1:0".to_owned(),
        bind: BindAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
        proxy_protocol: Vec::new(),
        forwarded_certificate: None,
        trusted_proxies: Vec::new(),
        shared_addresses: Vec::new(),
        redirect_to_https: false,
        allow_plain_http: false,
        acme: None,
        tls: None,
        limits: ListenerLimits {
            connections: 1000,
            connections_per_address: 1000,
            header_bytes: 16 << 10,
            header_count: 100,
            uri_bytes: 8 << 10,
            streams: 100,
        },
        timeouts: ListenerTimeouts {
            handshake: PATIENCE,
            header: PATIENCE,
            body_idle: PATIENCE,
            body_rate: 0,
            body_grace: PATIENCE,
            keep_alive: PATIENCE,
        },
    }
}

/// The same with TLS and these certificates.
pub(crate) fn secure(certificates: Vec<CertificateFiles>) -> ListenerSettings {
    let tls = ListenerTls {
        certificates,
        self_signed: Vec::new(),
        client_ca: None,
        client_auth: ClientAuth::None,
        min_version: TlsVersion::Tls12,
        hsts: None,
    };
    ListenerSettings { tls: Some(tls), ..plain() }
}

/// A state folder, and what binding needs beside it.
pub(crate) struct ListenerFolder {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) options: BindOptions,
}

impl ListenerFolder {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = BindOptions {
            workers: 2,
            state: dir.path().to_owned(),
            challenges: Arc::default(),
            clock: Clock::system(),
            tickets: TicketKeys::Random,
            descriptors: InheritedSockets::none(),
        };
        Self { dir, options }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn bind(&self, listener: &ListenerSettings) -> Result<BoundListeners, BindError> {
        listener::bind(std::slice::from_ref(listener), &self.options)
    }
}

/// One listener at work.
pub(crate) struct RunningListener {
    pub(crate) place: ListenerFolder,
    pub(crate) threads: GatewayThreads,
    pub(crate) listening: Arc<RunningListeners>,
}

impl RunningListener {
    pub(crate) fn start<H, F>(listener: &ListenerSettings, handler: H) -> Self
    where
        H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F
            + Clone
            + Send
            + Sync
            + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        Self::start_at(ListenerFolder::new(), listener, handler)
    }

    pub(crate) fn start_at<H, F>(
        place: ListenerFolder,
        listener: &ListenerSettings,
        handler: H,
    ) -> Self
    where
        H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F
            + Clone
            + Send
            + Sync
            + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let bound = place.bind(listener).unwrap();
        let threads = GatewayThreads::start(place.options.workers, 1).unwrap();
        let listening = listener::serve(bound, &threads, handler);
        Self { place, threads, listening }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.addresses()[0].tcp().unwrap()
    }

    pub(crate) fn stats(&self) -> ListenerStats {
        self.listening.stats().remove(0)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Waits until all connections have ended.
    pub(crate) async fn idle(&self) {
        within(self.threads.idle()).await;
    }
}

/// Answers every request with its path.
pub(crate) async fn echo_path(
    _worker: Arc<Worker>,
    _client: Arc<Client>,
    request: http::Request<Incoming>,
) -> Response {
    Response::new(Body::full(request.uri().path().to_owned()))
}

/// What `future` gives, or a failed test if it takes too long.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

/// Waits until `holds` does.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never happened: {what}");
}

/// Sends one HTTP/1.1 request on a connection that is kept, and reads the answer's text.
pub(crate) async fn ask<S>(stream: &mut S, path: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    read_answer(stream).await
}

/// Reads one answer that has a Content-Length.
pub(crate) async fn read_answer<S>(stream: &mut S) -> String
where
    S: AsyncRead + Unpin,
{
    let mut text = Vec::new();
    loop {
        let byte = within(stream.read_u8()).await.expect("the connection ended");
        text.push(byte);
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head_text = String::from_utf8_lossy(&text).to_lowercase();
        let length = head_text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if text.len() == head + 4 + length {
            return String::from_utf8(text).unwrap();
        }
    }
}

/// Everything the other side sends until it closes; a reset counts as closing.
pub(crate) async fn read_to_end<S>(stream: &mut S) -> String
where
    S: AsyncRead + Unpin,
{
    let mut bytes = Vec::new();
    within(async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..read]);
        }
    })
    .await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An HTTP/2 client on `stream`.
pub(crate) async fn http2<S>(stream: S) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::task::spawn(connection);
    sender
}

/// A GET for `path` without a body.
pub(crate) fn get(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap()
}

/// An answer's body as text.
pub(crate) async fn text(response: http::Response<Incoming>) -> String {
    let bytes = within(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A TLS client that trusts `roots` only.
pub(crate) struct TlsClient {
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: &'static [&'static str],
    pub(crate) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl TlsClient {
    pub(crate) fn trusting(root: CertificateDer<'static>) -> Self {
        Self {
            roots: vec![root],
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: &["http/1.1"],
            identity: None,
        }
    }

    pub(crate) fn alpn(self, alpn: &'static [&'static str]) -> Self {
        Self { alpn, ..self }
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        for root in &self.roots {
            roots.add(root.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            Some((chain, key)) => {
                config.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    pub(crate) async fn connect(
        &self,
        running: &RunningListener,
        name: &'static str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        connect(&self.connector(), running, name).await
    }
}

/// A handshake for `name`.
pub(crate) async fn connect(
    connector: &TlsConnector,
    running: &RunningListener,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name).unwrap();
    within(connector.connect(name, running.connect().await)).await
}
