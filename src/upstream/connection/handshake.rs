//! The HTTP handshake on a stream to a server, and the tasks that drive the connection afterwards.
//!
//! The drivers run on the worker that opened the connection, so that a request and its connection
//! share one thread. A WebSocket over HTTP/2 may be opened only if the server supports extended
//! CONNECT (RFC 8441), which its SETTINGS say. `connect` is the caller and limits the time.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep;

use super::pooled::RequestSender;
use super::transport::UpstreamTransport;
use crate::body::Body;
use crate::runtime::Worker;
use crate::upstream::error::ConnectError;

/// The HTTP/1.1 handshake.
pub(super) async fn handshake_http1(
    transport: UpstreamTransport,
    worker: &Arc<Worker>,
) -> Result<RequestSender, ConnectError> {
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(transport))
        .await
        .map_err(ConnectError::Handshake)?;
    // An error that ends the connection during a request is reported to that request. Between
    // requests, the end of a kept connection is normal and is not reported.
    drive(connection.with_upgrades(), worker);
    Ok(RequestSender::Http1(sender))
}

/// Interval and timeout of pings on HTTP/2 connections. Many requests share one connection; a dead
/// one would fail them all, so it is probed.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP/2 handshake.
pub(super) async fn handshake_http2(
    transport: UpstreamTransport,
    worker: &Arc<Worker>,
) -> Result<RequestSender, ConnectError> {
    let (sender, connection) = http2_builder(WorkerExecutor(worker.clone()))
        .handshake(TokioIo::new(transport))
        .await
        .map_err(ConnectError::Handshake)?;
    drive(connection, worker);
    Ok(RequestSender::Http2(sender))
}

/// The use that can be made of a new HTTP/2 connection.
pub(super) enum HandshakeResult {
    /// The server supports extended CONNECT.
    Opens(http2::SendRequest<Body>),
    /// The server does not support it.
    Plain(http2::SendRequest<Body>),
}

/// Polling interval. hyper shows the values in a server's SETTINGS, but does not notify of their
/// arrival. The wait is short, because SETTINGS are the first frame of a server (RFC 9113 §3.4),
/// and only a new connection for a WebSocket waits at all.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The handshake on a connection for a WebSocket. Extended CONNECT may be used only after the
/// server's SETTINGS have allowed it (RFC 8441 §3), so the function waits for them.
pub(super) async fn handshake_websocket(
    transport: UpstreamTransport,
    worker: &Arc<Worker>,
) -> Result<HandshakeResult, ConnectError> {
    let (sender, mut connection) = http2_builder(WorkerExecutor(worker.clone()))
        // The initial limit of 0 streams stays until the server's SETTINGS arrive. A change of the
        // limit therefore reveals their arrival.
        .initial_max_send_streams(0)
        .handshake(TokioIo::new(transport))
        .await
        .map_err(ConnectError::Handshake)?;
    while connection.current_max_send_streams() == 0 {
        tokio::select! {
            ended = &mut connection => return Err(match ended {
                Ok(()) => ConnectError::Refused(std::io::ErrorKind::UnexpectedEof.into()),
                Err(error) => ConnectError::Handshake(error),
            }),
            () = sleep(LOOK_EVERY) => (),
        }
    }
    let opens = connection.is_extended_connect_protocol_enabled();
    drive(connection, worker);
    Ok(if opens { HandshakeResult::Opens(sender) } else { HandshakeResult::Plain(sender) })
}

/// The settings of every HTTP/2 connection to an upstream. The flow-control window adapts to the
/// bandwidth, so that large bodies are not slowed down on long routes.
fn http2_builder(on: WorkerExecutor) -> http2::Builder<WorkerExecutor> {
    let mut builder = http2::Builder::new(on);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .adaptive_window(true);
    builder
}

/// Runs the connection's driver until the connection ends.
fn drive(
    connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    worker: &Arc<Worker>,
) {
    worker.spawn_detached(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
}

/// Runs the tasks of an HTTP/2 connection on the worker that opened it.
#[derive(Clone)]
struct WorkerExecutor(Arc<Worker>);

impl<F> Executor<F> for WorkerExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_detached(future);
    }
}
