//! What a server's name stands for.
//!
//! A name is asked for again when its answer has an age, behind the connects that still use it;
//! only an answer twice that old is waited for. When DNS fails, the last good answer goes on. All
//! addresses are used in turn; one that could not be connected to a moment ago comes last. Only
//! one question is on its way at a time.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::error::ConnectError;
use super::link::Address;
use super::server::locked;
use crate::runtime::{BackRoom, Worker};

/// Longer than a resolver takes for all its own tries.
const GIVE_UP: Duration = Duration::from_secs(10);

/// How long a newer answer is waited for while there is an old one.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long an address that failed comes last.
const AVOIDED: Duration = Duration::from_secs(5);

/// More addresses than this are not kept of one answer.
const MOST: usize = 64;

/// One name and its addresses, shared by all workers.
pub(super) struct Names {
    host: Box<str>,
    every: Duration,
    lookup: Lookup,
    addresses: ArcSwap<Vec<IpAddr>>,
    known: Mutex<Known>,
    asking: AtomicBool,
    /// Changes with every answer, good or bad.
    answered: watch::Sender<Option<Arc<io::Error>>>,
    /// Rises when an address has vanished from the answer.
    epoch: AtomicU32,
    turn: AtomicUsize,
}

#[derive(Default)]
struct Known {
    /// When the last question was answered, well or badly.
    asked: Option<Instant>,
    failed: Vec<(IpAddr, Instant)>,
}

/// Who wants to know, and has the question asked.
#[derive(Clone, Copy)]
pub(super) enum Asker<'a> {
    Worker(&'a Worker),
    BackRoom(&'a BackRoom),
}

impl Asker<'_> {
    fn spawn(self, question: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Worker(worker) => worker.spawn_detached(question),
            Self::BackRoom(back_room) => back_room.spawn(question),
        }
    }
}

/// Who is asked.
pub(super) enum Lookup {
    System,
    #[cfg(test)]
    Table(Arc<Mutex<Vec<IpAddr>>>),
}

impl Lookup {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::System => {
                let found = tokio::net::lookup_host((host, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Self::Table(table) => match locked(table).clone() {
                found if found.is_empty() => Err(io::ErrorKind::NotFound.into()),
                found => Ok(found),
            },
        }
    }
}

impl Names {
    /// Nothing is asked before somebody wants to connect.
    pub(super) fn new(host: &str, every: Duration, lookup: Lookup) -> Arc<Self> {
        Arc::new(Self {
            host: host.into(),
            every,
            lookup,
            addresses: ArcSwap::default(),
            known: Mutex::default(),
            asking: AtomicBool::new(false),
            answered: watch::Sender::new(None),
            epoch: AtomicU32::new(0),
            turn: AtomicUsize::new(0),
        })
    }

    /// The name itself.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The addresses to connect to, in the order to try them.
    pub(super) async fn addresses(
        self: &Arc<Self>,
        asker: Asker<'_>,
    ) -> Result<Vec<Address>, ConnectError> {
        let asked = locked(&self.known).asked.map(|asked| asked.elapsed());
        let has_some = !self.addresses.load().is_empty();
        if asked.is_none_or(|age| age >= self.every) || !has_some {
            let mut answered = self.answered.subscribe();
            if let Some(question) = self.question() {
                asker.spawn(question);
            }
            if !has_some {
                // Bounded by the connect timeout around it.
                let answer = answered.changed().await;
                let failed = answered.borrow().clone();
                if let (Ok(()), Some(error)) = (answer, failed) {
                    let error = io::Error::new(error.kind(), error);
                    return Err(ConnectError::Resolve(error));
                }
            } else if asked.is_none_or(|age| age >= self.every * 2) {
                let _ = timeout(PATIENCE, answered.changed()).await;
            }
        }
        Ok(self.in_turn())
    }

    fn in_turn(&self) -> Vec<Address> {
        // Before the addresses: newer ones under an old epoch are looked up again, the other way
        // round an old one would pass for new.
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut order = Vec::clone(&self.addresses.load());
        let mut known = locked(&self.known);
        known.failed.retain(|(_, at)| at.elapsed() < AVOIDED);
        if !order.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % order.len();
            order.rotate_left(first);
        }
        order.sort_by_key(|ip| known.failed.iter().any(|(failed, _)| failed == ip));
        order.into_iter().map(|ip| Address { ip, epoch }).collect()
    }

    /// Notes that `address` could not be connected to.
    pub(super) fn failed(&self, address: IpAddr) {
        let mut known = locked(&self.known);
        known.failed.retain(|(failed, _)| *failed != address);
        if known.failed.len() < MOST {
            known.failed.push((address, Instant::now()));
        }
    }

    /// True while the name still stands for `address`. Costs a look at a number unless an address
    /// has vanished since.
    pub(super) fn is_current(&self, address: Address) -> bool {
        address.epoch == self.epoch.load(Ordering::Relaxed)
            || self.addresses.load().contains(&address.ip)
    }

    /// Asks anew if it is time to: for connections that are used so much that none is made.
    pub(super) fn renew(self: &Arc<Self>, back_room: &BackRoom) {
        let asked = locked(&self.known).asked;
        if asked.is_some_and(|asked| asked.elapsed() >= self.every)
            && let Some(question) = self.question()
        {
            back_room.spawn(question);
        }
    }

    /// The question to run, unless one is on its way.
    fn question(self: &Arc<Self>) -> Option<impl Future<Output = ()> + Send + 'static> {
        if self.asking.swap(true, Ordering::AcqRel) {
            return None;
        }
        let asking = Asking(self.clone());
        Some(async move {
            let names = asking.0.clone();
            let answer = timeout(GIVE_UP, names.lookup.look_up(&names.host)).await;
            let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let failed = names.learn(answer);
            // Only now: who asks after this starts a question of its own.
            drop(asking);
            names.answered.send_replace(failed.map(Arc::new));
        })
    }

    fn learn(&self, answer: io::Result<Vec<IpAddr>>) -> Option<io::Error> {
        locked(&self.known).asked = Some(Instant::now());
        let found = match answer {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => return Some(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
            Err(error) => {
                tracing::warn!(host = %self.host, %error, "a name could not be resolved");
                return Some(error);
            }
        };
        let mut distinct: Vec<IpAddr> = Vec::with_capacity(found.len().min(MOST));
        for ip in found {
            if distinct.len() < MOST && !distinct.contains(&ip) {
                distinct.push(ip);
            }
        }
        let vanished = self.addresses.load().iter().any(|old| !distinct.contains(old));
        self.addresses.store(Arc::new(distinct));
        if vanished {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        None
    }
}

/// A question on its way; one that is dropped half-way does not keep others from asking.
struct Asking(Arc<Names>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Threads;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    fn names(every: Duration) -> (Arc<Names>, Arc<Mutex<Vec<IpAddr>>>, Threads) {
        let table = Arc::new(Mutex::new(vec![ONE, TWO, ONE]));
        let names = Names::new("app.test", every, Lookup::Table(table.clone()));
        (names, table, Threads::start(1, 1).unwrap())
    }

    async fn asked(names: &Arc<Names>, threads: &Threads) -> Vec<IpAddr> {
        let addresses = names.addresses(Asker::Worker(&threads.workers()[0])).await.unwrap();
        addresses.into_iter().map(|address| address.ip).collect()
    }

    #[tokio::test]
    async fn addresses_take_turns_and_one_that_failed_comes_last() {
        let (names, _, threads) = names(Duration::from_secs(60));

        assert_eq!(asked(&names, &threads).await, [ONE, TWO]);
        assert_eq!(asked(&names, &threads).await, [TWO, ONE]);
        names.failed(ONE);
        for _ in 0..3 {
            assert_eq!(asked(&names, &threads).await, [TWO, ONE]);
        }
    }

    #[tokio::test]
    async fn an_answer_is_used_until_it_is_old() {
        let (names, table, threads) = names(Duration::from_secs(60));
        asked(&names, &threads).await;

        *locked(&table) = vec![TWO];

        assert_eq!(asked(&names, &threads).await.len(), 2);
    }

    #[tokio::test]
    async fn what_vanished_from_a_newer_answer_is_not_current() {
        let (names, table, threads) = names(Duration::ZERO);
        let before = names.addresses(Asker::Worker(&threads.workers()[0])).await.unwrap();
        assert!(before.iter().all(|address| names.is_current(*address)));

        *locked(&table) = vec![TWO];

        assert_eq!(asked(&names, &threads).await, [TWO]);
        let current: Vec<_> = before.iter().filter(|address| names.is_current(**address)).collect();
        assert!(current.len() == 1 && current[0].ip == TWO, "{current:?}");
    }

    #[tokio::test]
    async fn the_last_good_answer_outlives_an_outage() {
        let (names, table, threads) = names(Duration::ZERO);
        asked(&names, &threads).await;

        locked(&table).clear();

        assert_eq!(asked(&names, &threads).await.len(), 2);
    }

    #[tokio::test]
    async fn a_name_that_never_had_an_answer_is_an_error() {
        let (names, table, threads) = names(Duration::from_secs(60));
        locked(&table).clear();

        let failed = names.addresses(Asker::Worker(&threads.workers()[0])).await;

        assert!(matches!(failed, Err(ConnectError::Resolve(_))));
        locked(&table).push(ONE);
        assert_eq!(asked(&names, &threads).await, [ONE], "it is not remembered");
    }
}
