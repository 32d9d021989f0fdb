//! Accepting connections: one loop for each worker and socket, which only a drain ends.
//!
//! Too many connections are closed at once. If the process has no descriptors left, the loop waits;
//! it neither spins nor ends. The kernel spreads connections over the sockets by a hash, which is
//! uneven while there are few of them. A worker that has clearly more to do than another therefore
//! passes new connections on. `start` begins the loops of one listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::body::Response;
use crate::client::{Client, address_group};
use crate::runtime::Worker;

use super::admission::{ConnectionEvent, ListenerPermit};
use super::bind::{BoundListener, BoundSocket};
use super::connection;
use super::context::{ConnectedPeer, ListenerContext};
use super::drain::Drain;
use super::served::{Reconfigure, ServedListener};
use super::socket::ClientStream;

/// How many connections more than the least loaded worker's count as uneven. A smaller number would
/// pass connections on for no gain. Within it the kernel's own distribution is good enough. Passing
/// a connection on costs a wake-up of the other worker.
const UNEVEN: usize = 8;

/// How long the loop waits after a failure. Descriptors become free when other connections end.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Starts one accept loop for each socket of the listener.
pub(super) fn start<H, F>(
    bound: BoundListener,
    workers: &Arc<[Arc<Worker>]>,
    drain: Drain,
    handler: H,
) -> Arc<dyn Reconfigure>
where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let BoundListener { config, sockets, tls, .. } = bound;
    let served = Arc::new(ServedListener::new(&config, tls, &sockets, drain, handler));
    // The workers are used in turn if there are more sockets than workers. A socket without a loop
    // would still get its share of the connections from the kernel, and those clients would wait
    // forever.
    for ((index, socket), worker) in sockets.into_iter().enumerate().zip(workers.iter().cycle()) {
        let acceptor = WorkerAcceptor::new(served.clone(), worker.clone(), workers.clone());
        let accepting = served.loops.track_future(acceptor.run(index, socket));
        worker.spawn(served.drain.accepting(accepting));
    }
    served
}

/// The accept loop of one worker for one listener. It owns nothing of the connections that it
/// accepts: each becomes a task of a worker, and a panic in it does not reach the loop. It ends
/// with the drain of its listener only.
pub(super) struct WorkerAcceptor<H> {
    listener: Arc<ServedListener<H>>,
    worker: Arc<Worker>,
    workers: Arc<[Arc<Worker>]>,
    /// True from the first failure of a series until the next success, so that a series is logged
    /// once.
    failing: bool,
}

/// A connection that nobody serves yet. It is bound to no runtime, so any worker may take it. The
/// socket is taken out of one runtime and registered with another, which the operating system does
/// not notice.
enum RawConnection {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl RawConnection {
    /// Binds the connection to the runtime of the worker that this code runs on.
    fn register(self) -> io::Result<ClientStream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(ClientStream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(ClientStream::Unix),
        }
    }
}

impl ClientStream {
    /// Takes the connection out of this worker's runtime, so that another worker can register it.
    fn unregister(self) -> io::Result<RawConnection> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(RawConnection::Tcp),
            Self::Unix(stream) => stream.into_std().map(RawConnection::Unix),
        }
    }
}

/// A socket that a worker accepts from, registered with the worker's runtime.
enum ListenerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListenerSocket {
    async fn accept(&self) -> io::Result<(ClientStream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((ClientStream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => Ok((ClientStream::Unix(listener.accept().await?.0), None)),
        }
    }
}

impl<H, F> WorkerAcceptor<H>
where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    pub(super) fn new(
        listener: Arc<ServedListener<H>>,
        worker: Arc<Worker>,
        workers: Arc<[Arc<Worker>]>,
    ) -> Self {
        Self { listener, worker, workers, failing: false }
    }

    /// Accepts until the drain begins, then accepts everything that is still waiting, and closes
    /// the socket. A listener that was paused keeps the socket, and leaves those who wait to the
    /// successor. A socket that cannot be registered is logged, and the loop ends. `index` is the
    /// number of the socket among those of the listener. Its `SocketFile`, if it has one, is kept
    /// until then, so that the path exists as long as the socket accepts.
    pub(super) async fn run(mut self, index: usize, socket: BoundSocket) {
        let (registered, _file) = match socket {
            BoundSocket::Tcp(socket) => {
                (TcpListener::from_std(socket).map(ListenerSocket::Tcp), None)
            }
            BoundSocket::Unix(socket, file) => {
                (UnixListener::from_std(socket).map(ListenerSocket::Unix), file)
            }
        };
        let listener = match registered {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(listener = self.name(), %error, "cannot accept");
                return self.listener.forget_socket(index);
            }
        };
        let drain = self.listener.drain.clone();
        let mut draining = std::pin::pin!(drain.watch());
        // The drain is polled first (`biased`): under a flood of connections the loop would
        // otherwise never see it. The sockets would then stay open during the whole drain.
        loop {
            tokio::select! {
                biased;
                () = &mut draining => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer),
                    Err(error) => self.failed(&error).await,
                },
            }
        }
        if self.listener.is_paused() {
            return;
        }
        self.listener.forget_socket(index);
        if let Err(error) = self.empty(listener) {
            tracing::warn!(listener = self.name(), %error, "closed with clients waiting");
        }
    }

    /// Admits a connection and serves it here or on the least loaded worker. A connection that is
    /// not admitted is closed by dropping it. A connection that could not be taken out of this
    /// worker's runtime is logged and closed.
    fn take(&mut self, stream: ClientStream, peer: Option<SocketAddr>) {
        self.failing = false;
        // The settings are loaded once for the connection, which keeps them to its end.
        let context = self.listener.context();
        if let Some((peer, mut permit)) = admit(&context, peer) {
            let target = self.least_loaded();
            // The load is counted before the connection is passed on: the next accept of any worker
            // should already see it.
            permit.assign(target);
            if Arc::ptr_eq(target, &self.worker) {
                let connections = context.connections.clone();
                let serving = connection::serve(context, self.worker.clone(), stream, peer, permit);
                self.worker.spawn(connections.track_future(serving));
            } else {
                self.listener.gate.count(ConnectionEvent::HandedOver);
                match stream.unregister() {
                    Ok(raw) => hand_over(target, context, raw, peer, permit),
                    Err(error) => tracing::debug!(%error, "could not pass a connection on"),
                }
            }
        }
    }

    fn name(&self) -> &str {
        &self.listener.name
    }

    /// This worker, or the least loaded one if this one has clearly more to do.
    fn least_loaded(&self) -> &Arc<Worker> {
        let load = |worker: &Arc<Worker>| worker.connections.load(Ordering::Relaxed);
        match self.workers.iter().min_by_key(|worker| load(worker)) {
            // During a drain nothing is passed on. The drain waits for the workers one after the
            // other; if a connection came to a worker that was idle already, it would be missed.
            // The drain would then end, and the connection would be cut in the middle of a request.
            Some(least)
                if load(&self.worker) >= load(least) + UNEVEN
                    && !self.listener.drain.is_started() =>
            {
                least
            }
            _ => &self.worker,
        }
    }

    /// Waits for a moment, unless the failure concerns only the one connection.
    async fn failed(&mut self, error: &io::Error) {
        if is_the_connections_own(error) {
            return;
        }
        self.listener.gate.count(ConnectionEvent::AcceptFailed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                listener = self.name(),
                %error,
                open = self.listener.stats().open(),
                "cannot accept connections for now"
            );
        }
        tokio::time::sleep(BACK_OFF).await;
    }

    /// Accepts the connections that the kernel has completed but nobody has accepted: closing the
    /// socket would reset them. The system call is made directly, because tokio may not have been
    /// notified of the latest ones yet.
    fn empty(&mut self, listener: ListenerSocket) -> io::Result<()> {
        let waiting = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        match listener {
            ListenerSocket::Tcp(listener) => {
                let listener = listener.into_std()?;
                loop {
                    match listener.accept() {
                        Ok((stream, peer)) => {
                            stream.set_nonblocking(true)?;
                            self.take(ClientStream::Tcp(TcpStream::from_std(stream)?), Some(peer));
                        }
                        Err(error) if waiting(&error) => return Ok(()),
                        Err(error) if is_the_connections_own(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            ListenerSocket::Unix(listener) => {
                let listener = listener.into_std()?;
                loop {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            stream.set_nonblocking(true)?;
                            self.take(ClientStream::Unix(UnixStream::from_std(stream)?), None);
                        }
                        Err(error) if waiting(&error) => return Ok(()),
                        Err(error) if is_the_connections_own(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

/// A place for a connection under the settings of `context`. `None`: there is none, and the
/// connection is to be closed. The address is counted in groups, for IPv6 a /64, because one client
/// owns all of those addresses.
fn admit<H>(
    context: &ListenerContext<H>,
    peer: Option<SocketAddr>,
) -> Option<(ConnectedPeer, ListenerPermit)> {
    let peer = context.peer(peer);
    // The address of a proxy stands for many clients. The client's own address is counted when the
    // proxy's header has been read.
    let counts = !peer.is_shared && !peer.requires_proxy_header;
    let group = peer.address.filter(|_| counts).map(address_group);
    let permit = context.gate().admit(group)?;
    Some((peer, permit))
}

/// Serves the connection on the worker `target`. The permit goes with it, so the connection stays
/// counted on the way. If the target cannot register it, the connection is closed. That is logged
/// and counts as the end of the connection.
fn hand_over<H, F>(
    target: &Arc<Worker>,
    context: Arc<ListenerContext<H>>,
    raw: RawConnection,
    peer: ConnectedPeer,
    permit: ListenerPermit,
) where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let worker = target.clone();
    let connections = context.connections.clone();
    target.spawn(connections.track_future(async move {
        match raw.register() {
            Ok(stream) => connection::serve(context, worker, stream, peer, permit).await,
            Err(error) => tracing::debug!(%error, "could not take a connection over"),
        }
    }));
}

/// True for a failure of the one connection, which was gone before it was accepted. accept(2)
/// reports such a failure once, and the next call goes on.
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
