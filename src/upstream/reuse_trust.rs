//! Whether the kept connections of a server hold, or may be closed without a word.
//!
//! A request that is written on a connection just when the server closes it is lost, and only a copy
//! of it can be sent again. A copy of every request would cost each of them some 3 % of its work; so
//! copies are made while a server is new, and for as long as it has been seen to close connections
//! that it did not say it would close.

use std::sync::atomic::{AtomicU32, Ordering};

/// Requests on kept connections in a row that have to go well before no more copies are made: a
/// server that closes one connection in a thousand has hardly ever closed none within so many.
///
/// The price is the first close after that, by a server that never did so before: a request which
/// is on its way just then is lost, as it would be without this.
const PROBATION: u32 = 10_000;

/// What is known of one server, shared by all workers.
pub(super) struct ReuseTrust {
    /// Requests on kept connections that still have to go well.
    left: AtomicU32,
}

impl ReuseTrust {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { left: AtomicU32::new(PROBATION) }
    }

    /// Counts a request on a kept connection; true if it should be copied. Written only while there
    /// is doubt: the usual case must not take the cache line from other cores.
    pub(super) fn needs_copy(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return false;
        }
        // Two at once may count as one: the probation is only longer for it.
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        true
    }

    /// A kept connection was closed by the server although nothing had said so.
    pub(super) fn broken(&self) {
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
