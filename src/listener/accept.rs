//! Accepting: one loop per worker and socket, which nothing but a drain ends.
//!
//! Too many connections are closed at once; too few descriptors make the loop wait, not spin or
//! end. A worker that has clearly more to do than another passes new connections on: the kernel
//! spreads them by hash, which is uneven while they are few.

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

use super::bind::BoundSocket;
use super::connection::{self, Peer, Shared};
use super::gate::{Counted, Permit};
use super::served::{Reconfigure, ServedListener};
use super::socket::Stream;

/// How many connections more than the least loaded worker's are too many.
const UNEVEN: usize = 8;

/// Descriptors come back as other connections end.
const BACK_OFF: Duration = Duration::from_millis(100);

/// One worker's loop for one listener.
pub(super) struct Acceptor<H> {
    listener: Arc<ServedListener<H>>,
    worker: Arc<Worker>,
    workers: Arc<[Arc<Worker>]>,
    /// True from the first failure of a burst until the next success.
    failing: bool,
}

/// A connection that nobody serves yet, bound to no runtime, so that any worker may take it.
enum Raw {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Raw {
    /// Binds it to the worker that this runs on.
    fn register(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

impl Stream {
    fn unregister(self) -> io::Result<Raw> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Raw::Tcp),
            Self::Unix(stream) => stream.into_std().map(Raw::Unix),
        }
    }
}

/// A socket that a worker accepts from.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

impl<H, F> Acceptor<H>
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

    /// Accepts until the drain begins, then whatever is waiting, and closes the socket.
    pub(super) async fn run(mut self, socket: BoundSocket) {
        let (registered, _file) = match socket {
            BoundSocket::Tcp(socket) => (TcpListener::from_std(socket).map(Listener::Tcp), None),
            BoundSocket::Unix(socket, file) => {
                (UnixListener::from_std(socket).map(Listener::Unix), file)
            }
        };
        let listener = match registered {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(listener = self.name(), %error, "cannot accept");
                return;
            }
        };
        let drain = self.listener.drain.clone();
        let mut draining = std::pin::pin!(drain.watch());
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
        if let Err(error) = self.empty(listener) {
            tracing::warn!(listener = self.name(), %error, "closed with clients waiting");
        }
    }

    fn take(&mut self, stream: Stream, peer: Option<SocketAddr>) {
        self.failing = false;
        // Once for the connection, which keeps these settings to its end.
        let context = self.listener.context();
        if let Some((peer, mut permit)) = admit(&context, peer) {
            let target = self.least_loaded();
            permit.assign(target);
            if Arc::ptr_eq(target, &self.worker) {
                let serving = connection::serve(context, self.worker.clone(), stream, peer, permit);
                self.worker.spawn(serving);
            } else {
                self.listener.gate.count(Counted::HandedOver);
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

    /// This worker, or the least loaded one if this one has much more to do.
    fn least_loaded(&self) -> &Arc<Worker> {
        let load = |worker: &Arc<Worker>| worker.connections.load(Ordering::Relaxed);
        match self.workers.iter().min_by_key(|worker| load(worker)) {
            // Not while draining: whoever waits for the workers one by one must not find a new
            // connection behind its back.
            Some(least)
                if load(&self.worker) >= load(least) + UNEVEN
                    && !self.listener.drain.is_started() =>
            {
                least
            }
            _ => &self.worker,
        }
    }

    /// Waits, unless the failure is the one connection's own.
    async fn failed(&mut self, error: &io::Error) {
        if is_the_connections_own(error) {
            return;
        }
        self.listener.gate.count(Counted::AcceptFailed);
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

    /// Takes the connections that are complete but not accepted: closing the socket would reset
    /// them. Past tokio, which may not have heard of the latest yet.
    fn empty(&mut self, listener: Listener) -> io::Result<()> {
        let waiting = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        match listener {
            Listener::Tcp(listener) => {
                let listener = listener.into_std()?;
                loop {
                    match listener.accept() {
                        Ok((stream, peer)) => {
                            stream.set_nonblocking(true)?;
                            self.take(Stream::Tcp(TcpStream::from_std(stream)?), Some(peer));
                        }
                        Err(error) if waiting(&error) => return Ok(()),
                        Err(error) if is_the_connections_own(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Listener::Unix(listener) => {
                let listener = listener.into_std()?;
                loop {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            stream.set_nonblocking(true)?;
                            self.take(Stream::Unix(UnixStream::from_std(stream)?), None);
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

/// A place for a connection under the settings of `context`; `None` closes it.
fn admit<H>(context: &Shared<H>, peer: Option<SocketAddr>) -> Option<(Peer, Permit)> {
    let peer = context.peer(peer);
    // A proxy's own address is nobody's: the client's is counted once its header is read.
    let counts = !peer.is_shared && !peer.owes_header;
    let group = peer.address.filter(|_| counts).map(address_group);
    let permit = context.gate().admit(group)?;
    Some((peer, permit))
}

fn hand_over<H, F>(
    target: &Arc<Worker>,
    context: Arc<Shared<H>>,
    raw: Raw,
    peer: Peer,
    permit: Permit,
) where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let worker = target.clone();
    target.spawn(async move {
        match raw.register() {
            Ok(stream) => connection::serve(context, worker, stream, peer, permit).await,
            Err(error) => tracing::debug!(%error, "could not take a connection over"),
        }
    });
}

/// True for a connection that was gone before it was accepted (accept(2) reports it once).
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
