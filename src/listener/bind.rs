//! Opens the sockets that a configuration names, and refuses those that cannot be opened.
//!
//! A TCP listener has one socket for each worker, with SO_REUSEPORT, so that the kernel spreads the
//! connections. That option would also let a second gateway share the port by mistake, so the
//! address is first tried without it. A unix socket and a passed descriptor are one socket, cloned.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::acme::Challenges;
use crate::clock::Clock;
use crate::settings;

use super::certificate_file::CertError;
use super::certificates::ListenerCertificates;
use super::descriptors::InheritedSockets;
use super::socket_file::SocketFile;
use super::tickets::TicketKeys;

/// The settings that binding needs beside the listeners themselves.
#[derive(Clone, Debug)]
pub struct BindOptions {
    /// One TCP socket is opened for each worker.
    pub workers: usize,
    /// The state folder. Self-signed certificates are kept in its subfolder `tls/`, those of an
    /// authority in `acme/`.
    pub state: PathBuf,
    /// The challenges that TLS listeners with `acme` answer.
    pub challenges: Arc<Challenges>,
    pub clock: Clock,
    /// The keys of TLS session tickets.
    pub tickets: TicketKeys,
    /// Sockets that the process was started with.
    pub descriptors: InheritedSockets,
}

/// The reason why a listener could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("`{listener}` is in use, perhaps by a gateway that is running already")]
    InUse { listener: String },

    #[error(
        "`{listener}` may not be listened on: a port below 1024 needs CAP_NET_BIND_SERVICE (in a \
         unit of systemd AmbientCapabilities=CAP_NET_BIND_SERVICE), or a socket that systemd hands \
         over (address = \"fd:NAME\")"
    )]
    NotPermitted { listener: String },

    #[error("`{listener}` is no address of this machine: name one that `ip address` shows")]
    NoSuchAddress { listener: String },

    #[error("could not listen on `{listener}`")]
    Io {
        listener: String,
        #[source]
        source: io::Error,
    },

    #[error("`{listener}`: {path} exists and is not a socket")]
    NotASocket { listener: String, path: PathBuf },

    #[error("`{listener}`: no descriptor named `{name}` was handed over ({known})")]
    NoDescriptor { listener: String, name: String, known: String },

    #[error("`{listener}`: descriptor `{name}` is not a listening stream socket")]
    NotListening { listener: String, name: String },

    #[error("`{listener}`: no certificate can be served")]
    Certificates {
        listener: String,
        #[source]
        source: CertError,
    },
}

impl BindError {
    /// The error that `source` means for the socket of this listener.
    pub(crate) fn of(listener: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { listener },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { listener },
            _ => Self::Io { listener, source },
        }
    }

    /// The error that `source` means for a TCP address, where missing permission is about the port.
    pub(crate) fn of_tcp(listener: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { listener },
            _ => Self::of(listener, source),
        }
    }

    /// True if another process has the address. It may be a gateway that is about to end.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}

/// The address at which a listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// With the actual port, where the configuration has 0.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl BoundAddress {
    /// The TCP address; `None` for a unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Listeners whose sockets are open and whose certificates are read. Nobody accepts from them yet.
/// Dropping it closes them again, and removes the files of unix sockets. `serve` takes it over and
/// begins to accept.
#[derive(Debug)]
pub struct BoundListeners {
    pub(super) listeners: Vec<BoundListener>,
    pub(super) options: BindOptions,
}

impl BoundListeners {
    /// The address of each listener, in the order of the configuration.
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().map(|listener| listener.address.clone()).collect()
    }

    /// Lets clients connect to all listeners. They wait in the sockets' queues until `serve`.
    pub(crate) fn listen(&self) -> Result<(), BindError> {
        self.listeners.iter().try_for_each(BoundListener::listen)
    }
}

#[derive(Debug)]
pub(super) struct BoundListener {
    pub(super) config: settings::ListenerSettings,
    pub(super) address: BoundAddress,
    /// One for each worker.
    pub(super) sockets: Vec<BoundSocket>,
    pub(super) tls: Option<Arc<ListenerCertificates>>,
}

/// A socket in non-blocking mode, from which nobody accepts yet.
#[derive(Debug)]
pub(super) enum BoundSocket {
    Tcp(TcpListener),
    /// The socket's file is removed with the last clone, if this process has to remove it.
    Unix(UnixListener, Option<Arc<SocketFile>>),
}

impl BoundSocket {
    /// Another descriptor of the same socket.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket, file) => Ok(Self::Unix(socket.try_clone()?, file.clone())),
        }
    }
}

/// Opens all sockets and reads all certificates. Clients can connect only when everything has
/// succeeded.
///
/// # Errors
/// The first listener that cannot be set up. The sockets opened before it are closed again.
pub fn bind(
    listeners: &[settings::ListenerSettings],
    options: &BindOptions,
) -> Result<BoundListeners, BindError> {
    let bound = listeners.iter().map(|listener| bind_one(listener, options, &[]));
    let listeners: Vec<BoundListener> = bound.collect::<Result<_, _>>()?;
    let bound = BoundListeners { listeners, options: options.clone() };
    // Listening begins last: if a client could connect before that, its connection would be cut
    // when another address turns out to be taken.
    bound.listen()?;
    Ok(bound)
}

impl BoundListener {
    /// Lets clients connect. They wait in the sockets' queues until a loop accepts them.
    pub(super) fn listen(&self) -> Result<(), BindError> {
        for socket in &self.sockets {
            if let BoundSocket::Tcp(socket) = socket {
                let listening = SockRef::from(socket).listen(BACKLOG);
                listening.map_err(|source| BindError::of(self.config.name.clone(), source))?;
            }
        }
        Ok(())
    }
}

/// Opens one listener, without accepting. `ours` are the TCP ports on which this process listens
/// already. The order matters: address, then certificates. Listening is left to the caller.
pub(super) fn bind_one(
    listener: &settings::ListenerSettings,
    options: &BindOptions,
    ours: &[u16],
) -> Result<BoundListener, BindError> {
    let name = || listener.name.clone();
    let workers = options.workers.max(1);
    let failed = |source| BindError::of(name(), source);
    let (address, sockets) = match &listener.bind {
        settings::BindAddress::Tcp(address) => {
            bind_tcp(*address, workers, ours).map_err(|source| BindError::of_tcp(name(), source))?
        }
        settings::BindAddress::Unix(path) => {
            remove_stale(&listener.name, path)?;
            bind_unix(path, workers).map_err(failed)?
        }
        settings::BindAddress::Descriptor(wanted) => {
            take_over(&listener.name, wanted, &options.descriptors, workers)?
        }
    };
    // Certificates come after the sockets: a second gateway that was started by mistake fails at
    // the sockets and must not touch the files of the first. Making a self-signed certificate, for
    // example, writes into the state folder.
    let tls = load_certificates(listener, options)?;
    Ok(BoundListener { config: listener.clone(), address, sockets, tls })
}

/// Reads the certificates of a listener, if it has TLS.
pub(super) fn load_certificates(
    listener: &settings::ListenerSettings,
    options: &BindOptions,
) -> Result<Option<Arc<ListenerCertificates>>, BindError> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let clock = options.clock.clone();
    let challenges = options.challenges.clone();
    let tickets = options.tickets.clone();
    let loaded =
        ListenerCertificates::load(listener, tls, &options.state, clock, challenges, tickets);
    let failed = |source| BindError::Certificates { listener: listener.name.clone(), source };
    Ok(Some(Arc::new(loaded.map_err(failed)?)))
}

type OpenedSockets = (BoundAddress, Vec<BoundSocket>);

/// The length of the queue of unaccepted connections, for moments in which a worker is busy. It is
/// more than the kernel's default; `net.core.somaxconn` cuts it.
const BACKLOG: i32 = 4096;

/// TCP keep-alive notices after about two minutes that a client is gone. This matters for tunnels
/// only: everything else has a shorter timeout. Without it a tunnel to a vanished client would hold
/// a connection for hours.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

fn bind_tcp(address: SocketAddr, workers: usize, ours: &[u16]) -> io::Result<OpenedSockets> {
    // A reload may move a listener from `127.0.0.1:8443` to `0.0.0.0:8443`. The old socket is open
    // until the new one is, so the attempt below would fail because of this process itself.
    if address.port() != 0 && !ours.contains(&address.port()) {
        // This socket is closed at once; it only shows that nobody else listens here.
        tcp_socket(address)?.bind(&address.into())?;
    }
    let first = open_tcp(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![BoundSocket::Tcp(first)];
    for _ in 1..workers {
        sockets.push(BoundSocket::Tcp(open_tcp(address)?));
    }
    Ok((BoundAddress::Tcp(address), sockets))
}

/// Opens one socket on `address` that lets clients connect, for a listener outside of the workers.
///
/// # Errors
/// If another process listens there. A socket of this process on a port in `ours` does not matter.
pub(crate) fn listen_tcp(address: SocketAddr, ours: &[u16]) -> io::Result<TcpListener> {
    let (_, sockets) = bind_tcp(address, 1, ours)?;
    let socket = sockets.into_iter().find_map(|socket| match socket {
        BoundSocket::Tcp(socket) => Some(socket),
        BoundSocket::Unix(..) => None,
    });
    let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
    SockRef::from(&socket).listen(BACKLOG)?;
    Ok(socket)
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Set explicitly and not left to a sysctl: `[::]` means IPv6, `0.0.0.0` means IPv4.
        socket.set_only_v6(true)?;
    }
    // Otherwise a restart would have to wait until the old connections' TIME_WAIT is over.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_port(true)?;
    set_connection_options(&socket)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// On Linux accepted sockets inherit these options, which saves two system calls for each
/// connection.
fn set_connection_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)
}

/// Removes the socket file of a gateway that ended without removing it. If somebody answers there,
/// it is in use.
fn remove_stale(listener: &str, path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { listener: listener.to_owned(), source };
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { listener: listener.to_owned(), path: path.to_owned() });
    }
    // The attempt must not wait: a process that does not accept any more, with a full queue, would
    // hold it up forever. The kernel says EAGAIN of a full queue, and that somebody has.
    let attempt = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match attempt() {
        Ok(()) => Err(BindError::InUse { listener: listener.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse { listener: listener.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The permissions of the socket: owner and group. A proxy gets access through the group.
const SOCKET_MODE: u32 = 0o660;

fn bind_unix(path: &Path, workers: usize) -> io::Result<OpenedSockets> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = Arc::new(SocketFile::new(path)?);
    // The mode is set before `listen`: otherwise somebody could connect under the mode that the
    // file was created with.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let sockets = clones(&socket, workers)?.into_iter();
    let sockets =
        sockets.map(|socket| BoundSocket::Unix(socket.into(), Some(file.clone()))).collect();
    Ok((BoundAddress::Unix(path.to_owned()), sockets))
}

pub(super) fn clones(socket: &Socket, workers: usize) -> io::Result<Vec<Socket>> {
    (0..workers).map(|_| socket.try_clone()).collect()
}

fn take_over(
    listener: &str,
    name: &str,
    descriptors: &InheritedSockets,
    workers: usize,
) -> Result<OpenedSockets, BindError> {
    let Some(taken) = descriptors.take(name) else {
        let known = descriptors.names().collect::<Vec<_>>().join(", ");
        return Err(BindError::NoDescriptor {
            listener: listener.to_owned(),
            name: name.to_owned(),
            known: if known.is_empty() { "none was".to_owned() } else { format!("only {known}") },
        });
    };
    let failed = |source| BindError::Io { listener: listener.to_owned(), source };
    let descriptor = taken.map_err(failed)?;
    let socket = Socket::from(descriptor);
    let listens = socket.is_listener().unwrap_or(false)
        && socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    if !listens {
        return Err(BindError::NotListening {
            listener: listener.to_owned(),
            name: name.to_owned(),
        });
    }
    adopt(socket, workers).map_err(failed)
}

fn adopt(socket: Socket, workers: usize) -> io::Result<OpenedSockets> {
    socket.set_nonblocking(true)?;
    let local = socket.local_addr()?;
    if let Some(address) = local.as_socket() {
        set_connection_options(&socket)?;
        let sockets = clones(&socket, workers)?.into_iter();
        let sockets = sockets.map(|socket| BoundSocket::Tcp(socket.into())).collect();
        return Ok((BoundAddress::Tcp(address), sockets));
    }
    let path = local.as_pathname().map(Path::to_owned).unwrap_or_default();
    let sockets = clones(&socket, workers)?.into_iter();
    // The file belongs to the process that made the socket.
    let sockets = sockets.map(|socket| BoundSocket::Unix(socket.into(), None)).collect();
    Ok((BoundAddress::Unix(path), sockets))
}
