//! An OpenID provider: discovery and keys over TLS with a CA of its own, and tokens.
//!
//! It can rotate its keys, stop and come back on the same port, answer late or wrongly, and
//! counts who fetches what. Everything is honest until a test says otherwise.

mod keys;
mod token;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::keys::IssuerKey;
pub use self::token::TokenMint;
use super::certs::CertificateAuthority;
use super::client::PATIENCE;

pub const DISCOVERY: &str = "/.well-known/openid-configuration";
pub const JWKS: &str = "/.well-known/jwks.json";

/// What an audience is called unless a test says otherwise: that of the harness's gateways.
pub const AUDIENCE: &str = "legacy";

/// The provider; it stops when dropped.
pub struct OpenIdProvider {
    inner: Arc<ProviderState>,
    ca: PathBuf,
    tls: Option<TlsAcceptor>,
    /// Holds the port while the provider is down: bound, never listening.
    _port: Socket,
    serving: Mutex<Option<ListeningTasks>>,
    _dir: tempfile::TempDir,
}

struct ProviderState {
    address: SocketAddr,
    scheme: &'static str,
    keys: Mutex<Vec<IssuerKey>>,
    /// Answers that a test gave, by path.
    told: Mutex<HashMap<String, Response<Bytes>>>,
    fetches: watch::Sender<HashMap<String, usize>>,
    held: watch::Sender<bool>,
}

struct ListeningTasks {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl OpenIdProvider {
    /// Serves over TLS and signs with one RS256 key, `first`.
    pub async fn start() -> Self {
        Self::serving(true, IssuerKey::rs256("first")).await
    }

    /// As `start`, with an ES256 key, which is quicker to make.
    pub async fn es256() -> Self {
        Self::serving(true, IssuerKey::es256("first")).await
    }

    /// Without TLS.
    pub async fn plain() -> Self {
        Self::serving(false, IssuerKey::es256("first")).await
    }

    async fn serving(encrypted: bool, key: IssuerKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::new();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let port = socket(([127, 0, 0, 1], 0).into());
        let address = port.local_addr().unwrap().as_socket().unwrap();
        let inner = ProviderState {
            address,
            scheme: if encrypted { "https" } else { "http" },
            keys: Mutex::new(vec![key]),
            told: Mutex::default(),
            fetches: watch::Sender::new(HashMap::new()),
            held: watch::Sender::new(false),
        };
        let provider = Self {
            inner: Arc::new(inner),
            ca,
            tls: encrypted.then(|| authority.acceptor("127.0.0.1")),
            _port: port,
            serving: Mutex::default(),
            _dir: dir,
        };
        provider.resume();
        provider
    }

    /// What its tokens say in `iss`.
    pub fn issuer(&self) -> String {
        self.inner.issuer()
    }

    pub fn jwks_url(&self) -> String {
        self.inner.jwks_url()
    }

    /// The PEM file of its CA.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// An `[[issuer]]` called `name` that finds the keys by discovery, with further keys of the
    /// section.
    pub fn section(&self, name: &str, keys: &str) -> String {
        let audience = if keys.contains("audience") { "" } else { "audience = [\"legacy\"]\n" };
        format!(
            "[[issuer]]\nname = \"{name}\"\nissuer = \"{}\"\nalgorithms = [\"RS256\", \"ES256\"]\n\
             ca = {:?}\n{audience}{keys}\n",
            self.issuer(),
            self.ca
        )
    }

    /// A token to be filled in, signed with the newest key.
    pub fn token(&self) -> TokenMint {
        TokenMint::new(&self.issuer(), self.key())
    }

    /// The newest key.
    pub fn key(&self) -> IssuerKey {
        self.inner.keys.lock().unwrap().last().expect("a key is left").clone()
    }

    /// Publishes another key beside the others, and signs with it from now on.
    pub fn rotate(&self, key: IssuerKey) {
        self.inner.keys.lock().unwrap().push(key);
    }

    /// Publishes a key no more.
    pub fn retire(&self, kid: &str) {
        self.inner.keys.lock().unwrap().retain(|key| key.kid != kid);
    }

    /// Answers a path with this instead of the truth.
    pub fn tell(&self, path: &str, answer: Response<Bytes>) {
        self.inner.told.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Answers a path with this document.
    pub fn tell_json(&self, path: &str, document: &Value) {
        self.tell(path, Response::new(Bytes::from(document.to_string())));
    }

    /// Answers the truth again, everywhere.
    pub fn be_honest(&self) {
        self.inner.told.lock().unwrap().clear();
    }

    /// The truth about its endpoints.
    pub fn discovery(&self) -> Value {
        self.inner.discovery()
    }

    /// The truth about its keys.
    pub fn jwks(&self) -> Value {
        self.inner.jwks()
    }

    /// Counts requests, but answers none until `release`.
    pub fn hold(&self) {
        self.inner.held.send_replace(true);
    }

    pub fn release(&self) {
        self.inner.held.send_replace(false);
    }

    /// How often a path was asked for.
    pub fn fetches(&self, path: &str) -> usize {
        self.inner.fetches.borrow().get(path).copied().unwrap_or_default()
    }

    /// Waits until a path was asked for so often.
    pub async fn fetched(&self, path: &str, times: usize) {
        let mut fetches = self.inner.fetches.subscribe();
        let enough = fetches.wait_for(|by_path| by_path.get(path).copied() >= Some(times));
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        waited.unwrap_or_else(|_| panic!("{path} was not fetched {times} times")).unwrap();
    }

    /// Goes down: connections are cut, new ones refused.
    pub async fn stop(&self) {
        let serving = self.serving.lock().unwrap().take().expect("the provider is up");
        serving.stop.cancel();
        serving.tasks.close();
        serving.tasks.wait().await;
    }

    /// Comes back on the same port.
    pub fn resume(&self) {
        let listening = socket(self.inner.address);
        listening.listen(1024).unwrap();
        listening.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listening.into()).unwrap();
        let serving = ListeningTasks { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let (inner, tls) = (self.inner.clone(), self.tls.clone());
        let (stop, tasks) = (serving.stop.clone(), serving.tasks.clone());
        serving.tasks.spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (inner, tls, stop) = (inner.clone(), tls.clone(), stop.clone());
                tasks.spawn(async move {
                    stop.run_until_cancelled(converse(stream, tls, inner)).await;
                });
            }
        });
        *self.serving.lock().unwrap() = Some(serving);
    }
}

impl Drop for OpenIdProvider {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.stop.cancel();
        }
    }
}

/// Several sockets may have the port: one holds it, one listens.
fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

async fn converse(
    stream: tokio::net::TcpStream,
    tls: Option<TlsAcceptor>,
    inner: Arc<ProviderState>,
) {
    let Some(tls) = tls else { return answer_all(stream, inner).await };
    // Whoever does not believe the certificate is gone.
    if let Ok(stream) = tls.accept(stream).await {
        answer_all(stream, inner).await;
    }
}

async fn answer_all<S>(stream: S, inner: Arc<ProviderState>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let inner = inner.clone();
        async move { Ok::<_, Infallible>(inner.answer(&request).await.map(Full::new)) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl ProviderState {
    fn issuer(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    fn jwks_url(&self) -> String {
        format!("{}://{}{JWKS}", self.scheme, self.address)
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.issuer(),
            "authorization_endpoint": format!("{}authorize", self.issuer()),
            "jwks_uri": self.jwks_url(),
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        })
    }

    fn jwks(&self) -> Value {
        let keys = self.keys.lock().unwrap();
        json!({ "keys": keys.iter().map(IssuerKey::jwk).collect::<Vec<_>>() })
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Bytes> {
        let path = request.uri().path();
        self.fetches.send_modify(|by_path| *by_path.entry(path.to_owned()).or_default() += 1);
        // Invariant: the sender is `self`'s.
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        if let Some(told) = self.told.lock().unwrap().get(path) {
            return told.clone();
        }
        let document = match path {
            DISCOVERY => self.discovery(),
            JWKS => self.jwks(),
            _ => return Response::builder().status(404).body(Bytes::new()).unwrap(),
        };
        let answer = Response::builder().header("content-type", "application/json");
        answer.body(Bytes::from(document.to_string())).unwrap()
    }
}
