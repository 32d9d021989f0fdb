//! From one gateway to the next: who starts while another still ends waits for what only one of
//! them can have, the addresses and the store.
//!
//! A gateway that drains closes its listeners and then gives up its store, however long its last
//! requests take; from then on nothing is in its successor's way. One that does not drain is no
//! predecessor but a mistake, and is told as such without much waiting. Which it is, is asked on
//! the admin socket of the state folder that both name.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use http::Method;

use super::Options;
use super::start::{StartError, open_store, store_path};
use crate::admin::{self, TcpDoor, client};
use crate::config::Config;
use crate::listener::{self, BindOptions, Bound};
use crate::runtime::Threads;
use crate::session::{EmbeddedStore, OpenError};

/// For a signal that is on its way: who sends it and starts the next has not waited for it.
const NOT_DRAINING: Duration = Duration::from_secs(2);
/// From the end of `drain_delay`: closing listeners and store takes milliseconds.
const DRAINING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// It answers from memory, or it is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What only one gateway can have at a time.
pub(super) struct Possessions {
    pub(super) bound: Bound,
    pub(super) admin: Option<TcpDoor>,
    pub(super) store: Arc<EmbeddedStore>,
}

/// Opens the addresses, then the store.
///
/// Clients who connect from then on wait in the sockets' queues for as long as the rest of the
/// start takes: that is better than to be refused.
pub(super) fn take_over(
    config: &Config,
    options: &Options,
    threads: &Threads,
) -> Result<Possessions, StartError> {
    let binding = BindOptions {
        workers: threads.workers().len(),
        state: config.state.dir.clone(),
        clock: options.clock.clone(),
        descriptors: options.descriptors.clone(),
    };
    let since = Instant::now();
    let mut sockets = None;
    let mut is_told = false;
    loop {
        let opened = open(config, options, &binding, &mut sockets);
        let error = match opened {
            Ok(possessions) => return Ok(possessions),
            Err(error) if is_in_use(&error) => error,
            Err(error) => return Err(error),
        };
        let socket = config.state.dir.join(admin::SOCKET);
        let patience = match ask(threads, &socket) {
            Predecessor::Draining => config.process.drain_delay.saturating_add(DRAINING),
            Predecessor::AtWork => NOT_DRAINING,
            // It may be at its very end.
            Predecessor::Silent if matches!(error, StartError::Store(_)) => NOT_DRAINING,
            // The address is somebody else's.
            Predecessor::Silent => return Err(error),
        };
        if since.elapsed() >= patience {
            // The state folder is what the two have in common: the address follows from it.
            return Err(OpenError::InUse { path: store_path(config) }.into());
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::info!("another gateway has this state folder: waiting for it to give it up");
        }
        thread::sleep(LOOK_AGAIN);
    }
}

type Sockets = (Option<TcpDoor>, Bound);

/// One try. Sockets that were opened are kept for the next, or clients who have found them would
/// be cut off.
fn open(
    config: &Config,
    options: &Options,
    binding: &BindOptions,
    sockets: &mut Option<Sockets>,
) -> Result<Possessions, StartError> {
    let (admin, bound) = match sockets.take() {
        Some(sockets) => sockets,
        None => (TcpDoor::bind(config, &[])?, listener::bind(&config.listeners, binding)?),
    };
    match open_store(config, options) {
        Ok(store) => Ok(Possessions { bound, admin, store }),
        Err(error) => {
            *sockets = Some((admin, bound));
            Err(error)
        }
    }
}

fn is_in_use(error: &StartError) -> bool {
    match error {
        StartError::Bind(error) => error.is_in_use(),
        StartError::Store(error) => matches!(error, OpenError::InUse { .. }),
        _ => false,
    }
}

/// Whoever has the state folder.
enum Predecessor {
    Draining,
    AtWork,
    Silent,
}

fn ask(threads: &Threads, socket: &Path) -> Predecessor {
    let asked = client::call(socket, Method::GET, "/status", None);
    let asked = async { tokio::time::timeout(ANSWER_WITHIN, asked).await };
    match threads.back_room().handle().block_on(asked) {
        Ok(Ok((_, status))) if status.get("draining") == Some(&true.into()) => {
            Predecessor::Draining
        }
        Ok(Ok(_)) => Predecessor::AtWork,
        Ok(Err(_)) | Err(_) => Predecessor::Silent,
    }
}
