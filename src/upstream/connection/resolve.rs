//! Resolves the name of a server to addresses, and remembers them.
//!
//! An answer that has reached its age is renewed in the background while connections still use it;
//! only an answer twice that old is waited for. If DNS fails, the last good answer stays in use.
//! All addresses are used in turn (round robin); one that could not be connected to a moment ago
//! comes last. Single flight: one lookup of a name is under way at a time. `connect` is the caller.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::pooled::ResolvedAddress;
use crate::runtime::{BackgroundRuntime, Worker};
use crate::upstream::error::ConnectError;

/// Limit of one lookup. It is longer than a resolver needs for all its own attempts.
const GIVE_UP: Duration = Duration::from_secs(10);

/// How long a newer answer is waited for while there is an old one.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long an address that failed is tried last.
const AVOIDED: Duration = Duration::from_secs(5);

/// Upper bound of addresses that are kept of one answer.
const MOST: usize = 64;

/// One name and its addresses, shared by all workers.
pub(in crate::upstream) struct NameResolver {
    host: Box<str>,
    every: Duration,
    lookup: DnsBackend,
    addresses: ArcSwap<Vec<IpAddr>>,
    known: Mutex<LookupState>,
    asking: AtomicBool,
    /// Notifies waiters of every answer, good or bad.
    answered: watch::Sender<Option<Arc<io::Error>>>,
    /// Increases whenever an address disappears from the answer.
    epoch: AtomicU32,
    turn: AtomicUsize,
}

/// Facts about lookups and failed addresses, under a lock.
#[derive(Default)]
struct LookupState {
    /// The time of the last answer, good or bad.
    answered_at: Option<Instant>,
    failed: Vec<(IpAddr, Instant)>,
}

/// The runtime on which the caller has a lookup run.
#[derive(Clone, Copy)]
pub(in crate::upstream) enum LookupSpawner<'a> {
    Worker(&'a Worker),
    Background(&'a BackgroundRuntime),
}

impl LookupSpawner<'_> {
    /// Runs a lookup as a task of its own, so that it goes on if the caller is cancelled.
    fn spawn(self, question: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Worker(worker) => worker.spawn_detached(question),
            Self::Background(background) => background.spawn(question),
        }
    }
}

/// The resolver.
pub(in crate::upstream) enum DnsBackend {
    System,
    #[cfg(test)]
    Table(Arc<Mutex<Vec<IpAddr>>>),
}

impl DnsBackend {
    /// Resolves a name. The system's resolver also applies `/etc/hosts`.
    ///
    /// # Errors
    /// The resolver's error. It is logged and stored for callers that wait.
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::System => {
                let found = tokio::net::lookup_host((host, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Self::Table(table) => match table.lock().clone() {
                found if found.is_empty() => Err(io::ErrorKind::NotFound.into()),
                found => Ok(found),
            },
        }
    }
}

impl NameResolver {
    /// Creates the state of a name. Nothing is looked up before the first connection.
    pub(in crate::upstream) fn new(host: &str, every: Duration, lookup: DnsBackend) -> Arc<Self> {
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

    /// The addresses to connect to, in the order in which to try them.
    ///
    /// # Errors
    /// The name never had an address and the lookup failed.
    pub(in crate::upstream) async fn addresses(
        self: &Arc<Self>,
        asker: LookupSpawner<'_>,
    ) -> Result<Vec<ResolvedAddress>, ConnectError> {
        let answered_at = self.known.lock().answered_at.map(|answered_at| answered_at.elapsed());
        let has_some = !self.addresses.load().is_empty();
        if answered_at.is_none_or(|age| age >= self.every) || !has_some {
            // The subscription comes before the lookup starts. If the answer came between the two,
            // then waiting for a change would never end. A lookup by another caller may end at any
            // moment.
            let mut answered = self.answered.subscribe();
            if let Some(question) = self.question() {
                asker.spawn(question);
            }
            if !has_some {
                // The connect timeout of the caller bounds this wait.
                let answer = answered.changed().await;
                let failed = answered.borrow().clone();
                if let (Ok(()), Some(error)) = (answer, failed) {
                    let error = io::Error::new(error.kind(), error);
                    return Err(ConnectError::Resolve(error));
                }
            } else if answered_at.is_none_or(|age| age >= self.every * 2) {
                let _ = timeout(PATIENCE, answered.changed()).await;
            }
        }
        Ok(self.in_turn())
    }

    /// The addresses in turn, failed ones last. Each call begins with the next address, so that
    /// connections spread over all of them. A failed address is still tried after the others: the
    /// failure may be over.
    fn in_turn(&self) -> Vec<ResolvedAddress> {
        // The epoch is read before the addresses. If the answer changes between the two reads, then
        // new addresses get the old epoch and are merely checked again later. In the other order an
        // old address would get the new epoch and pass as current.
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut order = Vec::clone(&self.addresses.load());
        let mut known = self.known.lock();
        known.failed.retain(|(_, at)| at.elapsed() < AVOIDED);
        if !order.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % order.len();
            order.rotate_left(first);
        }
        order.sort_by_key(|ip| known.failed.iter().any(|(failed, _)| failed == ip));
        order.into_iter().map(|ip| ResolvedAddress { ip, epoch }).collect()
    }

    /// Records that `address` could not be connected to. Another address is then tried first, for
    /// `AVOIDED`. The list is bounded, so that a name with ever new addresses cannot fill the
    /// memory.
    pub(super) fn failed(&self, address: IpAddr) {
        let mut known = self.known.lock();
        known.failed.retain(|(failed, _)| *failed != address);
        if known.failed.len() < MOST {
            known.failed.push((address, Instant::now()));
        }
    }

    /// True while the name resolves to `address`. The epoch makes this one comparison of numbers in
    /// the usual case; the list is searched only after an address has disappeared. Connections to a
    /// former address are not reused, so that a server can be moved by DNS.
    pub(in crate::upstream) fn is_current(&self, address: ResolvedAddress) -> bool {
        address.epoch == self.epoch.load(Ordering::Relaxed)
            || self.addresses.load().contains(&address.ip)
    }

    /// Renews the answer if it is due. A server whose kept connections are used all the time opens
    /// none, so no connect would renew its name. `sweep` calls it for servers in use.
    pub(in crate::upstream) fn renew(self: &Arc<Self>, background: &BackgroundRuntime) {
        let answered_at = self.known.lock().answered_at;
        if answered_at.is_some_and(|answered_at| answered_at.elapsed() >= self.every)
            && let Some(question) = self.question()
        {
            background.spawn(question);
        }
    }

    /// The lookup to run, or `None` if one is under way.
    fn question(self: &Arc<Self>) -> Option<impl Future<Output = ()> + Send + 'static> {
        if self.asking.swap(true, Ordering::AcqRel) {
            return None;
        }
        let asking = LookupGuard(self.clone());
        Some(async move {
            let names = asking.0.clone();
            let answer = timeout(GIVE_UP, names.lookup.look_up(&names.host)).await;
            let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let failed = names.learn(answer);
            // The flag is cleared before the waiters are notified. If a woken waiter found the flag
            // still set, then it would wait for an answer that nobody is looking up. Then it would
            // start no lookup of its own and wait until its timeout.
            drop(asking);
            names.answered.send_replace(failed.map(Arc::new));
        })
    }

    /// Stores an answer. Returns the error of a failed one; the old addresses then stay in use. An
    /// empty answer counts as a failure: a faulty resolver must not take all servers away.
    fn learn(&self, answer: io::Result<Vec<IpAddr>>) -> Option<io::Error> {
        self.known.lock().answered_at = Some(Instant::now());
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
        // The addresses are stored before the epoch increases. `in_turn` reads in the opposite
        // order.
        let vanished = self.addresses.load().iter().any(|old| !distinct.contains(old));
        self.addresses.store(Arc::new(distinct));
        if vanished {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        None
    }
}

/// Marks a lookup as under way. If the lookup is dropped half-way, `drop` clears the mark, so that
/// others can look up.
struct LookupGuard(Arc<NameResolver>);

impl Drop for LookupGuard {
    fn drop(&mut self) {
        self.0.asking.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::GatewayThreads;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    fn names(every: Duration) -> (Arc<NameResolver>, Arc<Mutex<Vec<IpAddr>>>, GatewayThreads) {
        let table = Arc::new(Mutex::new(vec![ONE, TWO, ONE]));
        let names = NameResolver::new("app.test", every, DnsBackend::Table(table.clone()));
        (names, table, GatewayThreads::start(1, 1).unwrap())
    }

    async fn answered_at(names: &Arc<NameResolver>, threads: &GatewayThreads) -> Vec<IpAddr> {
        let addresses =
            names.addresses(LookupSpawner::Worker(&threads.workers()[0])).await.unwrap();
        addresses.into_iter().map(|address| address.ip).collect()
    }

    #[tokio::test]
    async fn addresses_take_turns_and_one_that_failed_comes_last() {
        let (names, _, threads) = names(Duration::from_secs(60));

        assert_eq!(answered_at(&names, &threads).await, [ONE, TWO]);
        assert_eq!(answered_at(&names, &threads).await, [TWO, ONE]);
        names.failed(ONE);
        for _ in 0..3 {
            assert_eq!(answered_at(&names, &threads).await, [TWO, ONE]);
        }
    }

    #[tokio::test]
    async fn an_answer_is_used_until_it_is_old() {
        let (names, table, threads) = names(Duration::from_secs(60));
        answered_at(&names, &threads).await;

        *table.lock() = vec![TWO];

        assert_eq!(answered_at(&names, &threads).await.len(), 2);
    }

    #[tokio::test]
    async fn what_vanished_from_a_newer_answer_is_not_current() {
        let (names, table, threads) = names(Duration::ZERO);
        let before = names.addresses(LookupSpawner::Worker(&threads.workers()[0])).await.unwrap();
        assert!(before.iter().all(|address| names.is_current(*address)));

        *table.lock() = vec![TWO];

        assert_eq!(answered_at(&names, &threads).await, [TWO]);
        let current: Vec<_> = before.iter().filter(|address| names.is_current(**address)).collect();
        assert!(current.len() == 1 && current[0].ip == TWO, "{current:?}");
    }

    #[tokio::test]
    async fn the_last_good_answer_outlives_an_outage() {
        let (names, table, threads) = names(Duration::ZERO);
        answered_at(&names, &threads).await;

        table.lock().clear();

        assert_eq!(answered_at(&names, &threads).await.len(), 2);
    }

    #[tokio::test]
    async fn a_name_that_never_had_an_answer_is_an_error() {
        let (names, table, threads) = names(Duration::from_secs(60));
        table.lock().clear();

        let failed = names.addresses(LookupSpawner::Worker(&threads.workers()[0])).await;

        assert!(matches!(failed, Err(ConnectError::Resolve(_))));
        table.lock().push(ONE);
        assert_eq!(answered_at(&names, &threads).await, [ONE], "it is not remembered");
    }
}
