//! One listener at work: the parts that its accept loops share, and how a reload changes it in
//! place.
//!
//! The sockets stay open during a change, so no client is refused. A connection keeps the settings
//! under which it was accepted. `reconfigure` drains it, so that it ends after its current request
//! and the client connects again under the new settings. `RunningListeners` owns the listeners, and
//! decides which of them stay, change or end.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::settings;

use super::admission::{ConnectionLimits, ListenerStats};
use super::certificates::ListenerCertificates;
use super::context::ListenerContext;
use super::drain::Drain;

/// A listener of a running gateway, independent of the type of its handler.
pub(super) trait Reconfigure: Send + Sync {
    /// Accepts connections under `config` from now on, and drains those that are open.
    fn reconfigure(
        &self,
        config: &settings::ListenerSettings,
        tls: Option<Arc<ListenerCertificates>>,
    );

    /// Ends accepting and then every connection, in good order.
    fn drain(&self);

    /// The counters of the listener.
    fn stats(&self) -> ListenerStats;
}

/// The parts that the accept loops of one listener share.
pub(super) struct ServedListener<H> {
    pub(super) name: Arc<str>,
    /// Counts connections across changes of the settings.
    pub(super) gate: Arc<ConnectionLimits>,
    /// Ends the accept loops, and with them the connections under all settings.
    pub(super) drain: Drain,
    /// The settings of connections that are accepted from now on.
    context: ArcSwap<ListenerContext<H>>,
}

impl<H> ServedListener<H> {
    /// The shared parts of a listener that nothing accepts from yet.
    pub(super) fn new(
        config: &settings::ListenerSettings,
        tls: Option<Arc<ListenerCertificates>>,
        drain: Drain,
        handler: H,
    ) -> Self {
        let gate = Arc::new(ConnectionLimits::new(&config.limits));
        let context = ListenerContext::new(config, tls, gate.clone(), drain.child(), handler);
        Self {
            name: config.name.as_str().into(),
            gate,
            drain,
            context: ArcSwap::from_pointee(context),
        }
    }

    pub(super) fn context(&self) -> Arc<ListenerContext<H>> {
        self.context.load_full()
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
    ) {
        let last = self.context();
        self.gate.set_limits(&config.limits);
        let handler = last.handler().clone();
        let next =
            ListenerContext::new(config, tls, self.gate.clone(), self.drain.child(), handler);
        // The new settings are stored before the drain begins: a client whose connection ends
        // connects again at once, and must find the new settings. In the other order it could be
        // accepted under the old settings once more, and be drained again.
        self.context.store(Arc::new(next));
        last.drain().start_urgently();
    }

    fn drain(&self) {
        self.drain.start();
    }

    fn stats(&self) -> ListenerStats {
        ListenerStats::new(self.name.clone(), self.gate.clone())
    }
}
