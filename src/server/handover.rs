//! The handover from one gateway to the next. A gateway that starts while another one is still
//! ending waits for the two things that only one of them can have: the addresses and the store.
//!
//! A gateway that drains closes its listeners and then its store, however long its last requests
//! take. From then on nothing prevents its successor from starting. A gateway that does not drain
//! is no predecessor but a mistake, which is reported after a short wait. Which of the two it is,
//! is asked over the admin socket in the state folder.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use http::Method;

use super::store::{open_store, store_path};
use super::{ServerOptions, StartError};
use crate::acme::Challenges;
use crate::admin::{self, TcpDoor, client};
use crate::listener::{self, BindOptions, BoundListeners, TicketKeys};
use crate::runtime::GatewayThreads;
use crate::session::shared::Seal;
use crate::session::{OpenedStore, StoreOpenError};
use crate::settings::Config;

/// How long to wait for a gateway that does not drain yet: the signal to end it may still be on its
/// way. A service manager starts the new one without waiting for the old one to react.
const NOT_DRAINING: Duration = Duration::from_secs(2);
/// How long to wait after `drain_delay`. Closing listeners and store takes milliseconds.
const DRAINING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The other gateway answers from memory; if it does not answer in this time, it is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The things that only one gateway can have at a time. Opening them is what a start waits for;
/// everything else can exist twice.
#[derive(Debug)]
pub(super) struct ExclusiveHandles {
    pub(super) bound: BoundListeners,
    pub(super) admin: Option<TcpDoor>,
    pub(super) store: OpenedStore,
}

/// Opens the addresses, then the store, waiting for a predecessor if there is one.
///
/// From the opening of the addresses on, clients who connect wait in the sockets' queues for the
/// rest of the start. That is better than being refused.
pub(super) fn take_over(
    config: &Config,
    options: &ServerOptions,
    threads: &GatewayThreads,
    challenges: &Arc<Challenges>,
) -> Result<ExclusiveHandles, StartError> {
    let binding = bind_options(config, options, threads, challenges);
    let since = Instant::now();
    let mut sockets = None;
    let mut is_told = false;
    // Opening is tried again and again, because the kernel and the store's lock give no signal when
    // the predecessor lets go. The pause is short, because clients are waiting meanwhile.
    loop {
        let opened = open(config, options, threads, &binding, &mut sockets);
        let error = match opened {
            Ok(possessions) => return Ok(possessions),
            Err(error) if is_in_use(&error) => error,
            Err(error) => return Err(error),
        };
        let socket = config.state.dir.join(admin::SOCKET);
        // The predecessor is asked in every round, because it may begin to drain while this start
        // waits.
        let patience = match ask(threads, &socket) {
            PriorGateway::Draining => config.process.drain_delay.saturating_add(DRAINING),
            PriorGateway::AtWork => NOT_DRAINING,
            // The predecessor may be at its very end: the admin socket is closed, and the store is
            // not yet.
            PriorGateway::Silent if matches!(error, StartError::Store(_)) => NOT_DRAINING,
            // The address belongs to another program, and waiting would not help.
            PriorGateway::Silent => return Err(error),
        };
        if since.elapsed() >= patience {
            // The report names the state folder, which both gateways have in common; the address is
            // only a consequence.
            return Err(StoreOpenError::InUse { path: store_path(config) }.into());
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::info!("another gateway has this state folder: waiting for it to give it up");
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The options of the listeners of a start.
pub(super) fn bind_options(
    config: &Config,
    options: &ServerOptions,
    threads: &GatewayThreads,
    challenges: &Arc<Challenges>,
) -> BindOptions {
    BindOptions {
        workers: threads.workers().len(),
        state: config.state.dir.clone(),
        challenges: challenges.clone(),
        clock: options.clock.clone(),
        tickets: ticket_keys(config),
        descriptors: options.descriptors.clone(),
    }
}

/// The keys of TLS session tickets. With a shared store, any of its gateways resumes a session.
fn ticket_keys(config: &Config) -> TicketKeys {
    let seal = config.store.shared().map(|store| Seal::new(&store.seal));
    seal.map_or(TicketKeys::Random, |seal| TicketKeys::Sealed(Arc::new(seal)))
}

type OpenSockets = (Option<TcpDoor>, BoundListeners);

/// One attempt. Sockets that were opened are kept for the next attempt: clients who have connected
/// to them would otherwise be cut off.
fn open(
    config: &Config,
    options: &ServerOptions,
    threads: &GatewayThreads,
    binding: &BindOptions,
    sockets: &mut Option<OpenSockets>,
) -> Result<ExclusiveHandles, StartError> {
    let (admin, bound) = match sockets.take() {
        Some(sockets) => sockets,
        None => (TcpDoor::bind(config, &[])?, listener::bind(&config.listeners, binding)?),
    };
    match open_store(config, options, threads) {
        Ok(store) => Ok(ExclusiveHandles { bound, admin, store }),
        Err(error) => {
            *sockets = Some((admin, bound));
            Err(error)
        }
    }
}

/// True if another process has an address or the store, so that waiting may help. Every other error
/// is final, for example a missing permission.
fn is_in_use(error: &StartError) -> bool {
    match error {
        StartError::Bind(error) => error.is_in_use(),
        StartError::Store(error) => matches!(error, StoreOpenError::InUse { .. }),
        _ => false,
    }
}

/// The state of the gateway that has the state folder.
/// It ends: it answers that it drains.
enum PriorGateway {
    Draining,
    AtWork,
    Silent,
}

fn ask(threads: &GatewayThreads, socket: &Path) -> PriorGateway {
    let answer = client::call(socket, Method::GET, "/status", None);
    let answer = async { tokio::time::timeout(ANSWER_WITHIN, answer).await };
    match threads.background().handle().block_on(answer) {
        Ok(Ok((_, status))) if status.get("draining") == Some(&true.into()) => {
            PriorGateway::Draining
        }
        Ok(Ok(_)) => PriorGateway::AtWork,
        Ok(Err(_)) | Err(_) => PriorGateway::Silent,
    }
}
