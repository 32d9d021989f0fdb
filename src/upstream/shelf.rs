//! The connections that one worker keeps to a server.
//!
//! HTTP/1.1 connections wait in a stack, the freshest on top, so that a burst's extra connections
//! age at the bottom; of HTTP/2 connections one is shared by the worker's requests.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::time::Instant;

use super::link::{Kept, Link, Taken};
use super::server::locked;

/// Kept connections per worker and server. More would only be used by a burst larger than this.
const MAX_IDLE: usize = 256;

#[derive(Default)]
pub(super) struct Shelf {
    idle: Mutex<VecDeque<Kept>>,
    shared: Mutex<Option<Kept>>,
}

impl Shelf {
    /// A connection that a request can be sent on now.
    pub(super) fn take(&self, usable: impl Fn(&Kept, Instant) -> bool) -> Option<Taken> {
        let now = Instant::now();
        if let Some(shared) = &mut *locked(&self.shared)
            && usable(shared, now)
        {
            shared.since = now;
            return shared.link.shared().map(Taken::at_once);
        }
        let mut idle = locked(&self.idle);
        while let Some(freshest) = idle.pop_back() {
            if usable(&freshest, now) {
                return Some(freshest.take(now));
            }
        }
        None
    }

    /// Lets later requests share the HTTP/2 connection `link`.
    pub(super) fn share(&self, link: &Link, usable: impl Fn(&Kept, Instant) -> bool) {
        let now = Instant::now();
        let mut shared = locked(&self.shared);
        // Of two that were opened at the same time the first stays.
        if !shared.as_ref().is_some_and(|shared| usable(shared, now)) {
            *shared = link.shared().map(Kept::now);
        }
    }

    pub(super) fn keep(&self, link: Link) {
        let mut idle = locked(&self.idle);
        if idle.len() >= MAX_IDLE {
            idle.pop_front();
        }
        idle.push_back(Kept::now(link));
    }

    /// Drops the connections that are not `usable`.
    pub(super) fn sweep(&self, usable: impl Fn(&Kept, Instant) -> bool) {
        let now = Instant::now();
        locked(&self.idle).retain(|idle| usable(idle, now));
        locked(&self.shared).take_if(|shared| !usable(shared, now));
    }

    pub(super) fn kept(&self) -> usize {
        locked(&self.idle).len() + usize::from(locked(&self.shared).is_some())
    }
}
