//! The side of the gateway that runs: it lends what it has, and drains when its successor is ready.
//!
//! Invariant: until the successor has said that it opened the store, everything that was given up
//! here is taken back if the successor fails. Nothing is left half given.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::TakeoverError;
use super::channel::TakeoverChannel;
use super::messages::{
    OfferedAddress, PredecessorMessage, ServiceLink, SuccessorMessage, TakeoverOffer,
};
use crate::admin::{AdminOperations, ArrivedSuccessor};
use crate::gateway::Generation;
use crate::listener::OfferedListener;
use crate::server::background::BackgroundTasks;
use crate::settings::BindAddress;

/// How long a successor may take for its first word.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to prepare itself: to read its configuration and to check upstreams. This
/// gateway serves meanwhile.
const PREPARE_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take to open the store and to compare sessions with their users. Clients wait.
const OPEN_WITHIN: Duration = Duration::from_secs(60);
/// How long logins that are under way may take. A password may wait for its turn to be hashed, and
/// without the store its login would be answered 503.
const LOGINS_WITHIN: Duration = Duration::from_secs(5);
/// How long the store may take to close; longer than one slow write to a disk.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A gateway that may be taken over.
pub(in crate::server) struct Predecessor {
    pub(in crate::server) operations: Arc<AdminOperations>,
    pub(in crate::server) tasks: Arc<BackgroundTasks>,
    /// How this process speaks to its service manager.
    pub(in crate::server) service: Option<ServiceLink>,
    /// Tells the service manager which process goes on.
    pub(in crate::server) report_successor: Option<fn(&ServiceLink, i32)>,
    /// Cancelled when the successor goes on.
    pub(in crate::server) taken_over: CancellationToken,
}

/// The parts that a successor has been offered.
struct MadeOffer {
    generation: Arc<Generation>,
    /// The number of listeners; what follows them in the offer is the listener for probes.
    listeners: usize,
}

impl Predecessor {
    /// Speaks with one successor after the other, until one has taken over.
    pub(in crate::server) async fn run(self, mut successors: Receiver<ArrivedSuccessor>) {
        while let Some(ArrivedSuccessor { stream, place }) = successors.recv().await {
            let mut channel = TakeoverChannel::new(stream);
            match self.hand_over(&mut channel).await {
                Ok(()) => return,
                Err(error) => {
                    let why = match error {
                        // The successor says by itself who refuses.
                        TakeoverError::Refused(why) => why,
                        other => other.text(),
                    };
                    tracing::error!("not taken over, this gateway serves on: {why}");
                    let refused = PredecessorMessage::Refused { why };
                    // The successor may be gone.
                    let _ = channel.send(&refused).await;
                }
            }
            drop(place);
        }
    }

    async fn hand_over(&self, channel: &mut TakeoverChannel) -> Result<(), TakeoverError> {
        let failed = TakeoverError::at("this one waited for its first word");
        let SuccessorMessage::Hello { version } =
            channel.receive(HELLO_WITHIN).await.map_err(&failed)?
        else {
            return Err(out_of_turn());
        };
        let pid = channel.peer().ok_or_else(unknown_process)?;
        self.check_service(pid)?;
        tracing::info!(pid, version, "a successor asks for the sockets");
        let offer = self.offer(channel).await?;
        let failed = TakeoverError::at("it prepared itself");
        let SuccessorMessage::Prepared { taken } =
            channel.receive(PREPARE_WITHIN).await.map_err(&failed)?
        else {
            return Err(out_of_turn());
        };
        if !self.operations.gateway.freeze(&offer.generation) {
            let why = "the configuration was reloaded meanwhile: try again".to_owned();
            return Err(TakeoverError::Refused(why));
        }
        let lent = LentParts { predecessor: self, is_given: false };
        let taken: Vec<usize> = taken.into_iter().filter(|at| *at < offer.listeners).collect();
        self.give_up(channel, &taken).await?;
        // The service manager hears of the successor first: it listens to the main process alone.
        self.report_main_process(pid);
        let drains = channel.send(&PredecessorMessage::Drains).await;
        if let Err(error) = drains {
            self.report_main_process(rustix::process::getpid().as_raw_nonzero().get());
            return Err(TakeoverError::at("it was let in")(error));
        }
        // From here on there is no way back: the successor has the store, and accepts.
        lent.give();
        Ok(())
    }

    /// Sends further descriptors of all sockets.
    async fn offer(&self, channel: &mut TakeoverChannel) -> Result<MadeOffer, TakeoverError> {
        let generation = self.operations.gateway.generation();
        let mut offered = self.operations.listening.offer().map_err(TakeoverError::Socket)?;
        let listeners = offered.len();
        let probes = self.operations.probes.offer().map_err(TakeoverError::Socket)?;
        if let Some((probes, address)) = probes.zip(generation.config.admin.address) {
            let bind = BindAddress::Tcp(address);
            offered.push(OfferedListener { bind, sockets: vec![probes.into()] });
        }
        let addresses = offered
            .iter()
            .map(|one| OfferedAddress { at: (&one.bind).into(), sockets: one.sockets.len() });
        let offer = TakeoverOffer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store_schema: self.operations.store.file_schema(),
            service: self.service.clone(),
            addresses: addresses.collect(),
        };
        let sockets: Vec<OwnedFd> = offered.into_iter().flat_map(|one| one.sockets).collect();
        let failed = TakeoverError::at("the sockets were sent to it");
        channel.send(&PredecessorMessage::Offer(offer)).await.map_err(&failed)?;
        channel.send_descriptors(&sockets).await.map_err(&failed)?;
        Ok(MadeOffer { generation, listeners })
    }

    /// Gives up what only one process can have, and waits until the successor has it.
    async fn give_up(
        &self,
        channel: &mut TakeoverChannel,
        taken: &[usize],
    ) -> Result<(), TakeoverError> {
        let listening = &self.operations.listening;
        listening.retire_connections().await;
        listening.pause(taken).await;
        // A shared store stays open here, too.
        if self.operations.store.shared().is_none() {
            self.operations.gateway.shared.background.finish_work(LOGINS_WITHIN).await;
        }
        // The tasks end before the store is given up: the successor does their work from then on.
        self.tasks.end();
        let released = tokio::time::timeout(CLOSE_WITHIN, self.operations.store.release()).await;
        let released = released.map_err(|_| "the store does not close".to_owned());
        released
            .and_then(|released| released.map_err(|error| error.to_string()))
            .map_err(TakeoverError::Refused)?;
        let failed = TakeoverError::at("it opened the store");
        channel.send(&PredecessorMessage::StoreReleased).await.map_err(&failed)?;
        match channel.receive(OPEN_WITHIN).await.map_err(&failed)? {
            SuccessorMessage::Opened => Ok(()),
            _ => Err(out_of_turn()),
        }
    }

    fn report_main_process(&self, pid: i32) {
        if let (Some(service), Some(report)) = (&self.service, self.report_successor) {
            report(service, pid);
        }
    }

    /// A service manager follows to a process of the same service only. It would end the service
    /// when this process ends, and the successor would go on without it.
    fn check_service(&self, pid: i32) -> Result<(), TakeoverError> {
        if self.service.is_none() || rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let groups = |process: &str| fs::read_to_string(format!("/proc/{process}/cgroup"));
        if is_same_service(groups("self"), groups(&pid.to_string())) {
            return Ok(());
        }
        let why = "it is a service of systemd, and the new process is outside of the service: \
                   restart the service, with tollhouse.socket, instead";
        Err(TakeoverError::Refused(why.to_owned()))
    }
}

/// The parts that the successor has been lent. Dropping this value takes everything back: the
/// successor has failed, or this gateway was ordered to end.
struct LentParts<'a> {
    predecessor: &'a Predecessor,
    is_given: bool,
}

impl LentParts<'_> {
    /// The successor keeps everything.
    fn give(mut self) {
        self.is_given = true;
        self.predecessor.operations.listening.give_away();
        self.predecessor.operations.probes.close();
        self.predecessor.taken_over.cancel();
    }
}

impl Drop for LentParts<'_> {
    fn drop(&mut self) {
        if self.is_given {
            return;
        }
        let Predecessor { operations, tasks, .. } = self.predecessor;
        if let Err(error) = operations.store.reclaim() {
            tracing::error!(%error, "the store cannot be opened again");
        }
        operations.listening.resume();
        // Users may have changed while nobody looked at them.
        tasks.start(operations, None);
        operations.gateway.unfreeze();
    }
}

/// True if two processes are in the same control groups, of which each service of systemd has its own.
/// A process whose groups cannot be read may be anywhere.
fn is_same_service(own: io::Result<String>, theirs: io::Result<String>) -> bool {
    matches!((own, theirs), (Ok(own), Ok(theirs)) if own == theirs)
}

fn out_of_turn() -> TakeoverError {
    TakeoverError::Refused("the successor said something out of turn".to_owned())
}

fn unknown_process() -> TakeoverError {
    TakeoverError::Refused("the successor's process is not known".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_outside_of_the_service_is_told_by_its_control_groups() {
        const SERVICE: &str = "0::/system.slice/tollhouse.service\n";
        let shell = "0::/user.slice/user-1000.slice/session-4.scope\n";
        // The first version of control groups has a line for each kind of them.
        let first = "9:name=systemd:/system.slice/tollhouse.service\n8:pids:/\n";
        let moved = "9:name=systemd:/user.slice\n8:pids:/\n";
        for (own, theirs, is_same, why) in [
            (SERVICE, Some(SERVICE), true, "started by the service"),
            (SERVICE, Some(shell), false, "started from a shell"),
            (SERVICE, Some("0::/system.slice/tollhouse.service/x\n"), false, "a group below"),
            (first, Some(first), true, "the first version"),
            (first, Some(moved), false, "one of several groups differs"),
            (SERVICE, None, false, "a process that has ended"),
        ] {
            let theirs = theirs.map(str::to_owned).ok_or(io::ErrorKind::NotFound.into());

            assert_eq!(is_same_service(Ok(own.to_owned()), theirs), is_same, "{why}");
        }
    }
}
