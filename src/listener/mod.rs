//! Where clients connect: sockets, TLS, connections, and their orderly end.
//!
//! `bind` opens every socket and reads every certificate, so that whatever is wrong is said
//! before the first client is accepted; `serve` starts one accept loop per worker and socket and
//! hands each request to one handler. Limits and timeouts that protect a connection are held
//! here; what a request means is the handler's business. `Listening` drains it all, and a reload
//! changes it in place.

mod accept;
mod activity;
mod bind;
mod certs;
mod connection;
mod descriptors;
mod drain;
mod gate;
mod handshake;
mod pair;
mod proxy_protocol;
mod renewal;
mod self_signed;
mod served;
mod socket;
mod streams;
mod tls;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;

use crate::body::Response;
use crate::client::Client;
use crate::config;
use crate::runtime::{Threads, Worker};

pub use self::bind::{Address, BindError, BindOptions, Bound, bind};
pub(crate) use self::bind::{SocketFile, listen_tcp};
pub use self::certs::{Certificates, check_certificate, check_client_ca};
pub use self::descriptors::{Descriptors, raise_nofile};
pub use self::drain::Drain;
pub use self::gate::{Counted, HandshakeFailure, Stats};
pub use self::pair::{CertError, CertificateFacts, TimeFault};

use self::bind::{BoundListener, bind_one, load_certificates};
use self::served::Reconfigure;

/// Listeners at work.
pub struct Listening {
    drain: Drain,
    options: BindOptions,
    /// Starts the accept loops of a listener, under its own child of `drain`.
    start: Box<dyn Fn(BoundListener, Drain) -> Arc<dyn Reconfigure> + Send + Sync>,
    /// In the order of the configuration.
    served: Mutex<Vec<Served>>,
}

/// A listener that accepts.
struct Served {
    config: config::Listener,
    address: Address,
    tls: Option<Arc<Certificates>>,
    listener: Arc<dyn Reconfigure>,
}

/// Listeners that a reload has prepared: everything that can fail has been done.
pub(crate) struct ListenerChanges(Vec<Prepared>);

/// One listener of the next configuration.
enum Prepared {
    /// There is one at this address, which changes its settings if they differ.
    Kept(config::Listener, Option<Arc<Certificates>>),
    New(BoundListener),
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Listening {
    /// The address that each listener is bound to, in the order of the configuration.
    pub fn addresses(&self) -> Vec<Address> {
        self.lock().iter().map(|served| served.address.clone()).collect()
    }

    /// The handle that ends accepting and, in good order, every connection.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The counts of each listener, in the order of the configuration.
    pub fn stats(&self) -> Vec<Stats> {
        self.lock().iter().map(|served| served.listener.stats()).collect()
    }

    /// The certificates of each listener that speaks TLS.
    pub fn certificates(&self) -> Vec<Arc<Certificates>> {
        self.lock().iter().filter_map(|served| served.tls.clone()).collect()
    }

    /// Opens the sockets and reads the certificates that `next` needs and that are not there yet.
    /// What is served does not change before `apply`.
    ///
    /// # Errors
    /// With the first listener that cannot be set up; what was opened before it is closed again.
    pub(crate) fn prepare(&self, next: &[config::Listener]) -> Result<ListenerChanges, BindError> {
        let served = self.lock();
        let ports = served.iter().filter_map(|served| Some(served.address.tcp()?.port()));
        let ports: Vec<u16> = ports.collect();
        let prepare_one = |config: &config::Listener| {
            let Some(last) = served.iter().find(|served| served.config.bind == config.bind) else {
                return bind_one(config, &self.options, &ports).map(Prepared::New);
            };
            let is_same = last.config.tls == config.tls && last.config.name == config.name;
            let tls = match &last.tls {
                Some(tls) if is_same => Some(tls.clone()),
                _ => load_certificates(config, &self.options)?,
            };
            Ok(Prepared::Kept(config.clone(), tls))
        };
        let prepared: Vec<Prepared> = next.iter().map(prepare_one).collect::<Result<_, _>>()?;
        // Last of all: clients who connect from now on would be cut if anything failed.
        for listener in &prepared {
            if let Prepared::New(bound) = listener {
                bound.listen()?;
            }
        }
        Ok(ListenerChanges(prepared))
    }

    /// Serves what was prepared, and drains the listeners that are not in it.
    pub(crate) fn apply(&self, changes: ListenerChanges) {
        let mut served = self.lock();
        let mut last = std::mem::take(&mut *served);
        for change in changes.0 {
            match change {
                Prepared::New(bound) => {
                    tracing::info!("listens on {}", bound.address);
                    served.push(self.start(bound));
                }
                Prepared::Kept(config, tls) => {
                    let found = last.iter().position(|served| served.config.bind == config.bind);
                    // One reload runs at a time, so the listener of `prepare` is still there.
                    let Some(found) = found else { continue };
                    let mut kept = last.swap_remove(found);
                    if kept.config != config {
                        tracing::info!("{} has other settings from now on", kept.address);
                        kept.listener.reconfigure(&config, tls.clone());
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

    fn start(&self, bound: BoundListener) -> Served {
        Served {
            config: bound.config.clone(),
            address: bound.address.clone(),
            tls: bound.tls.clone(),
            listener: (self.start)(bound, self.drain.child()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Served>> {
        // Every change leaves a whole list, so a lock that a panic has poisoned is taken over.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts on everything in `bound` and answers with `handler`, until drained.
///
/// Every accept loop and connection is a task of a worker, so `Threads::idle` waits for them.
/// The handler runs on the worker and must not block it.
pub fn serve<H, F>(bound: Bound, threads: &Threads, handler: H) -> Arc<Listening>
where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let workers: Arc<[Arc<Worker>]> = threads.workers().into();
    let listening = Arc::new(Listening {
        drain: Drain::new(),
        options: bound.options,
        start: Box::new(move |bound, drain| served::start(bound, &workers, drain, handler.clone())),
        served: Mutex::default(),
    });
    let served = bound.listeners.into_iter().map(|bound| listening.start(bound)).collect();
    *listening.lock() = served;
    renewal::keep_fresh(threads.back_room(), &listening);
    listening
}
