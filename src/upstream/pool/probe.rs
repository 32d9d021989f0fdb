//! One check of a server: a GET on a new connection, which must be answered as expected and in
//! time.
//!
//! A check uses the server's own way (TCP, TLS or unix socket; HTTP/1.1 or HTTP/2) and none of the
//! connections kept for requests. It never logs in: a failing login could lock the account.
//! `health` is the caller and decides what the results mean.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::credential_headers::CredentialHeaders;
use super::server::PoolServer;
use crate::body::{Body, Request};
use crate::format::error_chain;
use crate::runtime::BackgroundRuntime;
use crate::settings::{HealthCheck, ProxyVersion};
use crate::upstream::connection::{
    self, HandshakeOptions, LookupSpawner, ProxyHeaderBytes, ServerEndpoint, UpstreamTransport,
    WireProtocol,
};
use crate::upstream::error::ConnectError;

/// Bytes of an answer that are read. A longer answer has shown that the server works.
const LARGEST: usize = 64 * 1024;

const WHO: HeaderValue = HeaderValue::from_static("tollhouse-check");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The reasons for which a check fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error("no connection")]
    Connect(#[from] ConnectError),

    #[error("no answer")]
    Http(#[from] hyper::Error),

    #[error("its answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),

    #[error("it answered {0}")]
    Status(u16),

    #[error("it took longer than {0:?}")]
    Slow(Duration),

    #[error("the check cannot be written")]
    Unwritable(#[from] http::Error),
}

impl CheckError {
    /// The error with its causes on one line, for the log.
    pub(super) fn chain(&self) -> String {
        error_chain(self)
    }
}

/// The protocol and the credential for the servers of a pool.
#[derive(Clone)]
pub(super) struct CheckProtocol {
    pub(super) http2: bool,
    pub(super) proxy_protocol: Option<ProxyVersion>,
    /// The upstream's fixed credential, if it has one. No login is made for a check: a failing
    /// login could lock the account.
    pub(super) credential: Option<CredentialHeaders>,
}

/// Probes a server within the timeout.
///
/// # Errors
/// The check failed, or it took longer than its timeout.
pub(super) async fn probe(
    server: Arc<PoolServer>,
    protocol: CheckProtocol,
    settings: Arc<HealthCheck>,
    background: BackgroundRuntime,
) -> Result<(), CheckError> {
    let limit = settings.timeout;
    let answer = check(&server, protocol, &settings, background);
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(CheckError::Slow(limit)))
}

/// Probes a server.
///
/// # Errors
/// No connection, no whole answer, or a status that is not expected.
async fn check(
    server: &PoolServer,
    protocol: CheckProtocol,
    settings: &HealthCheck,
    background: BackgroundRuntime,
) -> Result<(), CheckError> {
    // The built-in echo is always available.
    let Some(path) = &server.path else { return Ok(()) };
    let asker = LookupSpawner::Background(&background);
    // A check belongs to no client, so the PROXY header says that the gateway itself connects.
    let proxy_header = protocol.proxy_protocol.map(ProxyHeaderBytes::local).transpose()?;
    let speak = if protocol.http2 { WireProtocol::Http2 } else { WireProtocol::Http1 };
    let way = HandshakeOptions { speak, proxy_header: proxy_header.as_ref() };
    let (stream, http2, _) = connection::open(path, way, settings.timeout, asker).await?;
    // The connection does not count against the server's limit. A server whose connections are all
    // in use must be probed, too.
    let transport = TokioIo::new(UpstreamTransport::new(stream, None));
    let mut request = request(path, http2, settings)?;
    if let Some(credential) = &protocol.credential {
        credential.set(request.headers_mut());
    }
    // The connection's driver runs within this future, so that the check ends completely when its
    // time is over, whatever the server does.
    let status = if http2 {
        let over = CancellationToken::new();
        let _ends = over.clone().drop_guard();
        let driver = BackgroundExecutor { background, over };
        let (mut sender, connection) = http2::handshake(driver, transport).await?;
        answer(connection, async { read(sender.send_request(request).await?).await }).await?
    } else {
        let (mut sender, connection) = http1::handshake(transport).await?;
        answer(connection, async { read(sender.send_request(request).await?).await }).await?
    };
    match settings.status.iter().any(|expected| expected.contains(&status)) {
        true => Ok(()),
        false => Err(CheckError::Status(status)),
    }
}

/// The request of a check: GET with the configured path and host.
///
/// # Errors
/// The configured path or host cannot be written as a request.
fn request(
    path: &ServerEndpoint,
    http2: bool,
    settings: &HealthCheck,
) -> Result<Request, CheckError> {
    let (own, scheme) = match path {
        ServerEndpoint::Unix(_) => ("localhost".to_owned(), "http"),
        ServerEndpoint::Tcp { host, port, tls } => {
            (format!("{host}:{port}"), if tls.is_some() { "https" } else { "http" })
        }
    };
    let host = match &settings.host {
        Some(host) => host.clone(),
        None => HeaderValue::from_str(&own).map_err(http::Error::from)?,
    };
    let request = http::Request::get(Uri::from(settings.path.clone())).header(USER_AGENT, WHO);
    if !http2 {
        let request = request.header(HOST, host).header(CONNECTION, CLOSE);
        return Ok(request.body(Body::empty())?);
    }
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host.as_bytes())
        .path_and_query(settings.path.clone())
        .build()?;
    Ok(request.uri(uri).body(Body::empty())?)
}

/// Reads the answer to its end and returns its status.
///
/// # Errors
/// The answer broke off. An answer beyond `LARGEST` is not an error; the rest of it is not read.
async fn read(answer: http::Response<hyper::body::Incoming>) -> Result<u16, CheckError> {
    let status = answer.status().as_u16();
    match Limited::new(answer.into_body(), LARGEST).collect().await {
        Ok(_) => Ok(status),
        Err(error) if error.is::<LengthLimitError>() => Ok(status),
        Err(error) => Err(CheckError::Body(error)),
    }
}

/// Waits for `asking` while it drives `connection`.
async fn answer<T>(connection: impl Future, asking: impl Future<Output = T>) -> T {
    let mut asking = pin!(asking);
    tokio::select! {
        biased;
        answer = &mut asking => answer,
        // The connection may end as soon as the answer was received. The answer is then complete in
        // memory, so `asking` is still awaited.
        _ = connection => asking.await,
    }
}

/// Runs the tasks of an HTTP/2 connection until the check is over.
#[derive(Clone)]
struct BackgroundExecutor {
    background: BackgroundRuntime,
    over: CancellationToken,
}

impl<F> Executor<F> for BackgroundExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let over = self.over.clone();
        self.background.spawn(async move {
            over.run_until_cancelled(future).await;
        });
    }
}
