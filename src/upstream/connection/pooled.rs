//! An open connection as the pool handles it: its sender, and how long it may be kept.
//!
//! If an upstream states how long it waits for the next request (`Keep-Alive: timeout=5`), the
//! connection is dropped a second earlier. A connection to an address that its name does not
//! resolve to any more is not reused. `idle` and `limit` keep these connections.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use crate::body::Body;

/// The sending half of a connection.
pub(in crate::upstream) enum RequestSender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
    /// HTTP/2 with extended CONNECT, for the one WebSocket that will be opened on it.
    WebSocket(http2::SendRequest<Body>),
}

/// Margin for the transit time and for the difference between two machines' timers.
const MARGIN: Duration = Duration::from_secs(1);

/// An open connection.
pub(in crate::upstream) struct PooledConnection {
    pub(in crate::upstream) sender: RequestSender,
    /// The address that it leads to, if a name was resolved for it.
    pub(in crate::upstream) address: Option<ResolvedAddress>,
    /// How long the connection may stay unused.
    keep: Duration,
    /// True until the first answer.
    new: bool,
}

/// An address, with the resolver's epoch at which it was valid.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct ResolvedAddress {
    pub(super) ip: IpAddr,
    /// The resolver's epoch at which the address was valid; `NameResolver::is_current` compares it.
    pub(super) epoch: u32,
}

impl PooledConnection {
    /// A new connection, which may stay unused for `keep`.
    pub(super) fn new(
        sender: RequestSender,
        address: Option<ResolvedAddress>,
        keep: Duration,
    ) -> Self {
        Self { sender, address, keep, new: true }
    }

    /// Another handle to the same connection, if it is HTTP/2, so that requests can share it.
    pub(super) fn shared(&self) -> Option<Self> {
        let RequestSender::Http2(sender) = &self.sender else { return None };
        let sender = RequestSender::Http2(sender.clone());
        Some(Self { sender, address: self.address, keep: self.keep, new: false })
    }

    /// False if the connection is closed, or an HTTP/1.1 request is still under way on it. hyper
    /// knows of a close only after its driver has read it, so a connection can still turn out to be
    /// closed when a request is written.
    pub(in crate::upstream) fn is_ready(&self) -> bool {
        match &self.sender {
            RequestSender::Http1(sender) => sender.is_ready(),
            RequestSender::Http2(sender) | RequestSender::WebSocket(sender) => sender.is_ready(),
        }
    }

    /// Reads from the first answer how long the upstream keeps the connection. Later answers repeat
    /// the same value, so they are not read. The request that arrives after the upstream's limit
    /// would be lost, hence the margin.
    pub(in crate::upstream) fn apply_keep_alive(&mut self, answer: &HeaderMap) {
        if std::mem::take(&mut self.new)
            && let Some(timeout) = keep_alive_timeout(answer)
        {
            self.keep = self.keep.min(timeout.saturating_sub(MARGIN));
        }
    }
}

/// The `timeout` parameter of a `Keep-Alive` field.
fn keep_alive_timeout(answer: &HeaderMap) -> Option<Duration> {
    let keep_alive = answer.get("keep-alive")?.to_str().ok()?;
    let seconds = keep_alive.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

/// A kept connection: an unused one, or one that requests share.
pub(in crate::upstream) struct IdleConnection {
    pub(in crate::upstream) connection: PooledConnection,
    pub(super) since: Instant,
}

/// A connection that was taken from the kept ones.
pub(in crate::upstream) struct CheckedOut {
    pub(in crate::upstream) connection: PooledConnection,
    /// How long it was unused.
    pub(in crate::upstream) unused: Duration,
}

impl IdleConnection {
    /// Keeps a connection from now on.
    pub(super) fn now(connection: PooledConnection) -> Self {
        Self { connection, since: Instant::now() }
    }

    /// True if the connection was not unused for too long.
    pub(in crate::upstream) fn is_fresh(&self, now: Instant) -> bool {
        now - self.since < self.connection.keep
    }

    /// Takes the connection for a request.
    pub(super) fn take(self, now: Instant) -> CheckedOut {
        CheckedOut { connection: self.connection, unused: now - self.since }
    }
}

impl CheckedOut {
    /// A connection that was handed from one request to the next without a pause.
    pub(super) fn at_once(connection: PooledConnection) -> Self {
        Self { connection, unused: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_says_of_its_patience_is_understood() {
        for (field, expected) in [
            ("timeout=5", Some(5)),
            ("max=100, Timeout = 7", Some(7)),
            ("timeout=0", Some(0)),
            ("timeout=soon", None),
            ("max=3", None),
            ("timeout=-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", field.parse().unwrap());
            assert_eq!(keep_alive_timeout(&headers), expected.map(Duration::from_secs), "{field}");
        }
    }
}
