//! The operators' listeners: TCP for probes and metrics, a unix socket for everything else.
//!
//! The TCP listener has no way to change anything, so a page in an operator's browser has none
//! either; the unix socket is its owner's alone (0600), and a group's where `[admin] socket` names
//! one.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::socket_access::grant_socket;
use super::{AdminCommand, Operations, SOCKET, health};
use crate::body::{Body, Response};
use crate::config::Config;
use crate::listener::{BindError, SocketFile, listen_tcp};
use crate::rejection::respond;
use crate::runtime::{BackRoom, Work};
use crate::telemetry::metrics;

/// Operators and probes at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Operators who connect while others are being accepted.
const BACKLOG: i32 = 128;
/// A key in PEM form is the largest thing that is sent here.
const BODY_LIMIT: u64 = 64 << 10;
/// After a failed accept (no descriptors left, most likely).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The operators' TCP listener, open before anything is made that only this start would know of;
/// nobody accepts yet.
#[derive(Debug)]
pub(crate) struct TcpDoor(std::net::TcpListener);

impl TcpDoor {
    /// Opens the TCP listener, if the configuration has one. `ours` are ports that this process
    /// listens on already.
    pub(crate) fn bind(config: &Config, ours: &[u16]) -> Result<Option<Self>, BindError> {
        let Some(address) = config.admin.address else { return Ok(None) };
        let named = |source| BindError::of_tcp(format!("admin {address}"), source);
        Ok(Some(Self(listen_tcp(address, ours).map_err(named)?)))
    }

    /// Where it is.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Answers probes until `stop`; then the address is free.
    pub(crate) fn serve(
        self,
        operations: &Arc<Operations>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let back_room = &operations.gateway.shared.back_room;
        let _runtime = back_room.handle().enter();
        let listener = TcpListener::from_std(self.0)?;
        // An operator who has this listener opened by a reload does not act by it.
        let door = Door { operations: operations.clone(), may_change: false, places: places() };
        let door = door.by(None);
        spawn_until(back_room, stop, async move {
            loop {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                door.admit(accepted).await;
            }
        });
        Ok(())
    }
}

/// The operators' unix socket; nobody accepts yet. Its file goes with it, unless another gateway
/// has put its own there.
#[derive(Debug)]
pub(crate) struct SocketDoor {
    socket: std::os::unix::net::UnixListener,
    file: SocketFile,
    owner: u32,
}

impl SocketDoor {
    /// Makes the socket in the state folder.
    pub(crate) fn bind(config: &Config) -> Result<Self, BindError> {
        let path = config.state.dir.join(SOCKET);
        let open = || {
            // The store is ours alone by now, so a socket file here was left by a gateway that is
            // gone, or that has nothing to do any more but to finish.
            let _ = fs::remove_file(&path);
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(&path)?)?;
            let file = SocketFile::new(&path)?;
            // Before `listen`: if somebody could connect under the mode that the file was made
            // with, that connection would be in the queue whatever the mode is by then.
            grant_socket(&path, &config.admin.socket)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            let owner = fs::metadata(&path)?.uid();
            Ok(Self { socket: socket.into(), file, owner })
        };
        open().map_err(|source| BindError::of(path.display().to_string(), source))
    }

    /// Carries out commands until `stop`.
    pub(crate) fn serve(
        self,
        operations: &Arc<Operations>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let back_room = &operations.gateway.shared.back_room;
        let _runtime = back_room.handle().enter();
        let Self { socket, file, owner } = self;
        let socket = UnixListener::from_std(socket)?;
        let door = Door { operations: operations.clone(), may_change: true, places: places() };
        spawn_until(back_room, stop, async move {
            let _file = file;
            loop {
                let accepted = socket.accept().await.map(|(stream, _)| stream);
                let peer = accepted.as_ref().ok().map(UnixStream::peer_cred);
                let peer = peer.and_then(Result::ok).map(|peer| peer.uid());
                // The kernel has compared the peer with the socket's group and mode. The groups of
                // a peer are not asked for again: SO_PEERCRED tells only the first of them.
                let is_let_in =
                    peer.is_some_and(|peer| [owner, 0].contains(&peer)) || door.is_open_to_group();
                if accepted.is_ok() && !is_let_in {
                    tracing::warn!("somebody else's connection to the admin socket was closed");
                    continue;
                }
                door.by(peer).admit(accepted).await;
            }
        });
        Ok(())
    }
}

fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS))
}

fn spawn_until<F>(back_room: &BackRoom, stop: &CancellationToken, task: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    back_room.spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

/// One of the two listeners.
struct Door {
    operations: Arc<Operations>,
    /// The unix socket: commands are carried out.
    may_change: bool,
    places: Arc<Semaphore>,
}

impl Door {
    fn is_open_to_group(&self) -> bool {
        self.operations.gateway.generation().config.admin.socket.group.is_some()
    }

    /// The same door for one peer: whatever it has carried out is audited under its user.
    fn by(&self, operator: Option<u32>) -> Self {
        let operations = Operations { operator, ..Operations::clone(&self.operations) };
        Self { operations: Arc::new(operations), places: self.places.clone(), ..*self }
    }

    /// Serves an accepted connection, when there is a place for it.
    async fn admit<S>(&self, accepted: io::Result<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(stream) = accepted else {
            return tokio::time::sleep(ACCEPT_BACKOFF).await;
        };
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        let (operations, may_change) = (self.operations.clone(), self.may_change);
        let back_room = operations.gateway.shared.back_room.clone();
        back_room.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let operations = operations.clone();
                async move { Ok::<_, Infallible>(answer(&operations, may_change, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection broke off");
            }
        });
    }
}

async fn answer(
    operations: &Arc<Operations>,
    may_change: bool,
    request: http::Request<Incoming>,
) -> Response {
    let (head, body) = request.into_parts();
    let readable = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path() {
        "/livez" if readable => return respond(health::live()),
        "/readyz" if readable => {
            return respond(operations.readiness().answer(head.uri.query()));
        }
        "/metrics" if readable => return metrics_of(operations),
        _ if !may_change => {
            return json(
                StatusCode::NOT_FOUND,
                &error("there is /livez, /readyz and /metrics here"),
            );
        }
        _ => {}
    }
    let Ok(body) = Body::from(body).timed(HEADER_TIMEOUT).read_all(BODY_LIMIT).await else {
        return json(StatusCode::BAD_REQUEST, &error("the body could not be read"));
    };
    match AdminCommand::parse(&head.method, head.uri.path(), head.uri.query(), &body) {
        Ok(command) => carry_out(operations, command).await,
        Err((status, problem)) => json(status, &error(&problem)),
    }
}

/// Carried through even if the operator hangs up: a revocation is also the end of streams and a
/// line in the audit log.
async fn carry_out(operations: &Arc<Operations>, command: AdminCommand) -> Response {
    let work = {
        let operations = operations.clone();
        async move { operations.carry_out(command).await }
    };
    match operations.gateway.shared.back_room.ask(Work::Admin, work).await {
        Ok(Some((status, answer))) => json(status, &answer),
        Ok(None) => json(StatusCode::INTERNAL_SERVER_ERROR, &error("the command panicked")),
        Err(full) => json(StatusCode::SERVICE_UNAVAILABLE, &error(&full.to_string())),
    }
}

fn metrics_of(operations: &Operations) -> Response {
    let text = operations.gateway.shared.metrics.render(&operations.gauges());
    let mut response = Response::new(Body::full(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}

fn error(text: &str) -> serde_json::Value {
    serde_json::json!({ "error": text })
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::full(format!("{value}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
