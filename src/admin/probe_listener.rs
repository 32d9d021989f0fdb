//! The TCP listener for probes of the configuration in effect, if it has one.

use std::net::SocketAddr;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The listener at which probes are answered. A reload may replace it.
#[derive(Debug, Default)]
pub(crate) struct ProbeListener(Mutex<Option<OpenListener>>);

/// A listener that answers until `stop` is cancelled.
#[derive(Debug)]
pub(super) struct OpenListener {
    pub(super) address: Option<SocketAddr>,
    pub(super) stop: CancellationToken,
}

impl ProbeListener {
    /// The address at which probes are answered.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.lock().as_ref()?.address
    }

    /// Closes the current listener; `opened` answers already.
    pub(super) fn replace(&self, opened: Option<OpenListener>) {
        let mut current = self.0.lock();
        if let Some(last) = std::mem::replace(&mut *current, opened) {
            last.stop.cancel();
        }
    }
}
