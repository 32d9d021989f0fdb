//! The part of a pool that a dry run needs: the place where its request ends.
//!
//! A pool for a dry run has the servers of a real one, with their present conditions, and no way to
//! any of them. `forward` keeps the request here that it would have written.

use std::sync::Arc;

use http::header::HeaderMap;
use http::{Method, Version};
use parking_lot::Mutex;

use super::server::PoolServer;
use crate::settings::{ServerAddress, UpstreamSettings};

/// A request as a server would have received it.
#[derive(Clone, Debug)]
pub struct CapturedRequest {
    pub server: Arc<str>,
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub version: Version,
    pub headers: HeaderMap,
    /// True if the gateway would log in at the upstream first. The fields of that login are not
    /// among `headers`.
    pub lacks_login: bool,
}

/// The place where the request of a dry run ends.
#[derive(Debug)]
pub(in crate::upstream) struct DryRunEnd {
    /// The servers that are reached by TLS.
    encrypted: Vec<String>,
    state: Mutex<DryRunState>,
}

#[derive(Debug, Default)]
struct DryRunState {
    lacks_login: bool,
    captured: Option<CapturedRequest>,
}

impl DryRunEnd {
    pub(super) fn new(config: &UpstreamSettings) -> Self {
        let servers = config.servers.iter();
        let encrypted =
            servers.filter(|one| matches!(one.address, ServerAddress::Tcp { tls: true, .. }));
        let encrypted = encrypted.map(|one| one.name.clone()).collect();
        Self { encrypted, state: Mutex::default() }
    }

    /// True if the real server is reached by TLS.
    pub(in crate::upstream) fn is_encrypted(&self, server: &PoolServer) -> bool {
        self.encrypted.iter().any(|name| **name == *server.name)
    }

    /// Notes that a login at the upstream was left out.
    pub(in crate::upstream) fn leave_login_out(&self) {
        self.state.lock().lacks_login = true;
    }

    /// Keeps the request.
    pub(in crate::upstream) fn keep(&self, request: CapturedRequest) {
        let mut state = self.state.lock();
        let lacks_login = state.lacks_login;
        state.captured = Some(CapturedRequest { lacks_login, ..request });
    }

    /// The request, if one came this far.
    pub(super) fn take(&self) -> Option<CapturedRequest> {
        self.state.lock().captured.take()
    }
}
