//! A small gateway around a pool, and upstreams that are played by the test itself, byte by byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;
use tollhouse::admission::ByteBudget;
use tollhouse::body::{Body, Request, Response};
use tollhouse::client::{Client, Scheme};
use tollhouse::clock::{Clock, Timestamp};
use tollhouse::headers::{self, HeaderEdits, HeaderFacts, PathPrefix, RequestId, ReservedHeaders};
use tollhouse::runtime::{BackgroundRuntime, GatewayThreads, Worker};
use tollhouse::secret::RandomPool;
use tollhouse::settings::{
    BalancePolicy, HealthCheck, HealthPolicy, ServerAddress, ServerSettings, UpstreamCalls,
    UpstreamSettings, UpstreamTimeouts, UpstreamTls,
};
use tollhouse::upstream::{
    BodyMemory, FaultSide, ForwardContext, ForwardError, StreamLifetime, UpstreamPool,
};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct PoolSettings {
    pub(crate) upstream: UpstreamSettings,
    pub(crate) watch: Option<StreamLifetime>,
    pub(crate) trusted_proxy: bool,
    pub(crate) prefix: Option<&'static str>,
    pub(crate) response_rules: HeaderEdits,
    pub(crate) body_limit: u64,
}

pub(crate) fn server(address: ServerAddress) -> ServerSettings {
    ServerSettings { name: format!("{address:?}"), address, weight: 1, backup: false }
}

pub(crate) fn tcp(address: SocketAddr) -> ServerSettings {
    let (host, port) = (address.ip().to_string(), address.port());
    server(ServerAddress::Tcp { host, port, tls: false })
}

/// A check of `path` that is done once, as far as a test goes on.
pub(crate) fn health(path: &str) -> HealthCheck {
    HealthCheck {
        path: path.parse().unwrap(),
        interval: Duration::from_secs(3600),
        timeout: PATIENCE,
        fall: 1,
        rise: 1,
        status: vec![200..=399],
        host: None,
    }
}

/// One worker's gateway to `servers`, with limits that no test reaches unless it means to.
pub(crate) fn settings_to(servers: Vec<ServerSettings>) -> PoolSettings {
    let upstream = UpstreamSettings {
        name: "legacy".to_owned(),
        servers,
        balance: BalancePolicy::RoundRobin,
        http2: false,
        proxy_protocol: None,
        timeouts: UpstreamTimeouts {
            connect: PATIENCE,
            first_byte: PATIENCE,
            idle: PATIENCE,
            total: None,
            keep_alive: PATIENCE,
        },
        calls: UpstreamCalls::default(),
        care: HealthPolicy::default(),
        tls: UpstreamTls::default(),
        case_insensitive: false,
        credential: None,
    };
    PoolSettings {
        upstream,
        watch: None,
        trusted_proxy: false,
        prefix: None,
        response_rules: HeaderEdits::default(),
        body_limit: 1024,
    }
}

pub(crate) struct PoolGateway {
    address: SocketAddr,
    pub(crate) pool: Arc<UpstreamPool>,
    pub(crate) errors: Arc<Mutex<Vec<ForwardError>>>,
    _threads: GatewayThreads,
}

impl PoolGateway {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl PoolSettings {
    pub(crate) async fn start(self) -> PoolGateway {
        let threads = GatewayThreads::start(1, 1).unwrap();
        let worker = threads.workers()[0].clone();
        let pool = UpstreamPool::build(&self.upstream, 1, &Clock::system()).unwrap();
        pool.watch(threads.background());
        let errors = Arc::new(Mutex::new(Vec::new()));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(PoolGatewayState {
            settings: self,
            pool: pool.clone(),
            worker: worker.clone(),
            background: threads.background().clone(),
            bodies: ByteBudget::new(1 << 20),
            protected: Arc::new(ReservedHeaders::new([&http::HeaderName::from_static("x-tenant")])),
            errors: errors.clone(),
        });
        worker.spawn(accept(listener, inner));
        PoolGateway { address, pool, errors, _threads: threads }
    }
}

struct PoolGatewayState {
    settings: PoolSettings,
    pool: Arc<UpstreamPool>,
    worker: Arc<Worker>,
    background: BackgroundRuntime,
    bodies: ByteBudget,
    protected: Arc<ReservedHeaders>,
    errors: Arc<Mutex<Vec<ForwardError>>>,
}

async fn accept(listener: std::net::TcpListener, inner: Arc<PoolGatewayState>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, peer)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (inner, worker) = (inner.clone(), inner.worker.clone());
        worker.spawn(async move {
            let service = service_fn(move |request| handle(inner.clone(), peer, request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

/// A client of a gateway, as a listener would describe it.
pub(crate) fn client(peer: SocketAddr, trusted_proxy: bool) -> Client {
    Client {
        address: Some(peer.ip()),
        peer: Some(peer),
        local: None,
        listener: "test".into(),
        scheme: Scheme::Https,
        certificate: None,
        certificate_fault: None,
        sni: None,
        names: None,
        trusted_proxy,
        address_text: Default::default(),
        only_health: false,
        redirect: false,
        bounds: tollhouse::client::RequestBounds {
            uri_bytes: 8192,
            header_count: 100,
            body_idle: Duration::from_secs(5),
            body_rate: None,
        },
    }
}

async fn handle(
    inner: Arc<PoolGatewayState>,
    peer: SocketAddr,
    request: http::Request<Incoming>,
) -> Result<Response, std::convert::Infallible> {
    let client = client(peer, inner.settings.trusted_proxy);
    let (mut head, body) = request.into_parts();
    let request_id =
        RequestId::choose(&head.headers, &client, Timestamp::from_secs(1), &RandomPool::default());
    let authority = head.headers["host"].to_str().unwrap().to_owned();
    let facts = HeaderFacts {
        client: &client,
        identity: None,
        request_id: &request_id,
        host: "gateway",
        authority: &authority,
        prefix: inner.settings.prefix.map(|outer| PathPrefix { outer, inner: "" }),
    };
    headers::strip_inbound(&mut head, &inner.protected, &client, false);
    headers::set_forwarded(&mut head.headers, &facts);
    let exchange = ForwardContext {
        facts: &facts,
        protected: &inner.protected,
        response_rules: &inner.settings.response_rules,
        lifetime: inner.settings.watch.as_ref(),
        key: inner.pool.key(&head.headers, &facts),
        background: &inner.background,
        memory: BodyMemory { budget: &inner.bodies, origin: None },
        session: None,
        now: Timestamp::from_secs(1),
    };
    let mut request =
        Request::from_parts(head, Body::from(body).limited(inner.settings.body_limit));
    Ok(match inner.pool.forward(&inner.worker, &mut request, &exchange).await {
        Ok(forwarded) => forwarded.response,
        Err(error) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = match error.fault() {
                FaultSide::Upstream if error.is_busy() => StatusCode::SERVICE_UNAVAILABLE,
                FaultSide::Upstream if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
                FaultSide::Upstream => StatusCode::BAD_GATEWAY,
                FaultSide::Client => StatusCode::BAD_REQUEST,
                FaultSide::Us => StatusCode::INTERNAL_SERVER_ERROR,
            };
            response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            inner.errors.lock().unwrap().push(error);
            response
        }
    })
}

impl PoolGateway {
    pub(crate) async fn client(&self) -> UpstreamConnection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        UpstreamConnection::new(stream)
    }

    /// Sends `request` on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> UpstreamConnection {
        let mut client = self.client().await;
        client.send(request).await;
        client
    }
}

/// The far end of a connection, read and written by the test.
pub(crate) struct UpstreamConnection {
    stream: Box<dyn Stream>,
    held: Vec<u8>,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl UpstreamConnection {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), held: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn more(&mut self) -> usize {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.held)).await;
        // A reset is an end too.
        read.expect("nothing came").unwrap_or(0)
    }

    /// What arrives up to and with `end`; later bytes stay for the next read.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.held.windows(end.len()).position(|at| at == end.as_bytes());
            if let Some(at) = found {
                let rest = self.held.split_off(at + end.len());
                let taken = std::mem::replace(&mut self.held, rest);
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let sofar = String::from_utf8_lossy(&self.held).into_owned();
            assert!(self.more().await > 0, "closed after {sofar:?}, without {end:?}");
        }
    }

    /// A head, lower-cased.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await.to_ascii_lowercase()
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.held)
    }

    /// True if nothing has arrived, looking for as long as `within`.
    pub(crate) async fn is_silent(&mut self, within: Duration) -> bool {
        self.held.is_empty() && timeout(within, self.stream.read_buf(&mut self.held)).await.is_err()
    }
}

pub(crate) struct ScriptedUpstream(TcpListener);

impl ScriptedUpstream {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn server(&self) -> ServerSettings {
        tcp(self.address())
    }

    pub(crate) async fn accept_raw(&self) -> TcpStream {
        let accepted = timeout(PATIENCE, self.0.accept()).await;
        let stream = accepted.expect("nobody connected").unwrap().0;
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(crate) async fn accept(&self) -> UpstreamConnection {
        UpstreamConnection::new(self.accept_raw().await)
    }

    /// True if nobody connected, looking for as long as `within`.
    pub(crate) async fn is_untouched(&self, within: Duration) -> bool {
        timeout(within, self.0.accept()).await.is_err()
    }
}

/// To be called before anybody connects.
pub(crate) fn listen_unix(path: &Path) -> UnixListener {
    UnixListener::bind(path).unwrap()
}

pub(crate) async fn accept_unix(listener: &UnixListener) -> UpstreamConnection {
    UpstreamConnection::new(
        timeout(PATIENCE, listener.accept()).await.expect("nobody connected").unwrap().0,
    )
}

/// Returns once `condition` holds.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, holds).await.expect("it never came to that");
}

/// An address that refuses connections.
pub(crate) async fn closed_port() -> SocketAddr {
    ScriptedUpstream::start().await.address()
}

pub(crate) const GET: &str = "GET /a?b=%20c HTTP/1.1\r\nHost: gateway:8443\r\n\r\n";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl AsyncRead for UpstreamConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for UpstreamConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
