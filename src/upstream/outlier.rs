//! Servers that fail requests are left out for a while.
//!
//! What counts is a row: so many answers of 5xx, failed connects, resets and timeouts with no
//! success between them. It is a guess from what requests met, so it never takes out more than
//! half of a pool, counting what checks took out already: a pool whose every server fails has a
//! fault that no choice of server mends.

use std::sync::Mutex;

use http::StatusCode;

use super::pool::Pool;
use super::server::Server;
use crate::config;

/// When servers are ejected.
pub(super) struct Outliers {
    settings: config::Outlier,
    /// One decision at a time, or two could together take more than half.
    deciding: Mutex<()>,
}

impl Outliers {
    pub(super) fn new(settings: config::Outlier) -> Self {
        Self { settings, deciding: Mutex::new(()) }
    }
}

impl Pool {
    /// Notes what a server answered.
    pub(super) fn answered(&self, server: &Server, status: StatusCode) {
        match status.is_server_error() {
            true => self.failed(server),
            false => server.state.succeeded(),
        }
    }

    /// Notes that no connection could be made to a server.
    pub(super) fn unreachable(&self, server: &Server) {
        server.unreachable(self.clock.now());
        self.failed(server);
    }

    /// Notes that a server gave no answer, or one that is none.
    pub(super) fn failed(&self, server: &Server) {
        let Some(outliers) = &self.outliers else { return };
        if server.state.failed() < outliers.settings.failures {
            return;
        }
        // Whoever finds it taken need not wait: the next failure asks again.
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
