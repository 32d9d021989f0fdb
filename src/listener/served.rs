//! One listener at work: what its accept loops share, and how a reload changes it in place.
//!
//! The sockets stay open across a change, so no client is refused. A connection keeps the settings
//! it was accepted under; `reconfigure` drains it, so that it ends after the request it is
//! answering and its client connects again under the new settings. `Listening` owns these and
//! decides which listener stays, changes or ends.

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::body::Incoming;

use crate::body::Response;
use crate::client::Client;
use crate::config;
use crate::runtime::Worker;

use super::accept::Acceptor;
use super::bind::BoundListener;
use super::certs::Certificates;
use super::connection::Shared;
use super::drain::Drain;
use super::gate::{Gate, Stats};

/// A listener of a running gateway, whatever type its handler has.
pub(super) trait Reconfigure: Send + Sync {
    /// Has connections accepted from now on under `config`, and drains those that are open.
    fn reconfigure(&self, config: &config::Listener, tls: Option<Arc<Certificates>>);

    /// Ends accepting and, in good order, every connection.
    fn drain(&self);

    fn stats(&self) -> Stats;
}

/// What the accept loops of one listener share.
pub(super) struct ServedListener<H> {
    pub(super) name: Arc<str>,
    /// Counts connections across changes of settings.
    pub(super) gate: Arc<Gate>,
    /// Ends the accept loops, and with them the connections of every context.
    pub(super) drain: Drain,
    /// Settings for the connections accepted next.
    context: ArcSwap<Shared<H>>,
}

impl<H> ServedListener<H> {
    pub(super) fn context(&self) -> Arc<Shared<H>> {
        self.context.load_full()
    }
}

/// Starts one accept loop for each of the listener's sockets.
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
    let gate = Arc::new(Gate::new(&bound.config.limits));
    let context = Shared::new(&bound.config, bound.tls, gate.clone(), drain.child(), handler);
    let served = Arc::new(ServedListener {
        name: bound.config.name.as_str().into(),
        gate,
        drain,
        context: ArcSwap::from_pointee(context),
    });
    // Round and round, because a socket that nobody accepts from would still be given its share of
    // the connections.
    for (socket, worker) in bound.sockets.into_iter().zip(workers.iter().cycle()) {
        let acceptor = Acceptor::new(served.clone(), worker.clone(), workers.clone());
        worker.spawn(served.drain.accepting(acceptor.run(socket)));
    }
    served
}

impl<H> Reconfigure for ServedListener<H>
where
    H: Clone + Send + Sync + 'static,
{
    fn reconfigure(&self, config: &config::Listener, tls: Option<Arc<Certificates>>) {
        let last = self.context();
        self.gate.set_limits(&config.limits);
        let handler = last.handler().clone();
        let next = Shared::new(config, tls, self.gate.clone(), self.drain.child(), handler);
        // Stored before the drain: a client whose connection ends must find the new settings.
        self.context.store(Arc::new(next));
        last.drain().start();
    }

    fn drain(&self) {
        self.drain.start();
    }

    fn stats(&self) -> Stats {
        Stats::new(self.name.clone(), self.gate.clone())
    }
}
