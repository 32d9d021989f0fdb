//! Decides whether requests on kept connections to a server need a copy.
//!
//! A request that is written just when the server closes the connection is lost, and only a copy of
//! it can be sent again. A copy of every request would cost about 3 % of its work. Copies are
//! therefore made only while a server is new, and for a while after it closed a connection without
//! announcing that. `server` records the closes; `forward` asks before sending.

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of requests on kept connections that must succeed in a row before copies end. A
/// server that closes one connection in a thousand is practically certain to close one within so
/// many.
///
/// The price is the first unannounced close after that: a request that is under way at this moment
/// is lost, as it would be without copies.
const PROBATION: u32 = 10_000;

/// The record of one server, shared by all workers.
pub(in crate::upstream) struct ReuseTrust {
    /// Requests on kept connections that must still succeed.
    left: AtomicU32,
}

impl ReuseTrust {
    /// A new server, about which nothing is known.
    pub(super) fn new() -> Self {
        Self { left: AtomicU32::new(PROBATION) }
    }

    /// Counts a request on a kept connection; true if it should be copied. It writes only during
    /// the probation: writing for each request would move the cache line from core to core.
    pub(in crate::upstream) fn needs_copy(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return false;
        }
        // Two concurrent requests may count as one. The probation then takes a little longer, which
        // does no harm. An exact count would need an atomic subtraction, which costs more.
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        true
    }

    /// Records that the server closed a kept connection without announcing it. The probation begins
    /// again. `Relaxed` order is enough for all uses: the count is a hint, and no other data
    /// depends on it.
    pub(in crate::upstream) fn broken(&self) {
        if self.left.load(Ordering::Relaxed) != PROBATION {
            self.left.store(PROBATION, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_end_once_connections_have_held_and_begin_again_when_one_does_not() {
        let trust = ReuseTrust::new();
        let copied = || (0..20_000).filter(|_| trust.needs_copy()).count();

        assert_eq!(copied(), 10_000);
        assert_eq!(copied(), 0);

        trust.broken();
        assert_eq!(copied(), 10_000);
    }
}
