//! The side of the clients: sockets, TLS, connections, and their orderly end.
//!
//! `bind` opens every socket and reads every certificate, so that every fault is reported before
//! the first client is accepted. `serve` starts one accept loop for each worker and socket, and
//! passes each request to one handler. The limits and timeouts that protect a connection are
//! applied in this room; the meaning of a request is left to the handler. `RunningListeners` drains
//! everything, and a reload changes it in place.

mod accept;
mod admission;
mod bind;
mod certificate_file;
mod certificates;
mod connection;
mod connection_timer;
mod context;
mod descriptors;
mod drain;
mod dry_run;
mod handover;
mod handshake;
mod proxy_protocol;
mod renewal;
mod resolver;
mod self_signed;
mod served;
mod socket;
mod socket_file;
mod streams;
mod tickets;
mod tls;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::body::Response;
use crate::client::Client;
use crate::runtime::{GatewayThreads, Worker};
use crate::settings;

pub use self::admission::{ConnectionEvent, HandshakeFailure, ListenerStats};
pub(crate) use self::bind::listen_tcp;
pub use self::bind::{BindError, BindOptions, BoundAddress, BoundListeners, bind};
pub use self::certificate_file::{CertError, CertificateFacts, TimeFault};
pub use self::certificates::{ListenerCertificates, check_certificate, check_client_ca};
pub use self::descriptors::{InheritedSockets, raise_nofile};
pub use self::drain::Drain;
pub(crate) use self::dry_run::imagined_client;
pub(crate) use self::handover::{OfferedListener, OfferedListeners, bind_offered};
pub(crate) use self::socket_file::SocketFile;
pub use self::tickets::TicketKeys;

use self::bind::{BoundListener, bind_one, load_certificates};
use self::served::Reconfigure;

/// The listeners of a running gateway.
pub struct RunningListeners {
    drain: Drain,
    options: BindOptions,
    /// Starts the accept loops of a listener, under its own child of `drain`.
    start: Box<dyn Fn(BoundListener, Drain) -> Arc<dyn Reconfigure> + Send + Sync>,
    /// In the order of the configuration. Every change leaves a complete list, even if it panics:
    /// without the list no listener could be drained.
    served: Mutex<Vec<AcceptingListener>>,
}

/// A listener from which connections are accepted.
struct AcceptingListener {
    config: settings::ListenerSettings,
    address: BoundAddress,
    tls: Option<Arc<ListenerCertificates>>,
    listener: Arc<dyn Reconfigure>,
}

/// Listeners that a reload has prepared. Invariant: everything that can fail has been done, so
/// `apply` cannot fail. Dropping them instead closes the new sockets and changes nothing.
pub(crate) struct ListenerChanges(Vec<PreparedListener>);

/// One listener of the next configuration.
enum PreparedListener {
    /// A listener with this socket exists; its settings are changed if they differ.
    Kept(settings::ListenerSettings, Option<Arc<ListenerCertificates>>),
    /// A new listener: its socket is open.
    New(BoundListener),
}

impl fmt::Debug for RunningListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningListeners")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

impl RunningListeners {
    /// The address that each listener is bound to, in the order of the configuration.
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.served.lock().iter().map(|served| served.address.clone()).collect()
    }

    /// The handle that ends accepting and then every connection, in good order.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The counts of each listener, in the order of the configuration.
    pub fn stats(&self) -> Vec<ListenerStats> {
        self.served.lock().iter().map(|served| served.listener.stats()).collect()
    }

    /// The certificates of each listener that has TLS.
    pub fn certificates(&self) -> Vec<Arc<ListenerCertificates>> {
        self.served.lock().iter().filter_map(|served| served.tls.clone()).collect()
    }

    /// Opens the sockets and reads the certificates that `next` needs in addition. Nothing that is
    /// served changes before `apply`.
    ///
    /// # Errors
    /// The first listener that cannot be set up. The sockets opened before it are closed again.
    pub(crate) fn prepare(
        &self,
        next: &[settings::ListenerSettings],
    ) -> Result<ListenerChanges, BindError> {
        // Only one reload runs at a time, so nothing changes the list before `apply`. The lock is
        // not held while files are read and sockets opened, since a probe takes it on a thread that
        // must not wait.
        let (served, ports) = {
            let served = self.served.lock();
            let ports = served.iter().filter_map(|one| Some(one.address.tcp()?.port()));
            let ports: Vec<u16> = ports.collect();
            let settings = served.iter().map(|one| (one.config.clone(), one.tls.clone()));
            (settings.collect::<Vec<_>>(), ports)
        };
        let prepare_one = |config: &settings::ListenerSettings| {
            // A listener is recognised by its socket: only the same address can go on with the same
            // socket.
            let Some((last, last_tls)) = served.iter().find(|(last, _)| last.bind == config.bind)
            else {
                return bind_one(config, &self.options, &ports).map(PreparedListener::New);
            };
            let is_same =
                last.tls == config.tls && last.acme == config.acme && last.name == config.name;
            let tls = match last_tls {
                Some(tls) if is_same => Some(tls.clone()),
                _ => load_certificates(config, &self.options)?,
            };
            Ok(PreparedListener::Kept(config.clone(), tls))
        };
        let prepared: Vec<PreparedListener> =
            next.iter().map(prepare_one).collect::<Result<_, _>>()?;
        // Listening begins last: if a client could connect before that, its connection would be cut
        // when a later listener fails. Until then the kernel refuses connections to the new
        // addresses.
        for listener in &prepared {
            if let PreparedListener::New(bound) = listener {
                bound.listen()?;
            }
        }
        Ok(ListenerChanges(prepared))
    }

    /// Serves the prepared listeners, and drains those that are not among them.
    pub(crate) fn apply(&self, changes: ListenerChanges) {
        let mut served = self.served.lock();
        let mut last = std::mem::take(&mut *served);
        for change in changes.0 {
            match change {
                PreparedListener::New(bound) => {
                    tracing::info!("listens on {}", bound.address);
                    served.push(self.start(bound));
                }
                PreparedListener::Kept(config, tls) => {
                    let found = last.iter().position(|served| served.config.bind == config.bind);
                    // Only one reload runs at a time, so the listener that `prepare` has seen is
                    // still there. If it were missing all the same, the listener would be left out
                    // rather than end the process.
                    let Some(found) = found else { continue };
                    let mut kept = last.swap_remove(found);
                    if kept.config != config {
                        tracing::info!("{} has other settings from now on", kept.address);
                        // Only the TLS settings decide which clients were let in.
                        let is_urgent = kept.config.tls != config.tls;
                        kept.listener.reconfigure(&config, tls.clone(), is_urgent);
                        kept.config = config;
                        kept.tls = tls;
                    }
                    served.push(kept);
                }
            }
        }
        for removed in last {
            tracing::info!("does not listen on {} any more", removed.address);
            removed.listener.drain();
        }
    }

    /// Reads the files of `certificates` again; see `ListenerCertificates::reload`. If the client CA
    /// has changed, the open connections of the listener are drained: their clients were accepted
    /// by a CA that counts no more.
    ///
    /// # Errors
    /// If something cannot be used; then everything stays as it was. The call blocks on files.
    pub(crate) fn renew(
        &self,
        certificates: &Arc<ListenerCertificates>,
    ) -> Result<bool, CertError> {
        // Only another client CA makes another `ServerConfig`.
        let last = certificates.server();
        let changed = certificates.reload()?;
        if !Arc::ptr_eq(&last, &certificates.server()) {
            let is_theirs = |tls: &Arc<ListenerCertificates>| Arc::ptr_eq(tls, certificates);
            for served in
                self.served.lock().iter().filter(|one| one.tls.as_ref().is_some_and(is_theirs))
            {
                tracing::info!("{} has another client CA from now on", served.address);
                served.listener.reconfigure(&served.config, served.tls.clone(), true);
            }
        }
        Ok(changed)
    }

    /// Reads the files of all certificates again, without waiting for the next round of the task
    /// that does so. A failure is logged, and the old certificates stay in use.
    pub(crate) fn renew_all(&self) {
        for certificates in self.certificates() {
            let listener = certificates.listener();
            match self.renew(&certificates) {
                Ok(true) => tracing::info!(listener, "certificates changed"),
                Ok(false) => {}
                Err(error) => tracing::error!(
                    listener,
                    error = &error as &dyn std::error::Error,
                    "new certificates not taken, the old ones are served on"
                ),
            }
        }
    }

    fn start(&self, bound: BoundListener) -> AcceptingListener {
        AcceptingListener {
            config: bound.config.clone(),
            address: bound.address.clone(),
            tls: bound.tls.clone(),
            listener: (self.start)(bound, self.drain.child()),
        }
    }
}

/// Accepts on every listener in `bound` and answers requests with `handler`, until it is drained.
///
/// Every accept loop and every connection is a task of a worker, so `GatewayThreads::idle` waits
/// for all of them. The handler runs on the worker and must not block it: all connections of that
/// worker would wait.
pub fn serve<H, F>(
    bound: BoundListeners,
    threads: &GatewayThreads,
    handler: H,
) -> Arc<RunningListeners>
where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let workers: Arc<[Arc<Worker>]> = threads.workers().into();
    let listening = Arc::new(RunningListeners {
        drain: Drain::new(),
        options: bound.options,
        start: Box::new(move |bound, drain| accept::start(bound, &workers, drain, handler.clone())),
        served: Mutex::default(),
    });
    let served = bound.listeners.into_iter().map(|bound| listening.start(bound)).collect();
    *listening.served.lock() = served;
    renewal::keep_fresh(threads.background(), &listening);
    listening
}
