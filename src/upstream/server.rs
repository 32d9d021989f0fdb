//! One server of a pool: what is known of it, and the connections kept to it.
//!
//! The counters are shared by all workers; connections are kept per worker and never cross to
//! another thread. HTTP/1.1 connections wait in a stack, the freshest on top, so that a burst's
//! extra connections age at the bottom; of HTTP/2 connections one is shared by a worker's
//! requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::connect::Path;
use crate::body::Body;
use crate::runtime::Worker;

/// Kept connections per worker and server. More would only be used by a burst larger than this.
const MAX_IDLE: usize = 256;

/// How long a server that could not be connected to is tried last. Short, because it is a hint
/// from one failure, not a health check.
const DOWN_FOR: Duration = Duration::from_secs(5);

/// How long an answered connection may take to become ready again, for example because the rest
/// of the request's body is still flowing, before it is given up.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// One server, shared by all workers.
pub(super) struct Server {
    /// As written in the configuration.
    pub(super) name: Arc<str>,
    /// `None`: the built-in echo.
    pub(super) path: Option<Path>,
    pub(super) weight: u32,
    in_flight: AtomicUsize,
    failures: AtomicU64,
    /// Milliseconds after `started` until which the server is tried last.
    down_until: AtomicU64,
    started: Instant,
    keep_alive: Duration,
    shelves: Box<[Shelf]>,
}

/// The connections of one worker.
#[derive(Default)]
struct Shelf {
    idle: Mutex<VecDeque<Idle>>,
    shared: Mutex<Option<Shared>>,
}

impl Shelf {
    fn kept(&self) -> usize {
        locked(&self.idle).len() + usize::from(locked(&self.shared).is_some())
    }
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: Instant,
}

struct Shared {
    sender: http2::SendRequest<Body>,
    used: Instant,
}

impl Shared {
    fn is_usable(&self, keep_alive: Duration) -> bool {
        self.sender.is_ready() && self.used.elapsed() < keep_alive
    }
}

/// The way into a connection.
pub(super) enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
    /// HTTP/2 to a server that lets WebSockets be opened, for the one that is to be.
    WebSocket(http2::SendRequest<Body>),
}

/// One server as metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSnapshot {
    pub name: Arc<str>,
    /// Requests sent whose answer has not ended.
    pub in_flight: usize,
    /// Connections kept for the next request.
    pub idle: usize,
    /// Connects that failed since the pool was built.
    pub failures: u64,
    /// False shortly after a connect failed.
    pub up: bool,
}

impl Server {
    pub(super) fn new(
        name: &str,
        path: Option<Path>,
        weight: u32,
        keep_alive: Duration,
        workers: usize,
    ) -> Self {
        Self {
            name: name.into(),
            path,
            weight: weight.max(1),
            in_flight: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
            down_until: AtomicU64::new(0),
            started: Instant::now(),
            keep_alive,
            shelves: (0..workers.max(1)).map(|_| Shelf::default()).collect(),
        }
    }

    fn shelf(&self, worker: &Worker) -> Option<&Shelf> {
        // A pool is built for all workers; the remainder only keeps a mistake there harmless.
        self.shelves.get(worker.index % self.shelves.len().max(1))
    }

    /// A connection of `worker`'s that a request can be sent on now.
    pub(super) fn take(&self, worker: &Worker) -> Option<Sender> {
        let shelf = self.shelf(worker)?;
        if let Some(shared) = &mut *locked(&shelf.shared)
            && shared.is_usable(self.keep_alive)
        {
            shared.used = Instant::now();
            return Some(Sender::Http2(shared.sender.clone()));
        }
        let mut idle = locked(&shelf.idle);
        while let Some(freshest) = idle.pop_back() {
            if freshest.since.elapsed() >= self.keep_alive {
                // All below it are older still.
                idle.clear();
            } else if freshest.sender.is_ready() {
                return Some(Sender::Http1(freshest.sender));
            }
        }
        None
    }

    /// Lets later requests of `worker` share `sender`.
    pub(super) fn share(&self, worker: &Worker, sender: &http2::SendRequest<Body>) {
        if let Some(shelf) = self.shelf(worker) {
            let mut shared = locked(&shelf.shared);
            // Of two that were opened at the same time the first stays.
            if !shared.as_ref().is_some_and(|shared| shared.is_usable(self.keep_alive)) {
                *shared = Some(Shared { sender: sender.clone(), used: Instant::now() });
            }
        }
    }

    fn keep(&self, worker: &Worker, sender: http1::SendRequest<Body>) {
        let Some(shelf) = self.shelf(worker) else { return };
        let mut idle = locked(&shelf.idle);
        while idle.front().is_some_and(|oldest| {
            oldest.since.elapsed() >= self.keep_alive || idle.len() >= MAX_IDLE
        }) {
            idle.pop_front();
        }
        idle.push_back(Idle { sender, since: Instant::now() });
    }

    /// Keeps an HTTP/1.1 connection whose answer has ended for the next request.
    pub(super) fn give_back(self: Arc<Self>, worker: &Arc<Worker>, sender: Sender) {
        let Sender::Http1(mut sender) = sender else { return };
        if sender.is_ready() {
            self.keep(worker, sender);
        } else if !sender.is_closed() {
            let at = worker.clone();
            worker.spawn_detached(async move {
                let ready = tokio::time::timeout(READY_WITHIN, sender.ready()).await;
                if matches!(ready, Ok(Ok(()))) {
                    self.keep(&at, sender);
                }
            });
        }
    }

    /// Drops connections that were not used for too long or that the server closed.
    pub(super) fn sweep(&self) {
        for shelf in &self.shelves {
            locked(&shelf.idle)
                .retain(|idle| idle.since.elapsed() < self.keep_alive && idle.sender.is_ready());
            locked(&shelf.shared).take_if(|shared| !shared.is_usable(self.keep_alive));
        }
    }

    /// Notes that no connection could be made.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let until = millis(self.started.elapsed() + DOWN_FOR);
        self.down_until.store(until, Ordering::Relaxed);
    }

    /// Notes that a connection was made.
    pub(super) fn connected(&self) {
        self.down_until.store(0, Ordering::Relaxed);
    }

    /// False shortly after a connect failed.
    pub(super) fn is_up(&self) -> bool {
        // A server that never failed costs no look at the clock.
        match self.down_until.load(Ordering::Relaxed) {
            0 => true,
            until => millis(self.started.elapsed()) >= until,
        }
    }

    /// Requests in flight, in relation to the server's weight.
    pub(super) fn load(&self) -> usize {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        in_flight.saturating_mul(1024) / usize::try_from(self.weight).unwrap_or(1)
    }

    pub(super) fn snapshot(&self) -> ServerSnapshot {
        ServerSnapshot {
            name: self.name.clone(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            idle: self.shelves.iter().map(Shelf::kept).sum(),
            failures: self.failures.load(Ordering::Relaxed),
            up: self.is_up(),
        }
    }
}

/// Counts a request as in flight until dropped.
pub(super) struct InFlight(Arc<Server>);

impl InFlight {
    pub(super) fn start(server: &Arc<Server>) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(server.clone())
    }

    pub(super) fn server(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
