//! The connections that one worker keeps to one server.
//!
//! HTTP/1.1 connections are a stack (LIFO): the one used last is taken first, so that the extra
//! connections of a burst age at the bottom and are dropped. Of HTTP/2 connections there is one,
//! which the worker's requests share. `server` is the caller.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::pooled::{CheckedOut, IdleConnection, PooledConnection};

/// Upper bound of kept connections per worker and server. Only a burst larger than this would use
/// more. Each kept connection costs a socket on both sides.
const MAX_IDLE: usize = 256;

/// The kept connections. The locks are only contended by `sweep` and the metrics, since requests of
/// one worker run on one thread.
#[derive(Default)]
pub(in crate::upstream) struct IdleConnections {
    idle: Mutex<VecDeque<IdleConnection>>,
    shared: Mutex<Option<IdleConnection>>,
}

impl IdleConnections {
    /// A connection on which a request can be sent now.
    pub(in crate::upstream) fn take(
        &self,
        usable: impl Fn(&IdleConnection, Instant) -> bool,
    ) -> Option<CheckedOut> {
        let now = Instant::now();
        if let Some(shared) = &mut *self.shared.lock()
            && usable(shared, now)
        {
            shared.since = now;
            return shared.connection.shared().map(CheckedOut::at_once);
        }
        let mut idle = self.idle.lock();
        while let Some(freshest) = idle.pop_back() {
            if usable(&freshest, now) {
                return Some(freshest.take(now));
            }
        }
        None
    }

    /// Lets later requests share the HTTP/2 connection `connection`.
    pub(in crate::upstream) fn share(
        &self,
        connection: &PooledConnection,
        usable: impl Fn(&IdleConnection, Instant) -> bool,
    ) {
        let now = Instant::now();
        let mut shared = self.shared.lock();
        // Two requests without a connection may open one each at the same time. The first one stays
        // the shared one; the second serves its own request and ends.
        if !shared.as_ref().is_some_and(|shared| usable(shared, now)) {
            *shared = connection.shared().map(IdleConnection::now);
        }
    }

    /// Keeps an HTTP/1.1 connection. Beyond the bound the oldest one is dropped. It has been unused
    /// for the longest time, so the server is most likely to close it soon.
    pub(in crate::upstream) fn keep(&self, connection: PooledConnection) {
        let mut idle = self.idle.lock();
        if idle.len() >= MAX_IDLE {
            idle.pop_front();
        }
        idle.push_back(IdleConnection::now(connection));
    }

    /// Drops the connections that are not `usable`.
    pub(in crate::upstream) fn sweep(&self, usable: impl Fn(&IdleConnection, Instant) -> bool) {
        let now = Instant::now();
        self.idle.lock().retain(|idle| usable(idle, now));
        self.shared.lock().take_if(|shared| !usable(shared, now));
    }

    /// The number of kept connections.
    pub(in crate::upstream) fn kept(&self) -> usize {
        self.idle.lock().len() + usize::from(self.shared.lock().is_some())
    }
}
