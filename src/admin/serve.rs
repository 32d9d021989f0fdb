//! The listeners for operators: TCP for probes and metrics, a unix socket for everything else.
//!
//! The TCP listener cannot change anything, so a page in an operator's browser cannot change
//! anything through it either. The unix socket belongs to its owner alone (0600), and to a group as
//! well if `[admin] socket` names one. Both run on the background runtime, so that operators are
//! answered while the workers are busy.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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

use super::probe_listener::OpenListener;
use super::socket_access::grant_socket;
use super::takeover_door::TAKEOVER_PATH;
use super::{AdminCommand, AdminOperations, SOCKET, health};
use crate::body::{Body, Response};
use crate::listener::{BindError, SocketFile, listen_tcp};
use crate::rejection::respond;
use crate::runtime::{BackgroundRuntime, WorkKind};
use crate::settings::Config;
use crate::telemetry::metrics;

/// Upper bound on connections of operators and probes at the same time; more wait to be accepted.
const CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Upper bound on connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// The name of the socket's file until it is served. It is not longer than the other name, because
/// the system bounds the whole path.
const PASSING_SOCKET: &str = "admin.next";
/// Upper bound on a body. The largest thing that is sent is a key in PEM form.
const BODY_LIMIT: u64 = 64 << 10;
/// The pause after a failed accept, which most likely means that no descriptors are left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The TCP listener for operators. It is opened early in a start, before anything is created that
/// would have to be removed if the start fails. Nobody accepts from it yet.
#[derive(Debug)]
pub(crate) struct TcpDoor(std::net::TcpListener);

impl TcpDoor {
    /// Opens the TCP listener, if the configuration has one. `ours` are ports on which this process
    /// listens already. The error is that of the address.
    pub(crate) fn bind(config: &Config, ours: &[u16]) -> Result<Option<Self>, BindError> {
        let Some(address) = config.admin.address else { return Ok(None) };
        let named = |source| BindError::of_tcp(format!("admin {address}"), source);
        Ok(Some(Self(listen_tcp(address, ours).map_err(named)?)))
    }

    /// The listener of another gateway, which has opened the socket for this address.
    pub(crate) fn adopt(socket: OwnedFd) -> Self {
        Self(socket.into())
    }

    /// The address of the listener, with the real port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Answers probes until `stop` is cancelled; then the address is free again. A connection that
    /// is open at that moment ends with its request.
    pub(crate) fn serve(
        self,
        operations: &Arc<AdminOperations>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let background = &operations.gateway.shared.background;
        let _runtime = background.handle().enter();
        let listener = TcpListener::from_std(self.0)?;
        // A reload may open this listener at the command of an operator. Probes are not that
        // operator's actions, so no operator is recorded for them.
        let door = AdminDoor {
            operations: operations.clone(),
            right: CommandRight::None,
            places: places(),
        };
        let door = door.by(None, CommandRight::None);
        spawn_until(background, stop, async move {
            loop {
                let accepted = listener.accept().await.map(|(stream, _)| stream);
                door.admit(accepted).await;
            }
        });
        Ok(())
    }
}

impl AdminOperations {
    /// Answers probes at `door` from now on, and at no other address. The new address is served
    /// before the old one is closed, so no probe finds the gateway missing.
    pub(crate) fn serve_probes(self: &Arc<Self>, door: Option<TcpDoor>) -> io::Result<()> {
        let opened = match door {
            Some(door) => {
                let stop = CancellationToken::new();
                let address = door.address();
                let socket = door.0.try_clone()?;
                door.serve(self, &stop)?;
                Some(OpenListener { address, socket, stop })
            }
            None => None,
        };
        self.probes.replace(opened);
        Ok(())
    }
}

/// The unix socket for operators; nobody accepts from it yet, and nobody finds it: its file gets its
/// name when it is served. The file is removed together with it, unless another gateway has put its
/// own there.
#[derive(Debug)]
pub(crate) struct SocketDoor {
    socket: std::os::unix::net::UnixListener,
    file: SocketFile,
    path: PathBuf,
    owner: u32,
}

impl SocketDoor {
    /// Creates the socket in the state folder. A gateway that has its own there keeps it until this
    /// one is served, so that a start that fails takes nothing from it.
    pub(crate) fn bind(config: &Config) -> Result<Self, BindError> {
        let path = config.state.dir.join(SOCKET);
        let passing = config.state.dir.join(PASSING_SOCKET);
        let open = || {
            // This gateway has the store at this point. A file that exists here is therefore left
            // over from a start that was cut off.
            let _ = fs::remove_file(&passing);
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(&passing)?)?;
            let file = SocketFile::new(&passing)?;
            // The mode is set before `listen`. If somebody could connect under the mode that the
            // file was created with, that connection would be in the queue, whatever the mode is
            // later.
            grant_socket(&passing, &config.admin.socket)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            let owner = fs::metadata(&passing)?.uid();
            Ok(Self { socket: socket.into(), file, path: path.clone(), owner })
        };
        open().map_err(|source| BindError::of(path.display().to_string(), source))
    }

    /// Carries out commands until `stop` is cancelled.
    pub(crate) fn serve(
        self,
        operations: &Arc<AdminOperations>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        let background = &operations.gateway.shared.background;
        let _runtime = background.handle().enter();
        let Self { socket, mut file, path, owner } = self;
        let socket = UnixListener::from_std(socket)?;
        file.rename(&path)?;
        let right = CommandRight::Lasting;
        let door = AdminDoor { operations: operations.clone(), right, places: places() };
        spawn_until(background, stop, async move {
            let _file = file;
            loop {
                let accepted = socket.accept().await.map(|(stream, _)| stream);
                let peer = accepted.as_ref().ok().map(UnixStream::peer_cred);
                let peer = peer.and_then(Result::ok).map(|peer| peer.uid());
                // The kernel has compared the peer with the group and mode of the socket. The
                // groups of the peer are not looked up again: SO_PEERCRED contains only the first
                // of them.
                let is_owner = peer.is_some_and(|peer| [owner, 0].contains(&peer));
                if accepted.is_ok() && !is_owner && !door.is_open_to_group() {
                    tracing::warn!("a connection of another user to the admin socket was closed");
                    continue;
                }
                let of_group = CommandRight::UntilChange(door.operations.access.count());
                let right = if is_owner { CommandRight::Lasting } else { of_group };
                door.by(peer, right).admit(accepted).await;
            }
        });
        Ok(())
    }
}

fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS))
}

fn spawn_until<F>(background: &BackgroundRuntime, stop: &CancellationToken, task: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    background.spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

/// The right of a connection to give commands.
#[derive(Clone, Copy, Debug)]
enum CommandRight {
    /// Probes and metrics only: the connection came by TCP.
    None,
    /// The peer is the gateway's own user, or root.
    Lasting,
    /// The peer was let in by the group's access, when so many changes of it had been made.
    UntilChange(u64),
}

impl CommandRight {
    /// False if the access that let the peer in has been changed since.
    fn holds(self, operations: &AdminOperations) -> bool {
        match self {
            Self::None | Self::Lasting => true,
            Self::UntilChange(count) => count == operations.access.count(),
        }
    }
}

/// One of the two listeners. Each has its own places, so that probes are answered while operators
/// use all of theirs.
struct AdminDoor {
    operations: Arc<AdminOperations>,
    right: CommandRight,
    places: Arc<Semaphore>,
}

impl AdminDoor {
    fn is_open_to_group(&self) -> bool {
        self.operations.gateway.generation().config.admin.socket.group.is_some()
    }

    /// The same listener for one peer. Every command of this peer is audited under the peer's user.
    /// The copy shares the places and everything else with the original. `None` stands for an
    /// unknown peer or for probes.
    fn by(&self, operator: Option<u32>, right: CommandRight) -> Self {
        let operations = AdminOperations { operator, ..AdminOperations::clone(&self.operations) };
        Self { operations: Arc::new(operations), places: self.places.clone(), right }
    }

    /// Serves an accepted connection as soon as there is a place for it.
    async fn admit<S>(&self, accepted: io::Result<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(stream) = accepted else {
            return tokio::time::sleep(ACCEPT_BACKOFF).await;
        };
        // The place is awaited here, so the accept loop stops accepting while all places are taken
        // (back-pressure).
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        let operations = self.operations.clone();
        let right = self.right;
        let background = operations.gateway.shared.background.clone();
        background.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let operations = operations.clone();
                async move { Ok::<_, Infallible>(answer(&operations, right, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection broke off");
            }
        });
    }
}

/// The answer to one request. Probes and metrics are answered on both listeners, commands on the
/// unix socket only. The path decides, and a path that is unknown on this listener is 404.
async fn answer(
    operations: &Arc<AdminOperations>,
    right: CommandRight,
    mut request: http::Request<Incoming>,
) -> Response {
    if !right.holds(operations) {
        return access_changed();
    }
    if request.uri().path() == TAKEOVER_PATH && request.method() == Method::POST {
        return admit_successor(operations, right, &mut request);
    }
    let (head, body) = request.into_parts();
    let readable = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path() {
        "/livez" if readable => return respond(health::live(operations.progress.is_made())),
        "/readyz" if readable => {
            return respond(operations.readiness().answer(head.uri.query()));
        }
        "/metrics" if readable => return metrics_of(operations),
        _ if matches!(right, CommandRight::None) => {
            return json(
                StatusCode::NOT_FOUND,
                &error("there is /livez, /readyz and /metrics here"),
            );
        }
        _ => {}
    }
    // The body is bounded in size and time, although its sender is an operator: a script may hang.
    let Ok(body) = Body::from(body).timed(HEADER_TIMEOUT).read_all(BODY_LIMIT).await else {
        return json(StatusCode::BAD_REQUEST, &error("the body could not be read"));
    };
    match AdminCommand::parse(&head.method, head.uri.path(), head.uri.query(), &body) {
        // The access may have changed while the body was on its way.
        Ok(_) if !right.holds(operations) => access_changed(),
        Ok(command) => execute(operations, command).await,
        Err((status, problem)) => json(status, &error(&problem)),
    }
}

/// The answer to a successor. The group of `[admin] socket` gives commands; it does not get the
/// sockets of the gateway.
fn admit_successor(
    operations: &Arc<AdminOperations>,
    right: CommandRight,
    request: &mut http::Request<Incoming>,
) -> Response {
    let shared = &operations.gateway.shared;
    let admitted = match right {
        CommandRight::None => Err((StatusCode::NOT_FOUND, "there is no such command")),
        CommandRight::UntilChange(_) => {
            Err((StatusCode::FORBIDDEN, "only the gateway's own user and root may take it over"))
        }
        CommandRight::Lasting if shared.draining.load(Ordering::Relaxed) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, "it drains"))
        }
        CommandRight::Lasting => operations.takeovers.admit(&shared.background, request),
    };
    match admitted {
        Ok(response) => {
            operations.audit("takeover", "asked for");
            response
        }
        Err((status, problem)) => json(status, &error(problem)),
    }
}

/// Carries out a command to its end, even if the operator hangs up: a revocation also ends streams
/// and writes a line to the audit log, and half of it would be worse than none.
async fn execute(operations: &Arc<AdminOperations>, command: AdminCommand) -> Response {
    let work = {
        let operations = operations.clone();
        async move { operations.execute(command).await }
    };
    match operations.gateway.shared.background.run(WorkKind::Admin, work).await {
        Ok(Some((status, answer))) => json(status, &answer),
        Ok(None) => json(StatusCode::INTERNAL_SERVER_ERROR, &error("the command panicked")),
        Err(full) => json(StatusCode::SERVICE_UNAVAILABLE, &error(&full.to_string())),
    }
}

fn metrics_of(operations: &AdminOperations) -> Response {
    let text = operations.gateway.shared.metrics.render(&operations.gauges());
    let mut response = Response::new(Body::full(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}

/// The answer to a peer whose access may have been taken away. A peer that still has it connects
/// again.
fn access_changed() -> Response {
    let problem = error("[admin] socket has changed since this connection began: connect again");
    let mut response = json(StatusCode::FORBIDDEN, &problem);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
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
