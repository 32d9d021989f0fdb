//! The connections to a server that takes only so many.
//!
//! A permit lives as long as its socket, tunnels included. Kept connections are one list for all
//! workers here, and whoever finds neither a connection nor a permit waits: first come, first
//! served, in a queue with a length and a time. What becomes free is handed to the first who
//! waits, so nobody who comes later can take it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::link::{Kept, Link, Taken};
use super::server::locked;

/// The limit and who waits for it; one for a server.
pub(super) struct Desk {
    limit: usize,
    queue: usize,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Permits given out.
    open: usize,
    /// HTTP/1.1, the freshest last.
    idle: VecDeque<Kept>,
    /// HTTP/2.
    shared: Vec<Kept>,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// What a request gets when it is its turn.
pub(super) enum Turn {
    /// A connection that is ready.
    Use(Taken),
    /// Leave to make one.
    Connect(Permit),
}

/// Why there is no turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// As many as may wait do already.
    Full,
    /// It did not come in time.
    Late,
}

/// Leave to have one connection open, until dropped.
pub(super) struct Permit(Option<Arc<Desk>>);

impl Desk {
    pub(super) fn new(limit: usize, queue: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { limit, queue, patience, state: Mutex::default() })
    }

    /// A connection, or leave to make one, waiting for either no longer than until `deadline`.
    /// With `fresh` the connections kept so far are given up: one of them was dead.
    pub(super) async fn turn(
        self: &Arc<Self>,
        fresh: bool,
        usable: impl Fn(&Kept, Instant) -> bool,
        deadline: Option<Instant>,
    ) -> Result<Turn, NoTurn> {
        let turn = {
            let mut state = locked(&self.state);
            if fresh {
                state.idle.clear();
                state.shared.clear();
            }
            if let Some(taken) = state.take(usable) {
                return Ok(Turn::Use(taken));
            }
            if state.open < self.limit {
                state.open += 1;
                return Ok(Turn::Connect(Permit(Some(self.clone()))));
            }
            // Who has left does not take the place of one who stays.
            if state.waiting.len() >= self.queue {
                state.waiting.retain(|waiting| !waiting.is_closed());
            }
            if state.waiting.len() >= self.queue {
                return Err(NoTurn::Full);
            }
            let (give, turn) = oneshot::channel();
            state.waiting.push_back(give);
            turn
        };
        let until = Instant::now() + self.patience;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        timeout_at(until, turn).await.ok().and_then(Result::ok).ok_or(NoTurn::Late)
    }

    /// True if a request would not have to wait.
    pub(super) fn has_room(&self) -> bool {
        let state = locked(&self.state);
        state.open < self.limit || !state.idle.is_empty() || !state.shared.is_empty()
    }

    /// Keeps a connection that is ready, unless somebody waits for it.
    pub(super) fn keep(&self, mut link: Link) {
        let mut state = locked(&self.state);
        while let Some(first) = state.waiting.pop_front() {
            match first.send(Turn::Use(Taken::at_once(link))) {
                Ok(()) => return,
                Err(Turn::Use(back)) => link = back.link,
                Err(Turn::Connect(_)) => return,
            }
        }
        state.idle.push_back(Kept::now(link));
    }

    /// Lets all requests share a new HTTP/2 connection.
    pub(super) fn share(&self, link: &Link) {
        let Some(copy) = link.shared() else { return };
        let mut state = locked(&self.state);
        for waiting in state.waiting.drain(..) {
            let Some(copy) = link.shared() else { continue };
            // Who has left needs none.
            let _ = waiting.send(Turn::Use(Taken::at_once(copy)));
        }
        state.shared.push(Kept::now(copy));
    }

    /// Drops the connections that are not `usable`.
    pub(super) fn sweep(&self, usable: impl Fn(&Kept, Instant) -> bool) {
        let now = Instant::now();
        let mut state = locked(&self.state);
        state.idle.retain(|idle| usable(idle, now));
        state.shared.retain(|shared| usable(shared, now));
    }

    /// Connections kept, and requests that wait.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = locked(&self.state);
        let waiting = state.waiting.iter().filter(|waiting| !waiting.is_closed()).count();
        (state.idle.len() + state.shared.len(), waiting)
    }

    fn released(self: &Arc<Self>) {
        let mut state = locked(&self.state);
        let mut permit = Permit(Some(self.clone()));
        while let Some(first) = state.waiting.pop_front() {
            match first.send(Turn::Connect(permit)) {
                Ok(()) => return,
                Err(Turn::Connect(back)) => permit = back,
                Err(Turn::Use(_)) => return,
            }
        }
        // Nobody's: it must not come back here.
        permit.0 = None;
        state.open = state.open.saturating_sub(1);
    }
}

impl State {
    fn take(&mut self, usable: impl Fn(&Kept, Instant) -> bool) -> Option<Taken> {
        let now = Instant::now();
        self.shared.retain(|shared| usable(shared, now));
        if let Some(shared) = self.shared.first_mut() {
            let copy = shared.link.shared();
            shared.since = now;
            return copy.map(Taken::at_once);
        }
        while let Some(freshest) = self.idle.pop_back() {
            if usable(&freshest, now) {
                return Some(freshest.take(now));
            }
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(desk) = self.0.take() {
            desk.released();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
