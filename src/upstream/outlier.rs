//! Outlier ejection: servers that fail requests are left out for a while (passive health check).
//!
//! A server is ejected after a number of failures in a row: 5xx answers, failed connects, resets
//! and timeouts with no success between them. That is a guess, so at most half of a pool is out at
//! a time, including servers that fail their checks. If every server of a pool fails, then the
//! fault is elsewhere, and ejecting servers would not help. `attempt` reports the results.

use std::sync::Mutex;

use http::StatusCode;

use super::pool::UpstreamPool;
use super::server::PoolServer;
use crate::config;

/// The settings and the lock of one pool's ejections.
pub(super) struct OutlierDetector {
    settings: config::OutlierSettings,
    /// Allows one decision at a time. Two concurrent decisions could each find half of the pool in
    /// use and together eject more.
    deciding: Mutex<()>,
}

impl OutlierDetector {
    /// No server is ejected yet.
    pub(super) fn new(settings: config::OutlierSettings) -> Self {
        Self { settings, deciding: Mutex::new(()) }
    }
}

impl UpstreamPool {
    /// Records the status of a server's answer.
    pub(super) fn answered(&self, server: &PoolServer, status: StatusCode) {
        match status.is_server_error() {
            true => self.failed(server),
            false => server.state.succeeded(),
        }
    }

    /// Records that no connection to a server could be made.
    pub(super) fn unreachable(&self, server: &PoolServer) {
        server.unreachable(self.clock.now());
        self.failed(server);
    }

    /// Records that a server gave no answer or an invalid one. Ejects the server if it has failed
    /// often enough and at most half of the pool is then out. Without ejections in the
    /// configuration nothing is recorded.
    pub(super) fn failed(&self, server: &PoolServer) {
        let Some(outliers) = &self.outliers else { return };
        if server.state.failed() < outliers.settings.failures {
            return;
        }
        // If another thread is deciding, this one does not wait: the next failure of the server
        // decides again.
        let Ok(_alone) = outliers.deciding.try_lock() else { return };
        let now = self.clock.now();
        if server.state.is_out(now) {
            return;
        }
        let out = self.servers.iter().filter(|server| server.state.is_out(now)).count();
        if (out + 1) * 2 <= self.servers.len() {
            server.state.eject(&outliers.settings, now);
        }
    }
}
