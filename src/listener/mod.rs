//! Where clients connect: sockets, TLS, connections, and their orderly end.
//!
//! `bind` opens every socket and reads every certificate, so that whatever is wrong is said
//! before the first client is accepted; `serve` starts one accept loop per worker and socket and
//! hands each request to one handler. Limits and timeouts that protect a connection are held
//! here; what a request means is the handler's business. `Listening` drains it all.

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
mod self_signed;
mod socket;
mod streams;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;

use crate::body::Response;
use crate::client::Client;
use crate::runtime::{BackRoom, Threads, Worker};

pub(crate) use self::bind::SocketFile;
pub use self::bind::{Address, BindError, BindOptions, Bound, bind};
pub use self::certs::{Certificates, check_certificates};
pub use self::descriptors::{Descriptors, raise_nofile};
pub use self::drain::Drain;
pub use self::gate::{Counted, HandshakeFailure, Stats};
pub use self::pair::{CertError, CertificateFacts};

use self::accept::Acceptor;
use self::connection::Shared;

/// Listeners at work.
#[derive(Debug)]
pub struct Listening {
    addresses: Vec<Address>,
    drain: Drain,
    stats: Vec<Stats>,
    certificates: Vec<Arc<Certificates>>,
}

impl Listening {
    /// What each listener is bound to, in the order of the configuration.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The handle that ends accepting and, in good order, every connection.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// What each listener has counted, in the order of the configuration.
    pub fn stats(&self) -> &[Stats] {
        &self.stats
    }

    /// The certificates of each listener that speaks TLS.
    pub fn certificates(&self) -> &[Arc<Certificates>] {
        &self.certificates
    }
}

/// Accepts on everything in `bound` and answers with `handler`, until drained.
///
/// Every accept loop and connection is a task of a worker, so `Threads::idle` waits for them.
/// The handler runs on the worker and must not block it.
pub fn serve<H, F>(bound: Bound, threads: &Threads, handler: H) -> Listening
where
    H: Fn(Arc<Worker>, Arc<Client>, http::Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let drain = Drain::new();
    let mut listening = Listening {
        addresses: bound.addresses(),
        drain: drain.clone(),
        stats: Vec::new(),
        certificates: Vec::new(),
    };
    let workers: Arc<[Arc<Worker>]> = threads.workers().into();
    for listener in bound.listeners {
        let shared = Arc::new(Shared::new(
            &listener.config,
            listener.tls.clone(),
            drain.clone(),
            handler.clone(),
        ));
        listening.stats.push(shared.stats());
        if let Some(certificates) = listener.tls {
            keep_fresh(threads.back_room(), certificates.clone(), drain.clone());
            listening.certificates.push(certificates);
        }
        // Round and round, because a socket that nobody accepts from would still be given its
        // share of the connections.
        for (socket, worker) in listener.sockets.into_iter().zip(workers.iter().cycle()) {
            let acceptor = Acceptor::new(shared.clone(), worker.clone(), workers.clone());
            worker.spawn(drain.accepting(acceptor.run(socket)));
        }
    }
    listening
}

/// How soon a renewed certificate is served.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// How often a certificate near its end is spoken of: so many reloads are a day.
const REMIND_AFTER: u64 = 24 * 3600 / RELOAD_EVERY.as_secs();

fn keep_fresh(back_room: &BackRoom, certificates: Arc<Certificates>, drain: Drain) {
    let threads = back_room.clone();
    back_room.spawn(async move {
        let mut last_error = None;
        let mut reloads: u64 = 0;
        while !drain.starts_within(RELOAD_EVERY).await {
            reloads += 1;
            if reloads.is_multiple_of(REMIND_AFTER) {
                certificates.warn_of_times();
            }
            let reloading = certificates.clone();
            let Some(outcome) = threads.block_on_thread(move || reloading.reload()).await else {
                tracing::error!("reading certificates again ended by panic");
                continue;
            };
            match outcome {
                Ok(changed) => {
                    if changed {
                        tracing::info!(listener = certificates.listener(), "certificates changed");
                    }
                    last_error = None;
                }
                Err(error) => {
                    // Said on the second failure in a row, once: chain and key are written one
                    // after the other, and between the two they do not match.
                    let text = error.to_string();
                    let (seen, said) = match last_error.take() {
                        Some((seen, said)) if seen == text => (seen, Some(said)),
                        _ => (text, None),
                    };
                    if said == Some(false) {
                        tracing::error!(
                            listener = certificates.listener(),
                            error = &error as &dyn std::error::Error,
                            "new certificates not taken, the old ones are served on"
                        );
                    }
                    last_error = Some((seen, said.is_some()));
                }
            }
        }
    });
}
