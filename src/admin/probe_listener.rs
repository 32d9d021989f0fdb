//! The TCP listener for probes of the configuration in effect, if it has one.

use std::io;
use std::net::{SocketAddr, TcpListener};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The listener at which probes are answered. A reload may replace it.
#[derive(Debug, Default)]
pub(crate) struct ProbeListener(Mutex<Option<OpenListener>>);

/// A listener that answers until `stop` is cancelled.
#[derive(Debug)]
pub(super) struct OpenListener {
    pub(super) address: Option<SocketAddr>,
    /// A further descriptor of the socket, for a successor.
    pub(super) socket: TcpListener,
    pub(super) stop: CancellationToken,
}

impl ProbeListener {
    /// The address at which probes are answered.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.lock().as_ref()?.address
    }

    /// A further descriptor of the listener's socket, for a successor. `None`: there is no listener.
    /// The error is the kernel's.
    pub(crate) fn offer(&self) -> io::Result<Option<TcpListener>> {
        self.0.lock().as_ref().map(|listener| listener.socket.try_clone()).transpose()
    }

    /// Closes the listener.
    pub(crate) fn close(&self) {
        self.replace(None);
    }

    /// Closes the current listener; `opened` answers already.
    pub(super) fn replace(&self, opened: Option<OpenListener>) {
        let mut current = self.0.lock();
        if let Some(last) = std::mem::replace(&mut *current, opened) {
            last.stop.cancel();
        }
    }
}
