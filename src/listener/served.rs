//! One listener at work: the parts that its accept loops share, and how a reload changes it in
//! place.
//!
//! The sockets stay open during a change, so no client is refused. A connection keeps the settings
//! under which it was accepted. `reconfigure` drains it, so that it ends after its current request
//! and the client connects again under the new settings. `RunningListeners` owns the listeners, and
//! decides which of them stay, change or end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::settings;

use super::admission::{ConnectionLimits, ListenerStats};
use super::bind::BoundSocket;
use super::certificates::ListenerCertificates;
use super::context::ListenerContext;
use super::drain::Drain;

/// A listener of a running gateway, independent of the type of its handler.
pub(super) trait Reconfigure: Send + Sync {
    /// Accepts connections under `config` from now on, and drains those that are open. Where `is_urgent`
    /// is true, their clients were let in by something that counts no more: an idle connection does not
    /// wait for its next request.
    fn reconfigure(
        &self,
        config: &settings::ListenerSettings,
        tls: Option<Arc<ListenerCertificates>>,
        is_urgent: bool,
    );

    /// Ends accepting and then every connection, in good order.
    fn drain(&self);

    /// The counters of the listener.
    fn stats(&self) -> ListenerStats;

    /// Further descriptors of the sockets, for a successor.
    fn duplicate_sockets(&self) -> io::Result<Vec<BoundSocket>>;

    /// Ends the open connections after their current or next request. Every connection that is
    /// accepted from now on ends after its first one. Returns the count of the open connections.
    fn retire_connections(&self) -> TaskTracker;

    /// Ends accepting and leaves the clients that wait in the queues of the sockets, which stay
    /// open. The connections are drained.
    fn pause(&self) -> PausedListener;

    /// Takes the sockets out of a listener that was paused; of any other it takes none.
    fn take_paused_sockets(&self) -> Vec<BoundSocket>;
}

/// The counts of a listener that ends accepting.
pub(super) struct PausedListener {
    /// The accept loops.
    pub(super) loops: TaskTracker,
    /// The connections that were accepted since the older ones were retired.
    pub(super) connections: TaskTracker,
}

/// The parts that the accept loops of one listener share.
pub(super) struct ServedListener<H> {
    pub(super) name: Arc<str>,
    /// Counts connections across changes of the settings.
    pub(super) gate: Arc<ConnectionLimits>,
    /// Ends the accept loops, and with them the connections under all settings.
    pub(super) drain: Drain,
    /// Counts the accept loops.
    pub(super) loops: TaskTracker,
    /// Further descriptors of the sockets, one for each accept loop. A loop that ends drops its own.
    /// After a failure to duplicate one the list is incomplete.
    sockets: Mutex<Vec<Option<BoundSocket>>>,
    /// Whether a loop that ends leaves its socket, and the clients that wait there.
    is_paused: AtomicBool,
    /// The settings of connections that are accepted from now on.
    context: ArcSwap<ListenerContext<H>>,
}

impl<H> ServedListener<H> {
    /// The shared parts of a listener that nothing accepts from yet.
    pub(super) fn new(
        config: &settings::ListenerSettings,
        tls: Option<Arc<ListenerCertificates>>,
        sockets: &[BoundSocket],
        drain: Drain,
        handler: H,
    ) -> Self {
        let gate = Arc::new(ConnectionLimits::new(&config.limits));
        let context = ListenerContext::new(config, tls, gate.clone(), drain.child(), handler);
        Self {
            name: config.name.as_str().into(),
            gate,
            drain,
            loops: TaskTracker::new(),
            sockets: Mutex::new(sockets.iter().map(|socket| socket.try_clone().ok()).collect()),
            is_paused: AtomicBool::new(false),
            context: ArcSwap::from_pointee(context),
        }
    }

    pub(super) fn context(&self) -> Arc<ListenerContext<H>> {
        self.context.load_full()
    }

    /// True if an accept loop that ends leaves its socket open.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Acquire)
    }

    /// Drops the further descriptor of a socket whose accept loop has ended.
    pub(super) fn forget_socket(&self, index: usize) {
        if let Some(socket) = self.sockets.lock().get_mut(index) {
            *socket = None;
        }
    }
}

impl<H: Clone> ServedListener<H> {
    /// Accepts connections under these settings from now on. Returns the settings of the older ones.
    fn replace_context(
        &self,
        config: &settings::ListenerSettings,
        tls: Option<Arc<ListenerCertificates>>,
    ) -> Arc<ListenerContext<H>> {
        let handler = self.context().handler().clone();
        let next =
            ListenerContext::new(config, tls, self.gate.clone(), self.drain.child(), handler);
        self.context.swap(Arc::new(next))
    }
}

impl<H> Reconfigure for ServedListener<H>
where
    H: Clone + Send + Sync + 'static,
{
    fn reconfigure(
        &self,
        config: &settings::ListenerSettings,
        tls: Option<Arc<ListenerCertificates>>,
        is_urgent: bool,
    ) {
        self.gate.set_limits(&config.limits);
        // The new settings are stored before the drain begins: a client whose connection ends
        // connects again at once, and must find the new settings. In the other order it could be
        // accepted under the old settings once more, and be drained again.
        let last = self.replace_context(config, tls);
        if is_urgent {
            last.drain().start_urgently();
        } else {
            last.drain().start();
        }
    }

    fn drain(&self) {
        self.drain.start();
    }

    fn stats(&self) -> ListenerStats {
        ListenerStats::new(self.name.clone(), self.gate.clone())
    }

    fn duplicate_sockets(&self) -> io::Result<Vec<BoundSocket>> {
        let duplicate = |socket: &Option<BoundSocket>| match socket {
            Some(socket) => socket.try_clone(),
            None => Err(io::Error::other("a socket could not be duplicated, or is closed")),
        };
        self.sockets.lock().iter().map(duplicate).collect()
    }

    fn retire_connections(&self) -> TaskTracker {
        let last = self.context();
        let last = self.replace_context(&last.config, last.tls.clone());
        self.context().drain().start();
        last.drain().start();
        last.connections.clone()
    }

    fn pause(&self) -> PausedListener {
        self.is_paused.store(true, Ordering::Release);
        self.drain.start();
        let connections = self.context().connections.clone();
        PausedListener { loops: self.loops.clone(), connections }
    }

    fn take_paused_sockets(&self) -> Vec<BoundSocket> {
        if !self.is_paused() {
            return Vec::new();
        }
        std::mem::take(&mut *self.sockets.lock()).into_iter().flatten().collect()
    }
}
