//! A limit on the connections to one server, with a queue for requests that must wait.
//!
//! A permit lives as long as its socket, tunnels included. Kept connections are one list for all
//! workers. A request that finds neither a connection nor a permit waits in a FIFO queue with a
//! bound on its length and on the waiting time. A connection or permit that becomes free is handed
//! directly to the first waiter, so that no later request can take it. `server` and `attempt` are
//! the callers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::pooled::{CheckedOut, IdleConnection, PooledConnection};

/// The limit and the queue of one server.
pub(in crate::upstream) struct ConnectionLimiter {
    limit: usize,
    queue: usize,
    patience: Duration,
    state: Mutex<LimiterState>,
}

#[derive(Default)]
struct LimiterState {
    /// Permits given out.
    open: usize,
    /// HTTP/1.1 connections, the one used last at the back.
    idle: VecDeque<IdleConnection>,
    /// HTTP/2 connections, which requests share.
    shared: Vec<IdleConnection>,
    waiting: VecDeque<oneshot::Sender<AcquiredSlot>>,
}

/// The result of waiting for a turn.
pub(in crate::upstream) enum AcquiredSlot {
    /// A connection that is ready for a request.
    Use(CheckedOut),
    /// The permission to open a connection.
    Connect(ConnectionPermit),
}

/// The reasons for which a request gets no turn.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum AcquireError {
    /// The queue is full.
    Full,
    /// The waiting time is over.
    Late,
}

/// The permission to have one connection open. Dropping it gives the permission to the next waiter.
pub(in crate::upstream) struct ConnectionPermit(Option<Arc<ConnectionLimiter>>);

impl ConnectionLimiter {
    /// A limit of `limit` connections, with at most `queue` waiting requests, each for `patience`.
    pub(in crate::upstream) fn new(limit: usize, queue: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { limit, queue, patience, state: Mutex::default() })
    }

    /// Waits for a connection or for the permission to open one, at most until `deadline`. With
    /// `fresh` the kept connections are dropped first, because one of them was found closed.
    ///
    /// # Errors
    /// The queue is full, or the waiting time is over.
    pub(in crate::upstream) async fn turn(
        self: &Arc<Self>,
        fresh: bool,
        usable: impl Fn(&IdleConnection, Instant) -> bool,
        deadline: Option<Instant>,
    ) -> Result<AcquiredSlot, AcquireError> {
        let turn = {
            let mut state = self.state.lock();
            if fresh {
                state.idle.clear();
                state.shared.clear();
            }
            if let Some(taken) = state.take(usable) {
                return Ok(AcquiredSlot::Use(taken));
            }
            if state.open < self.limit {
                state.open += 1;
                return Ok(AcquiredSlot::Connect(ConnectionPermit(Some(self.clone()))));
            }
            // Waiters that have given up still occupy the queue. They are removed only if it is
            // full, so that the usual call does not scan it.
            if state.waiting.len() >= self.queue {
                state.waiting.retain(|waiting| !waiting.is_closed());
            }
            if state.waiting.len() >= self.queue {
                return Err(AcquireError::Full);
            }
            let (give, turn) = oneshot::channel();
            state.waiting.push_back(give);
            turn
        };
        // If a turn is handed over at the moment in which the time ends, then it is dropped with
        // the receiver. Dropping a permit releases it to the next waiter, so no turn is lost. The
        // same holds for a client that goes away while its request waits.
        let until = Instant::now() + self.patience;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        timeout_at(until, turn).await.ok().and_then(Result::ok).ok_or(AcquireError::Late)
    }

    /// True if a request would not have to wait.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.open < self.limit || !state.idle.is_empty() || !state.shared.is_empty()
    }

    /// Keeps a connection that is ready, or hands it to the first waiter.
    pub(in crate::upstream) fn keep(&self, mut connection: PooledConnection) {
        let mut state = self.state.lock();
        while let Some(first) = state.waiting.pop_front() {
            // `send` fails if the waiter has given up. It then returns the connection, which goes
            // to the next waiter.
            match first.send(AcquiredSlot::Use(CheckedOut::at_once(connection))) {
                Ok(()) => return,
                Err(AcquiredSlot::Use(back)) => connection = back.connection,
                Err(AcquiredSlot::Connect(_)) => return,
            }
        }
        state.idle.push_back(IdleConnection::now(connection));
    }

    /// Lets all requests share a new HTTP/2 connection. Everyone who waits gets a handle to it at
    /// once. The waiters need no permit of their own, because they open no connection.
    pub(in crate::upstream) fn share(&self, connection: &PooledConnection) {
        let Some(copy) = connection.shared() else { return };
        let mut state = self.state.lock();
        for waiting in state.waiting.drain(..) {
            let Some(copy) = connection.shared() else { continue };
            // `send` fails if the waiter has given up; the handle is then dropped.
            let _ = waiting.send(AcquiredSlot::Use(CheckedOut::at_once(copy)));
        }
        state.shared.push(IdleConnection::now(copy));
    }

    /// Drops the connections that are not `usable`.
    pub(in crate::upstream) fn sweep(&self, usable: impl Fn(&IdleConnection, Instant) -> bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.idle.retain(|idle| usable(idle, now));
        state.shared.retain(|shared| usable(shared, now));
    }

    /// The number of kept connections, and of requests that wait.
    pub(in crate::upstream) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        let waiting = state.waiting.iter().filter(|waiting| !waiting.is_closed()).count();
        (state.idle.len() + state.shared.len(), waiting)
    }

    /// Hands the permission of a closed connection to the first waiter, or makes it available. The
    /// count of open connections stays the same if it is handed over, so a new request cannot take
    /// the place.
    fn released(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let mut permit = ConnectionPermit(Some(self.clone()));
        while let Some(first) = state.waiting.pop_front() {
            match first.send(AcquiredSlot::Connect(permit)) {
                Ok(()) => return,
                Err(AcquiredSlot::Connect(back)) => permit = back,
                Err(AcquiredSlot::Use(_)) => return,
            }
        }
        // The permit is emptied before it is dropped. Its `drop` would otherwise call this function
        // again, which would wait for ever for the lock that is taken here.
        permit.0 = None;
        state.open = state.open.saturating_sub(1);
    }
}

impl LimiterState {
    /// A kept connection that can be used now. Unusable ones are dropped on the way. HTTP/2 comes
    /// first, because a shared connection takes no permit from others.
    fn take(&mut self, usable: impl Fn(&IdleConnection, Instant) -> bool) -> Option<CheckedOut> {
        let now = Instant::now();
        self.shared.retain(|shared| usable(shared, now));
        if let Some(shared) = self.shared.first_mut() {
            let copy = shared.connection.shared();
            shared.since = now;
            return copy.map(CheckedOut::at_once);
        }
        while let Some(freshest) = self.idle.pop_back() {
            if usable(&freshest, now) {
                return Some(freshest.take(now));
            }
        }
        None
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(desk) = self.0.take() {
            desk.released();
        }
    }
}

impl fmt::Debug for ConnectionPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
