//! One request on its way: each attempt to get an answer, and the decision about another one.
//!
//! A request is sent again only if the upstream cannot have acted on it, or if acting twice is the
//! same as acting once:
//!
//! - no connection could be made;
//! - a kept connection was closed before the request was written (hyper then returns it whole);
//! - an HTTP/2 server refused it unseen;
//! - it is idempotent, all of it is in memory, and its connection broke or was silent before an
//!   answer came.
//!
//! After a new connection broke or was silent, only another server is asked. If a kept connection
//! broke, the server merely closed it while the request was on its way: the request is sent once
//! more on a new connection, which does not count as a retry. `send` is the caller.

use std::error::Error;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, timeout_at};

use super::deadline::ExchangeDeadline;
use super::lifetime::RegisteredStream;
use super::replay;
use super::request::{self, UploadProgress};
use super::response::ConnectionLease;
use super::upgrade_request::{self, UpgradeRequest};
use crate::body::Request;
use crate::runtime::Worker;
use crate::upstream::connection::{
    self, AcquireError, AcquiredSlot, ConnectOptions, HandshakeOptions, IdleConnection,
    PooledConnection, ProxyHeaderBytes, RequestSender, ServerEndpoint, WireProtocol,
};
use crate::upstream::error::ForwardError;
use crate::upstream::pool::{InFlight, PickRequest, PoolServer, UpstreamPool};

/// A connection that was used within this time is hardly ever closed by the server just now. After
/// a longer pause, a copy of the request is worth its cost.
const LONG_UNUSED: Duration = Duration::from_secs(1);

/// An attempt without an answer.
pub(super) struct FailedAttempt {
    error: ForwardError,
    again: RetryScope,
}

/// Where a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryScope {
    /// Nowhere: the request is lost, or a second sending could act twice.
    No,
    /// On a new connection to the same server: a kept one was closed before the request was
    /// written, or before an answer to an idempotent one. It does not count as a retry.
    SameServer,
    /// To another server, or to the same if there is no other.
    AnyServer,
    /// Only to another server.
    OtherServer,
}

impl FailedAttempt {
    /// Puts `left` back into `request` for the next attempt. Without it the request is lost, so
    /// there is no next attempt.
    fn putting_back(mut self, left: Option<Request>, request: &mut Request) -> Self {
        match left {
            Some(left) => *request = left,
            None => self.again = RetryScope::No,
        }
        self
    }
}

impl From<ForwardError> for FailedAttempt {
    fn from(error: ForwardError) -> Self {
        Self { error, again: RetryScope::No }
    }
}

/// One request on its way to a pool.
pub(super) struct Delivery<'a> {
    pub(super) pool: &'a UpstreamPool,
    pub(super) worker: &'a Arc<Worker>,
    pub(super) progress: Option<Arc<UploadProgress>>,
    /// The tunnel that the client asks for.
    pub(super) upgrade_request: Option<UpgradeRequest>,
    /// The place of the tunnel among the session's streams, and the notice that it gets at its end.
    pub(super) registered: Option<(RegisteredStream, Duration)>,
    /// The PROXY header of its connection, which then serves this request only.
    pub(super) proxy_header: Option<ProxyHeaderBytes>,
    pub(super) idempotent: bool,
    pub(super) deadline: Option<ExchangeDeadline>,
    /// The input of hash balancing.
    pub(super) key: Option<u64>,
    /// Use no kept connection: one of them was closed, so the others may be closed, too.
    pub(super) fresh: bool,
    /// Retries so far.
    pub(super) tries: u8,
    /// The servers that have failed this request.
    pub(super) failed: Vec<&'a Arc<PoolServer>>,
}

impl<'a> Delivery<'a> {
    /// Takes `request` and sends it to `server`. On a failure after which it may be sent again,
    /// `request` is filled again.
    pub(super) async fn attempt(
        &self,
        server: &Arc<PoolServer>,
        path: &ServerEndpoint,
        request: &mut Request,
    ) -> Result<(http::Response<Incoming>, ConnectionLease), FailedAttempt> {
        let in_flight = InFlight::start(server);
        let (mut connection, unused) = match self.connection(server, path).await {
            Ok(found) => found,
            Err(error) => {
                let again =
                    if error.safe_to_retry() { RetryScope::AnyServer } else { RetryScope::No };
                return Err(FailedAttempt { error, again });
            }
        };
        let spare = self.spare(request, server, &connection, unused);
        let answer = match &mut connection.sender {
            RequestSender::Http1(sender) => {
                if let Some(upgrade_request) = &self.upgrade_request {
                    upgrade_request.for_http1(request);
                }
                request::for_http1(request);
                let sending = pin!(sender.try_send_request(mem::take(request)));
                self.await_head(server, sending).await
            }
            RequestSender::Http2(sender) => {
                let tls = matches!(path, ServerEndpoint::Tcp { tls: Some(_), .. });
                request::for_http2(request, tls)?;
                let sending = pin!(sender.try_send_request(mem::take(request)));
                self.await_head(server, sending).await
            }
            RequestSender::WebSocket(sender) => {
                let tls = matches!(path, ServerEndpoint::Tcp { tls: Some(_), .. });
                request::for_http2(request, tls)?;
                upgrade_request::for_http2(request);
                let sending = pin!(sender.try_send_request(mem::take(request)));
                self.await_head(server, sending).await
            }
        };
        match answer {
            Ok(Ok(answer)) => {
                self.pool.answered(server, answer.status());
                let worker = self.worker.clone();
                let alone = self.is_alone();
                Ok((answer, ConnectionLease { connection, worker, in_flight, alone }))
            }
            Ok(Err(error)) => {
                let (failed, left) = self.failed(server, error, spare, unused.is_some());
                Err(failed.putting_back(left, request))
            }
            Err(error) => {
                let slow = matches!(error, ForwardError::Slow { .. });
                if slow {
                    self.pool.failed(server);
                }
                let spare = spare.filter(|_| slow && self.idempotent);
                Err(FailedAttempt { error, again: RetryScope::OtherServer }
                    .putting_back(spare, request))
            }
        }
    }

    /// A connection to send on. The duration says how long it was unused, if it was a kept one.
    async fn connection(
        &self,
        server: &Arc<PoolServer>,
        path: &ServerEndpoint,
    ) -> Result<(PooledConnection, Option<Duration>), ForwardError> {
        let mut permit = None;
        if let Some(desk) = server.desk() {
            let deadline = self.deadline.map(|deadline| deadline.at);
            let usable =
                |kept: &IdleConnection, now| !self.is_alone() && server.is_usable(kept, now);
            match desk.turn(self.fresh, usable, deadline).await {
                Ok(AcquiredSlot::Use(taken)) => return Ok((taken.connection, Some(taken.unused))),
                Ok(AcquiredSlot::Connect(leave)) => permit = Some(leave),
                Err(why) => {
                    self.in_time(server)?;
                    let what = match why {
                        AcquireError::Full => "the queue for its connections is full",
                        AcquireError::Late => "none of its connections became free in time",
                    };
                    return Err(ForwardError::Busy { server: server.name.clone(), what });
                }
            }
        } else if !self.fresh
            && !self.is_alone()
            && let Some(taken) = server.take(self.worker)
        {
            return Ok((taken.connection, Some(taken.unused)));
        }
        let timeouts = &self.pool.timeouts;
        let left = self.deadline.map(|deadline| deadline.at - Instant::now());
        let limit = left.map_or(timeouts.connect, |left| left.min(timeouts.connect));
        let speak = match (self.pool.http2, &self.upgrade_request) {
            (false, _) => WireProtocol::Http1,
            (true, None) => WireProtocol::Http2,
            (true, Some(_)) => WireProtocol::WebSocket,
        };
        let way = HandshakeOptions { speak, proxy_header: self.proxy_header.as_ref() };
        let keep = timeouts.keep_alive;
        let worker = self.worker;
        let manner = ConnectOptions { way, limit, keep, worker };
        // Boxed because connecting is rare: unboxed, its state would enlarge the future of every
        // request.
        match Box::pin(connection::connect(path, &manner, permit)).await {
            Ok(connection) => {
                server.state.reached();
                if !self.is_alone() {
                    server.share(self.worker, &connection);
                }
                Ok((connection, None))
            }
            Err(source) => {
                self.in_time(server)?;
                self.pool.unreachable(server);
                Err(ForwardError::Connect { server: server.name.clone(), source })
            }
        }
    }

    /// True if the connection must serve this request only: it begins with the client's address, or
    /// it is for a tunnel over HTTP/2, which also gets a connection of its own. It is then neither
    /// taken from the kept ones nor given back to them.
    fn is_alone(&self) -> bool {
        self.proxy_header.is_some() || (self.pool.http2 && self.upgrade_request.is_some())
    }

    /// A copy of the request, if one may be needed and may be sent.
    fn spare(
        &self,
        request: &Request,
        server: &PoolServer,
        connection: &PooledConnection,
        unused: Option<Duration>,
    ) -> Option<Request> {
        // An HTTP/2 server that closes a connection may refuse any request unseen, whatever its
        // method. A copy is therefore worth its cost even for a POST, which would otherwise fail
        // although nothing happened.
        let http2 = !matches!(connection.sender, RequestSender::Http1(_));
        let allowed = (self.idempotent || http2) && self.upgrade_request.is_none();
        let needed = http2
            || self.pool.servers().len() > 1
            || unused.is_some_and(|unused| unused >= LONG_UNUSED);
        let retried = self.tries < self.pool.retries && allowed && needed;
        let repeated = || self.is_repeatable(unused.is_some()) && server.reuse.needs_copy();
        if retried || repeated() { replay::clone_request(request) } else { None }
    }

    /// True if the request may be sent once more, outside of all retries, after a kept connection
    /// broke.
    fn is_repeatable(&self, kept: bool) -> bool {
        kept && self.idempotent && self.upgrade_request.is_none() && !self.fresh
    }

    /// Waits for the head of the answer, within the limits. While the gateway waits for more of the
    /// client's body, the time for the first byte does not run.
    ///
    /// # Errors
    /// The upstream was silent for the limit, or the time for the whole exchange is over.
    async fn await_head<F: Future>(
        &self,
        server: &Arc<PoolServer>,
        mut sending: Pin<&mut F>,
    ) -> Result<F::Output, ForwardError> {
        let limit = self.pool.timeouts.first_byte;
        let mut until = Instant::now() + limit;
        loop {
            let next = self.deadline.map_or(until, |deadline| deadline.at.min(until));
            if let Ok(answer) = timeout_at(next, sending.as_mut()).await {
                return Ok(answer);
            }
            self.in_time(server)?;
            match self.progress.as_ref().and_then(|progress| progress.patience(limit)) {
                Some(later) => until = later,
                None => return Err(ForwardError::Slow { server: server.name.clone(), limit }),
            }
        }
    }

    /// An error if the time for the whole exchange is over.
    fn in_time(&self, server: &Arc<PoolServer>) -> Result<(), ForwardError> {
        match self.deadline {
            Some(deadline) if deadline.has_passed() => {
                Err(ForwardError::Overdue { server: server.name.clone(), limit: deadline.limit })
            }
            _ => Ok(()),
        }
    }

    /// Classifies a failure. Returns it with the request that could be sent once more.
    fn failed(
        &self,
        server: &Arc<PoolServer>,
        mut error: TrySendError<Request>,
        spare: Option<Request>,
        kept: bool,
    ) -> (FailedAttempt, Option<Request>) {
        let unsent = error.take_message();
        let source = error.into_error();
        if unsent.is_some() || is_refusal(&source) {
            // Healthy servers close connections in this way too, so the failure is not counted
            // against the server. `SameServer` only if the message came back and the connection was
            // a kept one: on a new connection the server would probably close it again.
            let again = if unsent.is_some() && kept {
                RetryScope::SameServer
            } else {
                RetryScope::AnyServer
            };
            let error = ForwardError::Closed { server: server.name.clone(), source };
            return (FailedAttempt { error, again }, unsent.or(spare));
        }
        if kept {
            server.reuse.broken();
        }
        if spare.is_some() && self.is_repeatable(kept) && self.is_stale(&source) {
            let error = ForwardError::Closed { server: server.name.clone(), source };
            return (FailedAttempt { error, again: RetryScope::SameServer }, spare);
        }
        let error = self.failure(server, source);
        let lost = matches!(error, ForwardError::Closed { .. });
        let again = if kept { RetryScope::AnyServer } else { RetryScope::OtherServer };
        (FailedAttempt { error, again }, spare.filter(|_| lost && self.idempotent))
    }

    /// True if the connection simply ended: the client's body did not fail, and the server did not
    /// send anything that is not HTTP.
    fn is_stale(&self, source: &hyper::Error) -> bool {
        let body_failed = self.progress.as_ref().is_some_and(|progress| progress.fault().is_some());
        !body_failed && !source.is_parse() && !source.is_parse_too_large()
    }

    fn failure(&self, server: &Arc<PoolServer>, source: hyper::Error) -> ForwardError {
        if let Some(fault) = self.progress.as_ref().and_then(|progress| progress.fault()) {
            return fault.into();
        }
        self.pool.failed(server);
        let server = server.name.clone();
        if source.is_parse() || source.is_parse_too_large() {
            return ForwardError::Malformed { server, source };
        }
        ForwardError::Closed { server, source }
    }

    /// The server for the next attempt after a failed one at `server`.
    ///
    /// # Errors
    /// The failure, if the request must not be sent again or the retries are used up.
    pub(super) fn next(
        &mut self,
        server: &'a Arc<PoolServer>,
        failed: FailedAttempt,
    ) -> Result<&'a Arc<PoolServer>, ForwardError> {
        let FailedAttempt { error, again } = failed;
        if again == RetryScope::SameServer && !self.fresh {
            self.fresh = true;
            return Ok(server);
        }
        if again == RetryScope::No || self.tries >= self.pool.retries {
            return Err(error);
        }
        self.failed.push(server);
        let wanted = PickRequest { failed: &self.failed, key: self.key };
        let pool = self.pool;
        let Some(next) = pool.pick(self.worker, &wanted) else { return Err(error) };
        let other = !wanted.is_failed(next);
        if again == RetryScope::OtherServer && !(other && self.pool.is_up(next)) {
            return Err(error);
        }
        // The budget is spent last, so that a retry that has no server to go to costs nothing.
        if !self.pool.budget.take_retry(self.worker.index) {
            return Err(error);
        }
        self.tries += 1;
        self.fresh = !other;
        Ok(next)
    }
}

/// True if an HTTP/2 server says that it did not process the request: it refused the stream, or it
/// sent GOAWAY with an earlier stream as its last (RFC 9113 §8.7).
fn is_refusal(error: &hyper::Error) -> bool {
    // hyper reveals this only in the text of its error. If that text changes, then requests lose a
    // retry; a request is never sent twice wrongly.
    let Some(cause) = error.source() else { return false };
    let said = cause.to_string();
    said.starts_with("stream error received: refused stream")
        || said.starts_with("connection error received: ")
}
