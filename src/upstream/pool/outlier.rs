//! Outlier ejection: servers that fail requests are left out for a while (passive health check).
//!
//! A server is ejected after a number of failures in a row: 5xx answers, failed connects, resets
//! and timeouts with no success between them. That is a guess, so at most half of a pool is out at
//! a time, including servers that fail their checks. If every server of a pool fails, then the
//! fault is elsewhere, and ejecting servers would not help. `forward` reports the
//! results to the pool, which is the caller.

use std::sync::Arc;

use parking_lot::Mutex;

use super::server::PoolServer;
use crate::clock::Clock;
use crate::settings;

/// The settings and the lock of one pool's ejections.
pub(super) struct OutlierDetector {
    settings: settings::OutlierSettings,
    /// Allows one decision at a time. Two concurrent decisions could each find half of the pool in
    /// use and together eject more.
    deciding: Mutex<()>,
}

impl OutlierDetector {
    /// No server is ejected yet.
    pub(super) fn new(settings: settings::OutlierSettings) -> Self {
        Self { settings, deciding: Mutex::new(()) }
    }

    /// Records that `server`, one of `servers`, gave no answer or an invalid one. Ejects it if it
    /// has failed often enough and at most half of the servers are then out.
    pub(super) fn failed(&self, server: &PoolServer, servers: &[Arc<PoolServer>], clock: &Clock) {
        if server.state.failed() < self.settings.failures {
            return;
        }
        // If another thread is deciding, this one does not wait: the next failure of the server
        // decides again.
        let Some(_alone) = self.deciding.try_lock() else { return };
        let now = clock.now();
        if server.state.is_out(now) {
            return;
        }
        let out = servers.iter().filter(|server| server.state.is_out(now)).count();
        if (out + 1) * 2 <= servers.len() {
            server.state.eject(&self.settings, now);
        }
    }
}
