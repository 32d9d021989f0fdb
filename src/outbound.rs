//! The client for the gateway's own calls: key sets, introspection, delegated logins.
//!
//! Every call is bounded in time, in the size of its answer and in the number of calls at once.
//! Redirects are never followed: a credential must not be sent to a place that nobody has
//! configured, nor may a key set come from one. Only the background runtime uses it.

use std::error::Error;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::format::error_chain;
use crate::tls_roots::{self, TrustError};

/// The default for the time of one call: longer than a healthy provider needs, and shorter than
/// clients wait.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// The default for the size of an answer: larger than any key set or answer to a login.
pub const LARGEST: usize = 1 << 20;
/// The default for the number of calls to one provider at the same time.
pub const PARALLEL: usize = 16;
/// Below the 5 s after which common servers close an unused connection.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// The settings of a client for one party.
#[derive(Clone, Debug)]
pub struct OutboundOptions {
    /// PEM text of the CA to trust instead of the public CAs.
    pub ca: Option<String>,
    /// For one call, from resolving the name to the last byte of the answer.
    pub timeout: Duration,
    /// Upper bound on an answer, in bytes.
    pub largest: usize,
    /// Upper bound on calls at the same time. A further call waits, within its own timeout.
    pub parallel: usize,
}

impl Default for OutboundOptions {
    fn default() -> Self {
        Self { ca: None, timeout: TIMEOUT, largest: LARGEST, parallel: PARALLEL }
    }
}

/// A client for the gateway's calls to one party.
#[derive(Debug)]
pub struct OutboundClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The connector of the client; boxed, since it is seldom used by itself.
    connector: Box<HttpsConnector<HttpConnector>>,
    places: Semaphore,
    timeout: Duration,
    largest: usize,
}

/// An answer, read completely.
#[derive(Clone, Debug)]
pub struct OutboundResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl OutboundResponse {
    /// True for a status from 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The reason why there is no answer. It names the host, and never a credential.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("`{host}` could not be called")]
    Call {
        host: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },

    #[error("`{host}` did not answer within {limit:?}")]
    Slow { host: String, limit: Duration },

    #[error("`{host}` answered with more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
}

impl OutboundError {
    /// The error with its causes on one line, for a log.
    pub fn chain(&self) -> String {
        error_chain(self)
    }
}

impl OutboundClient {
    /// A client that trusts the CA in `options`.
    ///
    /// # Errors
    /// If no certificate authority could be loaded.
    pub fn new(options: &OutboundOptions) -> Result<Self, TrustError> {
        let tls = tls_roots::client_config(options.ca.as_deref())?;
        let mut tcp = HttpConnector::new();
        // The connector is used for https as well, where the TLS layer is above it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_ALIVE)
            .build(connector.clone());
        Ok(Self {
            client,
            connector: Box::new(connector),
            places: Semaphore::new(options.parallel.max(1)),
            timeout: options.timeout,
            largest: options.largest,
        })
    }

    /// Sends a request to an absolute `http` or `https` URI and reads the whole answer, whatever
    /// its status is.
    ///
    /// # Errors
    /// If there is no answer in time and within the bounds.
    pub async fn send(&self, request: Request<Bytes>) -> Result<OutboundResponse, OutboundError> {
        let host = host(request.uri());
        let called = tokio::time::timeout(self.timeout, self.call(request.map(Full::new), &host));
        called.await.unwrap_or_else(|_| Err(OutboundError::Slow { host, limit: self.timeout }))
    }

    /// Fetches a document.
    ///
    /// # Errors
    /// See `send`.
    pub async fn get(&self, uri: &Uri) -> Result<OutboundResponse, OutboundError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri.clone();
        self.send(request).await
    }

    /// Connects in the same way as a call, with TLS if the URI asks for it, and closes the
    /// connection unused.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub async fn reach(&self, uri: &Uri) -> Result<(), OutboundError> {
        let host = host(uri);
        let limit = self.timeout;
        let mut connector = self.connector.clone();
        let connecting = async {
            poll_fn(|context| connector.poll_ready(context)).await?;
            connector.call(uri.clone()).await.map(drop)
        };
        match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected.map_err(|source| OutboundError::Call { host, source }),
            Err(_) => Err(OutboundError::Slow { host, limit }),
        }
    }

    async fn call(
        &self,
        request: Request<Full<Bytes>>,
        host: &str,
    ) -> Result<OutboundResponse, OutboundError> {
        let failed = |source| OutboundError::Call { host: host.to_owned(), source };
        // A place is awaited within the time of the call. A slow party thus holds up at most
        // `parallel` calls, and the others fail in time instead of piling up. The error then names
        // the host and the limit.
        let _place = self.places.acquire().await.map_err(|error| failed(error.into()))?;
        let answer = self.client.request(request).await.map_err(|error| failed(error.into()))?;
        let (head, body) = answer.into_parts();
        let limit = self.largest;
        // The answer is cut off while it is read. Its announced length is not believed, and it may
        // have none.
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                OutboundError::TooLarge { host: host.to_owned(), limit }
            } else {
                failed(error)
            }
        })?;
        Ok(OutboundResponse {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

/// Scheme, host and port, for messages. The path may contain a name and the query a secret, so both
/// are left out.
pub fn host(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}", uri.host().unwrap_or_default())
}
