//! The side of the process that wants to go on: it gets the sockets, and the store when it is
//! prepared.
//!
//! Until the predecessor has agreed to drain, dropping `RunningPredecessor` is all that is needed to
//! leave it as it was.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::TakeoverError;
use super::channel::TakeoverChannel;
use super::messages::{
    OfferedAddress, PredecessorMessage, ServiceLink, SuccessorMessage, TakeoverOffer,
};
use crate::acme::Challenges;
use crate::admin::client::{self, CallError};
use crate::admin::{SOCKET, TAKEOVER_PATH, TAKEOVER_PROTOCOL, TcpDoor};
use crate::gateway::ReadyPools;
use crate::listener::{OfferedListener, OfferedListeners, bind_offered};
use crate::runtime::GatewayThreads;
use crate::server::handover::{ExclusiveHandles, bind_options};
use crate::server::store::{open_store, store_path};
use crate::server::{ServerOptions, StartError, keys};
use crate::session::{EmbeddedStore, StoreOpenError};
use crate::settings::{BindAddress, Config};

/// How long the predecessor may take to duplicate its sockets.
const OFFER_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to retire its connections and to close the store.
const RELEASE_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to agree, when the store is this process's.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// A gateway that runs, and that waits for its successor.
#[derive(Debug)]
pub(in crate::server) struct RunningPredecessor {
    channel: TakeoverChannel,
    /// How it speaks to its service manager.
    pub(in crate::server) service: Option<ServiceLink>,
}

/// A start that has everything, and whose predecessor waits for it.
#[derive(Debug)]
pub(in crate::server) struct BegunTakeover {
    pub(in crate::server) handles: ExclusiveHandles,
    pub(in crate::server) pools: ReadyPools,
    pub(in crate::server) predecessor: RunningPredecessor,
}

/// Takes over from the gateway of the state folder, up to the store. `None`: no gateway runs there
/// that could be taken over, and an ordinary start is right.
pub(in crate::server) fn begin(
    config: &Config,
    options: &ServerOptions,
    threads: &GatewayThreads,
    challenges: &Arc<Challenges>,
) -> Result<Option<BegunTakeover>, StartError> {
    let runtime = threads.background().handle();
    let Some(mut channel) = runtime.block_on(connect(config))? else { return Ok(None) };
    let (offer, sockets) = runtime.block_on(receive_offer(&mut channel))?;
    tracing::info!(version = offer.version, sockets = sockets.len(), "takes over from a gateway");
    if let Some(found) = offer.store_schema.filter(|found| *found > EmbeddedStore::SCHEMA) {
        return Err(StoreOpenError::Newer { path: store_path(config), found }.into());
    }
    let mut offered = by_address(offer.addresses, sockets);
    let service = offer.service;
    let binding = bind_options(config, options, threads, challenges);
    let (bound, taken) = bind_offered(&config.listeners, &binding, &mut offered)?;
    let admin = match config.admin.address.and_then(|at| offered.take(&BindAddress::Tcp(at))) {
        Some((_, sockets)) => sockets.into_iter().next().map(TcpDoor::adopt),
        None => TcpDoor::bind(config, offered.ports())?,
    };
    if let Some(first) = keys::check_keys(config, options.clock.now()).into_iter().next() {
        return Err(first);
    }
    let pools = ReadyPools::build(config, &options.clock, threads.background())?;
    // Several gateways may have a shared store at the same time.
    let shared = config.store.shared().map(|_| open_store(config, options, threads)).transpose()?;
    // Everything that can be prepared is. From here on, clients wait.
    runtime.block_on(get_store(&mut channel, taken))?;
    let store = match shared {
        Some(store) => store,
        None => open_store(config, options, threads)?,
    };
    let handles = ExclusiveHandles { bound, admin, store };
    let predecessor = RunningPredecessor { channel, service };
    Ok(Some(BegunTakeover { handles, pools, predecessor }))
}

impl RunningPredecessor {
    /// Asks the predecessor to drain; this process may accept then.
    pub(in crate::server) fn dismiss(
        &mut self,
        threads: &GatewayThreads,
    ) -> Result<(), TakeoverError> {
        threads.background().handle().block_on(async {
            let failed = TakeoverError::at("this one asked it to drain");
            self.channel.send(&SuccessorMessage::Opened).await.map_err(&failed)?;
            match self.channel.receive(DRAIN_WITHIN).await.map_err(&failed)? {
                PredecessorMessage::Drains => Ok(()),
                other => Err(unexpected(other)),
            }
        })
    }
}

async fn connect(config: &Config) -> Result<Option<TakeoverChannel>, TakeoverError> {
    let socket = config.state.dir.join(SOCKET);
    let folder = config.state.dir.display();
    match client::upgrade(&socket, TAKEOVER_PATH, TAKEOVER_PROTOCOL).await {
        Ok(Ok(stream)) => Ok(Some(TakeoverChannel::new(stream))),
        Ok(Err((status, _))) if status == DRAINING => {
            tracing::info!("the gateway of {folder} ends already: an ordinary start");
            Ok(None)
        }
        Ok(Err((status, answer))) => {
            let why = answer.get("error").and_then(|why| why.as_str()).map(str::to_owned);
            Err(TakeoverError::Refused(why.unwrap_or_else(|| status.to_string())))
        }
        Err(CallError::Connect(error)) if is_nobody(&error) => {
            tracing::info!("no gateway runs in {folder}: nothing to take over, an ordinary start");
            Ok(None)
        }
        Err(error) => Err(TakeoverError::Call(error)),
    }
}

/// The status by which a gateway says that it drains.
const DRAINING: u16 = 503;

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn receive_offer(
    channel: &mut TakeoverChannel,
) -> Result<(TakeoverOffer, Vec<OwnedFd>), TakeoverError> {
    let failed = TakeoverError::at("this one asked for its sockets");
    let hello = SuccessorMessage::Hello { version: env!("CARGO_PKG_VERSION").to_owned() };
    channel.send(&hello).await.map_err(&failed)?;
    let offer = match channel.receive(OFFER_WITHIN).await.map_err(&failed)? {
        PredecessorMessage::Offer(offer) => offer,
        other => return Err(unexpected(other)),
    };
    let count = offer.addresses.iter().fold(0_usize, |sum, one| sum.saturating_add(one.sockets));
    let sockets = channel.receive_descriptors(count).await.map_err(TakeoverError::Socket)?;
    Ok((offer, sockets))
}

/// The sockets by their addresses.
fn by_address(addresses: Vec<OfferedAddress>, sockets: Vec<OwnedFd>) -> OfferedListeners {
    let mut sockets = sockets.into_iter();
    let offered = addresses.into_iter().map(|one| OfferedListener {
        bind: BindAddress::from(one.at),
        sockets: sockets.by_ref().take(one.sockets).collect(),
    });
    OfferedListeners::new(offered.collect())
}

async fn get_store(channel: &mut TakeoverChannel, taken: Vec<usize>) -> Result<(), TakeoverError> {
    let failed = TakeoverError::at("this one asked for the store");
    channel.send(&SuccessorMessage::Prepared { taken }).await.map_err(&failed)?;
    match channel.receive(RELEASE_WITHIN).await.map_err(&failed)? {
        PredecessorMessage::StoreReleased => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(message: PredecessorMessage) -> TakeoverError {
    match message {
        PredecessorMessage::Refused { why } => TakeoverError::Refused(why),
        other => TakeoverError::Refused(format!("it said {other:?} out of turn")),
    }
}
