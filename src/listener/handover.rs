//! Listening sockets on their way from one process to the next (`run --takeover`).
//!
//! The successor gets further descriptors of the same sockets, so that the kernel's queues of
//! waiting clients go on without a gap. The gateway that gives them away accepts on until the
//! successor wants to begin; then it pauses: its accept loops end, and the sockets stay open. If the
//! successor fails, the loops begin again. `server::takeover` decides about each step.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Socket, Type};
use tokio_util::task::TaskTracker;

use crate::settings::{BindAddress, ListenerSettings};

use super::RunningListeners;
use super::bind::{
    BindError, BindOptions, BoundAddress, BoundListener, BoundListeners, BoundSocket, bind_one,
    clones, load_certificates,
};
use super::served::PausedListener;
use super::socket_file::SocketFile;

/// How long idle connections wait for their next request before a listener is paused, and a little
/// more.
const RETIRE_WITHIN: Duration = Duration::from_millis(1200);
/// How long the requests are waited for that have come since. A long answer goes on beside the
/// successor.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// The sockets of one listener, as the gateway that has them offers them.
#[derive(Debug)]
pub(crate) struct OfferedListener {
    /// The address as configured, with an absolute path.
    pub(crate) bind: BindAddress,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// The sockets that a start may take over, each of them once.
#[derive(Debug, Default)]
pub(crate) struct OfferedListeners {
    offered: Vec<Option<OfferedListener>>,
    ports: Vec<u16>,
}

impl OfferedListeners {
    pub(crate) fn new(offered: Vec<OfferedListener>) -> Self {
        let ports = offered.iter().filter_map(|one| match one.bind {
            BindAddress::Tcp(address) => Some(address.port()),
            BindAddress::Unix(_) | BindAddress::Descriptor(_) => None,
        });
        Self { ports: ports.collect(), offered: offered.into_iter().map(Some).collect() }
    }

    /// The sockets at this address, and their place in the offer.
    pub(crate) fn take(&mut self, bind: &BindAddress) -> Option<(usize, Vec<OwnedFd>)> {
        let bind = absolute(bind);
        let is_wanted =
            |one: &Option<OfferedListener>| one.as_ref().is_some_and(|one| one.bind == bind);
        let index = self.offered.iter().position(is_wanted)?;
        let taken = self.offered.get_mut(index)?.take()?;
        Some((index, taken.sockets))
    }

    /// The TCP ports on which the predecessor listens.
    pub(crate) fn ports(&self) -> &[u16] {
        &self.ports
    }
}

/// Both processes must mean the same file, wherever they were started.
fn absolute(bind: &BindAddress) -> BindAddress {
    match bind {
        BindAddress::Unix(path) => {
            BindAddress::Unix(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        }
        other => other.clone(),
    }
}

/// Takes over the sockets that are offered for these listeners, and opens the others. Nobody can
/// connect to the new ones before `BoundListeners::listen`. Also returns the places in the offer of
/// what was taken.
///
/// # Errors
/// The first listener that cannot be set up. The predecessor's sockets stay as they are.
pub(crate) fn bind_offered(
    listeners: &[ListenerSettings],
    options: &BindOptions,
    offered: &mut OfferedListeners,
) -> Result<(BoundListeners, Vec<usize>), BindError> {
    let mut options = options.clone();
    let mut bound = Vec::new();
    let mut taken = Vec::new();
    for listener in listeners {
        let Some((place, sockets)) = offered.take(&listener.bind) else {
            bound.push(bind_one(listener, &options, offered.ports())?);
            continue;
        };
        taken.push(place);
        bound.push(match &listener.bind {
            BindAddress::Descriptor(name) => {
                // All of them are the same socket, and a reload may ask for it again by its name.
                sockets
                    .into_iter()
                    .take(1)
                    .for_each(|socket| options.descriptors.add(name, socket));
                bind_one(listener, &options, &[])?
            }
            BindAddress::Tcp(_) | BindAddress::Unix(_) => adopt(listener, sockets, &options)?,
        });
    }
    Ok((BoundListeners { listeners: bound, options }, taken))
}

/// A listener on sockets that another gateway has opened.
fn adopt(
    listener: &ListenerSettings,
    sockets: Vec<OwnedFd>,
    options: &BindOptions,
) -> Result<BoundListener, BindError> {
    let name = || listener.name.clone();
    let failed = |source| BindError::of(name(), source);
    let mut sockets: Vec<Socket> = sockets.into_iter().map(Socket::from).collect();
    let listens = |socket: &Socket| {
        socket.is_listener().unwrap_or(false)
            && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
    };
    let Some(first) = sockets.first().filter(|_| sockets.iter().all(listens)) else {
        return Err(BindError::NotListening { listener: name(), name: name() });
    };
    // Every worker accepts. With more workers than the predecessor had, some share a socket: a new
    // socket beside the old ones would get connections before anybody accepts from it.
    let missing = options.workers.max(1).saturating_sub(sockets.len());
    let further = clones(first, missing).map_err(failed)?;
    let (address, file) = match &listener.bind {
        BindAddress::Unix(path) => {
            // Without its file nobody can connect to the socket any more, and nothing has to be
            // removed.
            let file = SocketFile::of_another(path).ok().map(Arc::new);
            (BoundAddress::Unix(path.clone()), file)
        }
        BindAddress::Tcp(_) | BindAddress::Descriptor(_) => {
            let local = first.local_addr().map_err(failed)?;
            let local = local.as_socket().ok_or(io::ErrorKind::AddrNotAvailable);
            (BoundAddress::Tcp(local.map_err(|kind| failed(kind.into()))?), None)
        }
    };
    sockets.extend(further);
    let bound = |socket: Socket| match &address {
        BoundAddress::Tcp(_) => BoundSocket::Tcp(socket.into()),
        BoundAddress::Unix(_) => BoundSocket::Unix(socket.into(), file.clone()),
    };
    let sockets = sockets.into_iter().map(bound).collect();
    let tls = load_certificates(listener, options)?;
    Ok(BoundListener { config: listener.clone(), address, sockets, tls })
}

impl BoundListeners {
    /// The files of unix sockets are this process's to remove from now on.
    pub(crate) fn own_files(&self) {
        self.listeners.iter().flat_map(|listener| &listener.sockets).for_each(|socket| {
            if let BoundSocket::Unix(_, Some(file)) = socket {
                file.own();
            }
        });
    }
}

impl RunningListeners {
    /// Further descriptors of the sockets of every listener, in the order of the configuration.
    ///
    /// # Errors
    /// A socket cannot be duplicated, most likely because no descriptors are left.
    pub(crate) fn offer(&self) -> io::Result<Vec<OfferedListener>> {
        let served = self.served.lock();
        let offer = |one: &super::AcceptingListener| {
            let sockets =
                one.listener.duplicate_sockets()?.into_iter().map(|socket| match socket {
                    BoundSocket::Tcp(socket) => socket.into(),
                    BoundSocket::Unix(socket, _) => socket.into(),
                });
            Ok(OfferedListener { bind: absolute(&one.config.bind), sockets: sockets.collect() })
        };
        served.iter().map(offer).collect()
    }

    /// Has every connection end after its current or next request, and accepts on. Returns when the
    /// connections of before have ended, or have had the time for it.
    pub(crate) async fn retire_connections(&self) {
        let last: Vec<TaskTracker> =
            self.served.lock().iter().map(|one| one.listener.retire_connections()).collect();
        all_ended(&last, RETIRE_WITHIN).await;
    }

    /// Ends accepting on the listeners with these numbers. Clients who connect from now on wait in
    /// the queues of the sockets. Returns when the latest requests are answered, or have had the
    /// time for it.
    pub(crate) async fn pause(&self, numbers: &[usize]) {
        let paused: Vec<PausedListener> = {
            let served = self.served.lock();
            numbers
                .iter()
                .filter_map(|number| Some(served.get(*number)?.listener.pause()))
                .collect()
        };
        let (loops, connections): (Vec<_>, Vec<_>) =
            paused.into_iter().map(|one| (one.loops, one.connections)).unzip();
        // An accept loop ends as soon as its worker comes to it.
        all_ended(&loops, FINISH_WITHIN).await;
        all_ended(&connections, FINISH_WITHIN).await;
    }

    /// Accepts again on the listeners that were paused, and keeps connections alive again. Their
    /// counts begin anew.
    pub(crate) fn resume(&self) {
        let mut served = self.served.lock();
        for one in served.iter_mut() {
            let sockets = one.listener.take_paused_sockets();
            if sockets.is_empty() {
                one.listener.reconfigure(&one.config, one.tls.clone(), false);
                continue;
            }
            *one = self.start(BoundListener {
                config: one.config.clone(),
                address: one.address.clone(),
                sockets,
                tls: one.tls.clone(),
            });
        }
    }

    /// Leaves the sockets of the paused listeners to the successor, with the files of unix sockets.
    pub(crate) fn give_away(&self) {
        for one in self.served.lock().iter() {
            for socket in one.listener.take_paused_sockets() {
                if let BoundSocket::Unix(_, Some(file)) = socket {
                    file.disown();
                }
            }
        }
    }
}

/// Waits until nothing is counted any more, for at most `limit` together.
async fn all_ended(counts: &[TaskTracker], limit: Duration) {
    let all = async {
        for count in counts {
            count.close();
            count.wait().await;
        }
    };
    // It does not matter whether all have ended: who takes longer goes on beside the successor.
    let _ = tokio::time::timeout(limit, all).await;
}
