//! Active health checks: each server of a pool is probed every few seconds, on the background
//! runtime.
//!
//! There is one task for each pool, which ends with the pool: it has a strong reference only while
//! it probes. A check uses the server's own way (TCP, TLS or unix socket; HTTP/1.1 or HTTP/2) on a
//! new connection. It passes if an expected status arrives, whole and in time. The first result
//! counts at once; later, several results in a row are needed to take a server out or to bring it
//! back. The result goes to `state`, from where `pick` reads it.

use std::fmt::Write;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use http::Uri;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect::{self, HandshakeOptions, ServerEndpoint, WireProtocol};
use super::credential::GatewayCredential;
use super::credential_headers::CredentialHeaders;
use super::error::ConnectError;
use super::pool::UpstreamPool;
use super::proxy_header::ProxyHeaderBytes;
use super::resolve::LookupSpawner;
use super::server::PoolServer;
use super::transport::UpstreamTransport;
use crate::body::{Body, Request};
use crate::config::{HealthCheck, ProxyVersion};
use crate::runtime::BackgroundRuntime;
use crate::secret;

/// How many servers of one pool are probed at the same time.
const PARALLEL: usize = 64;
/// Bytes of an answer that are read. A longer answer has shown that the server works.
const LARGEST: usize = 64 * 1024;
/// How much longer than the timeout of a check a start waits for the first round.
const SLACK: Duration = Duration::from_millis(500);

const WHO: HeaderValue = HeaderValue::from_static("tollhouse-check");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The checks of one pool.
pub(super) struct PoolChecks {
    settings: Arc<HealthCheck>,
    /// Cancelled when each server has been probed once.
    first_round: CancellationToken,
    /// Cancelled when the pool is dropped.
    over: CancellationToken,
    _ends: DropGuard,
}

/// The reasons for which a check fails.
#[derive(Debug, thiserror::Error)]
enum CheckError {
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
    fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            // Invariant: writing to a string does not fail.
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        text
    }
}

impl PoolChecks {
    /// The checks of a pool, not running yet.
    pub(super) fn new(settings: &HealthCheck) -> Self {
        let over = CancellationToken::new();
        Self {
            settings: Arc::new(settings.clone()),
            first_round: CancellationToken::new(),
            _ends: over.clone().drop_guard(),
            over,
        }
    }

    /// The time between two rounds.
    pub(super) fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// Marks the first round as done if the pool of the previous generation had done it. The
    /// gateway then stays ready during a reload, because `state` has inherited the results.
    pub(super) fn inherit(&self, last: &Self) {
        if last.first_round.is_cancelled() {
            self.first_round.cancel();
        }
    }

    /// The pause between two rounds: the interval, varied by a tenth, so that several gateways do
    /// not probe at the same moments. The variation is random and drawn anew for each pause.
    fn pause(&self) -> Duration {
        let [random] = secret::random::<1>();
        self.settings.interval.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
    }
}

impl UpstreamPool {
    /// Starts the checks, if they are configured. They run for as long as the pool exists. Call it
    /// once for each pool. A second call would start a second task and double the load on the
    /// servers.
    pub fn watch(self: &Arc<Self>, background: &BackgroundRuntime) {
        let Some(checks) = &self.checks else { return };
        let over = checks.over.clone();
        let watching = watch(Arc::downgrade(self), background.clone());
        background.spawn(async move {
            over.run_until_cancelled(watching).await;
        });
    }

    /// Resolves when each server has been probed once, or when the time for that is over. A start
    /// waits for it, so that the first requests do not go to a server that is down.
    pub async fn checked_once(&self) {
        let Some(checks) = &self.checks else { return };
        let limit = checks.settings.timeout + SLACK;
        let _ = tokio::time::timeout(limit, checks.first_round.cancelled()).await;
    }

    /// A sentence for operators, if the checks say that no request can be served.
    pub fn problem(&self) -> Option<String> {
        let checks = self.checks.as_ref()?;
        if !checks.first_round.is_cancelled() {
            return Some(format!("the servers of `{}` have not been checked yet", self.name()));
        }
        let all_fail = self.servers.iter().all(|server| server.state.fails_checks());
        all_fail.then(|| format!("every server of `{}` fails its checks", self.name()))
    }
}

/// The rounds of a pool.
async fn watch(pool: Weak<UpstreamPool>, background: BackgroundRuntime) {
    let mut rows = Vec::new();
    loop {
        // The strong reference is dropped before the pause. Otherwise a replaced pool, with all its
        // connections, would live until the next round.
        let Some(upgraded) = pool.upgrade() else { return };
        let Some(checks) = &upgraded.checks else { return };
        round(&upgraded, checks, &background, &mut rows).await;
        checks.first_round.cancel();
        let clock = upgraded.clock.clone();
        let pause = checks.pause();
        drop(upgraded);
        clock.sleep(pause).await;
    }
}

/// Probes each server once and records the results.
async fn round(
    pool: &UpstreamPool,
    checks: &PoolChecks,
    background: &BackgroundRuntime,
    rows: &mut Vec<CheckStreak>,
) {
    let asking: Vec<_> = pool
        .servers
        .iter()
        .map(|server| {
            ask(
                server.clone(),
                CheckProtocol::of(pool),
                checks.settings.clone(),
                background.clone(),
            )
        })
        .collect();
    let answers: Vec<_> = stream::iter(asking).buffered(PARALLEL).collect().await;
    rows.resize(pool.servers.len(), CheckStreak::default());
    let now = pool.clock.now();
    for ((server, row), answer) in pool.servers.iter().zip(rows).zip(answers) {
        if row.note(answer.is_ok(), &checks.settings) {
            let cause = answer.err().map(|error| error.chain());
            server.state.checked(cause.as_deref(), now);
        }
    }
}

/// The results of one server, from which `note` decides about its health.
#[derive(Clone, Copy, Default)]
struct CheckStreak {
    healthy: Option<bool>,
    /// Results in a row that contradict `healthy`.
    against: u32,
}

impl CheckStreak {
    /// Records a result. True if the server's health has changed.
    fn note(&mut self, passed: bool, settings: &HealthCheck) -> bool {
        if self.healthy == Some(passed) {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = match self.healthy {
            None => 1,
            Some(true) => settings.fall,
            Some(false) => settings.rise,
        };
        if self.against < needed {
            return false;
        }
        *self = Self { healthy: Some(passed), against: 0 };
        true
    }
}

/// The protocol and the credential for the servers of a pool.
#[derive(Clone)]
struct CheckProtocol {
    http2: bool,
    proxy_protocol: Option<ProxyVersion>,
    /// The upstream's fixed credential, if it has one. No login is made for a check: a failing
    /// login could lock the account.
    credential: Option<CredentialHeaders>,
}

/// The settings of `pool`.
impl CheckProtocol {
    fn of(pool: &UpstreamPool) -> Self {
        let credential = match &pool.credential {
            Some(GatewayCredential::Fixed(fields)) => Some(fields.clone()),
            Some(GatewayCredential::Login(_)) | None => None,
        };
        Self { http2: pool.http2, proxy_protocol: pool.proxy_protocol, credential }
    }
}

/// Probes a server within the timeout.
///
/// # Errors
/// The check failed, or it took longer than its timeout.
async fn ask(
    server: Arc<PoolServer>,
    speech: CheckProtocol,
    settings: Arc<HealthCheck>,
    background: BackgroundRuntime,
) -> Result<(), CheckError> {
    let limit = settings.timeout;
    let answer = speak(&server, speech, &settings, background);
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(CheckError::Slow(limit)))
}

/// Probes a server.
///
/// # Errors
/// No connection, no whole answer, or a status that is not expected.
async fn speak(
    server: &PoolServer,
    speech: CheckProtocol,
    settings: &HealthCheck,
    background: BackgroundRuntime,
) -> Result<(), CheckError> {
    // The built-in echo is always available.
    let Some(path) = &server.path else { return Ok(()) };
    let asker = LookupSpawner::Background(&background);
    // A check belongs to no client, so the PROXY header says that the gateway itself connects.
    let proxy_header = speech.proxy_protocol.map(ProxyHeaderBytes::local).transpose()?;
    let speak = if speech.http2 { WireProtocol::Http2 } else { WireProtocol::Http1 };
    let way = HandshakeOptions { speak, proxy_header: proxy_header.as_ref() };
    let (stream, http2, _) = connect::open(path, way, settings.timeout, asker).await?;
    // The connection does not count against the server's limit. A server whose connections are all
    // in use must be probed, too.
    let transport = TokioIo::new(UpstreamTransport::new(stream, None));
    let mut request = request(path, http2, settings)?;
    if let Some(credential) = &speech.credential {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_answers_in_a_row_change_what_is_believed() {
        let settings = HealthCheck {
            path: "/ping".parse().unwrap(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
            status: vec![200..=399],
            host: None,
        };
        for (answers, believed, why) in [
            ("+", "+", "the first decides"),
            ("-", "-", "the first decides"),
            ("+---", "+++-", "three failures take it out"),
            ("+--+--+", "+++++++", "unless a success is between them"),
            ("-++", "--+", "two successes bring it back"),
            ("-+-+-", "-----", "unless a failure is between them"),
            ("+-+-+-+-", "++++++++", "who flaps stays what he was"),
        ] {
            let mut row = CheckStreak::default();

            let told = answers.chars().map(|answer| {
                row.note(answer == '+', &settings);
                if row.healthy == Some(true) { '+' } else { '-' }
            });

            assert_eq!(told.collect::<String>(), believed, "{why}");
        }
    }
}
