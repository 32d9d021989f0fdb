//! The limits on a listener's connections, and the counters for metrics.
//!
//! A `ListenerPermit` is a place for one connection: in the listener's total, in the share of its
//! address, and in the load of its worker. It lives in the socket itself, so a tunnel that outlives
//! its HTTP connection still counts. `accept` takes permits; this file closes no connection itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::admission::{ClientShare, InFlightByClient};
use crate::runtime::Worker;
use crate::settings;

/// The reason why a handshake did not lead to a connection. It never contains text that the peer
/// chose. It is used as the label of a metric, so the number of values must be fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// Not complete within the listener's `handshake` timeout.
    Timeout,
    /// The client closed the connection.
    Closed,
    /// The received bytes were not TLS.
    NotTls,
    /// No version, cipher suite, key exchange or application protocol in common.
    Incompatible,
    /// The client's certificate was missing or not accepted.
    ClientCertificate,
    /// The client refused, most often because it does not trust the certificate.
    Alert,
    /// Any other violation of the protocol.
    Protocol,
    /// The required PROXY header was missing or malformed.
    ProxyHeader,
}

impl HandshakeFailure {
    /// All classes, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::Alert,
        Self::Protocol,
        Self::ProxyHeader,
    ];

    /// The class as the label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
            Self::ProxyHeader => "proxy_header",
        }
    }
}

/// Events that a listener counts, in addition to open connections and failed handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionEvent {
    /// Accepted connections.
    Accepted,
    /// Connections that were closed at once, because the listener was full.
    RefusedFull,
    /// Connections that were closed at once, because their address had used up its share.
    RefusedAddress,
    /// Connections that were passed to a worker with less to do.
    HandedOver,
    /// Connections that were cut, because the head of a request did not arrive in time.
    SlowHead,
    /// Connections and HTTP/2 streams that were cut, because the client did not take its answer.
    Stalled,
    /// Failed attempts to accept, for lack of descriptors or memory.
    AcceptFailed,
    /// Connections without the required PROXY header. Only the health path is answered to them.
    WithoutProxy,
}

impl ConnectionEvent {
    /// All events, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::RefusedFull,
        Self::RefusedAddress,
        Self::HandedOver,
        Self::SlowHead,
        Self::Stalled,
        Self::AcceptFailed,
        Self::WithoutProxy,
    ];

    /// The event as the label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RefusedFull => "refused_full",
            Self::RefusedAddress => "refused_address",
            Self::HandedOver => "handed_over",
            Self::SlowHead => "slow_head",
            Self::Stalled => "stalled",
            Self::AcceptFailed => "accept_failed",
            Self::WithoutProxy => "without_proxy",
        }
    }
}

/// The counters of one listener, which can be read at any time. Reading takes no lock; two counters
/// that are read one after the other may belong to two moments. The counters only grow, except for
/// the open connections.
#[derive(Clone, Debug)]
pub struct ListenerStats {
    listener: Arc<str>,
    gate: Arc<ConnectionLimits>,
}

impl ListenerStats {
    pub(super) fn new(listener: Arc<str>, gate: Arc<ConnectionLimits>) -> Self {
        Self { listener, gate }
    }

    /// The listener's name.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The number of open connections, tunnels included.
    pub fn open(&self) -> usize {
        self.gate.open.load(Ordering::Relaxed)
    }

    /// How often `what` has happened.
    pub fn count(&self, what: ConnectionEvent) -> u64 {
        self.gate.counter(what).load(Ordering::Relaxed)
    }

    /// How many handshakes have failed for this reason.
    pub fn handshake_failures(&self, why: HandshakeFailure) -> u64 {
        self.gate.failure(why).load(Ordering::Relaxed)
    }
}

/// The limits and counters of one listener, shared by all workers. It outlives a change of the
/// listener's settings, so that counters of metrics never go back and open connections stay
/// counted.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    limit: AtomicUsize,
    open: AtomicUsize,
    addresses: Arc<InFlightByClient>,
    counts: EventCounts,
    failures: EventCounts,
}

type EventCounts = [AtomicU64; 8];

impl ConnectionLimits {
    pub(super) fn new(limits: &settings::ListenerLimits) -> Self {
        Self {
            limit: AtomicUsize::new(limits.connections),
            open: AtomicUsize::new(0),
            addresses: InFlightByClient::new(limits.connections_per_address),
            counts: EventCounts::default(),
            failures: EventCounts::default(),
        }
    }

    /// Changes the limits. Connections over a lower limit stay until they end; only new ones are
    /// refused. The address shares are changed in the same way.
    pub(super) fn set_limits(&self, limits: &settings::ListenerLimits) {
        self.limit.store(limits.connections, Ordering::Relaxed);
        self.addresses.set_limit(limits.connections_per_address);
    }

    /// Takes a place for a connection of the address group `group`. `None` means that there is no
    /// place, which was counted. A `group` of `None` is not limited by address. The place is
    /// returned when the permit is dropped.
    pub(super) fn admit(self: &Arc<Self>, group: Option<IpAddr>) -> Option<ListenerPermit> {
        // The place is taken before the limit is compared: two workers that compared first could
        // both take the last place. A place that was taken in vain is returned at once.
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.count(ConnectionEvent::RefusedFull);
            return None;
        }
        // From here on, dropping the permit returns everything that was taken.
        let mut permit = ListenerPermit { gate: self.clone(), share: None, worker: None };
        if group.is_some_and(|group| !permit.share(group)) {
            return None;
        }
        self.count(ConnectionEvent::Accepted);
        Some(permit)
    }

    pub(super) fn count(&self, what: ConnectionEvent) {
        self.counter(what).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self, why: HandshakeFailure) {
        self.failure(why).fetch_add(1, Ordering::Relaxed);
    }

    fn counter(&self, what: ConnectionEvent) -> &AtomicU64 {
        let [accepted, full, address, handed, slow, stalled, failed, bare] = &self.counts;
        match what {
            ConnectionEvent::Accepted => accepted,
            ConnectionEvent::RefusedFull => full,
            ConnectionEvent::RefusedAddress => address,
            ConnectionEvent::HandedOver => handed,
            ConnectionEvent::SlowHead => slow,
            ConnectionEvent::Stalled => stalled,
            ConnectionEvent::AcceptFailed => failed,
            ConnectionEvent::WithoutProxy => bare,
        }
    }

    fn failure(&self, why: HandshakeFailure) -> &AtomicU64 {
        let [timeout, closed, not_tls, incompatible, certificate, alert, protocol, proxy] =
            &self.failures;
        match why {
            HandshakeFailure::Timeout => timeout,
            HandshakeFailure::Closed => closed,
            HandshakeFailure::NotTls => not_tls,
            HandshakeFailure::Incompatible => incompatible,
            HandshakeFailure::ClientCertificate => certificate,
            HandshakeFailure::Alert => alert,
            HandshakeFailure::Protocol => protocol,
            HandshakeFailure::ProxyHeader => proxy,
        }
    }
}

/// A place for one connection; dropping it returns the place. It is moved with the socket: into the
/// connection, into a tunnel, or to another worker.
#[derive(Debug)]
pub(super) struct ListenerPermit {
    gate: Arc<ConnectionLimits>,
    share: Option<ClientShare>,
    worker: Option<Arc<Worker>>,
}

impl ListenerPermit {
    /// Takes a place in the share of `group` as well; false if there is none, which was counted.
    /// Invariant: called at most once, by the code that knows the client's address first. For a
    /// connection through a proxy that is after the proxy's header.
    pub(super) fn share(&mut self, group: IpAddr) -> bool {
        self.share = self.gate.addresses.take(group);
        if self.share.is_none() {
            self.gate.count(ConnectionEvent::RefusedAddress);
        }
        self.share.is_some()
    }

    /// Counts the connection as load of `worker`, and no longer of the worker before it.
    pub(super) fn assign(&mut self, worker: &Arc<Worker>) {
        // The new worker is counted first: for a moment the connection counts twice, but never not
        // at all.
        worker.connections.fetch_add(1, Ordering::Relaxed);
        if let Some(former) = self.worker.replace(worker.clone()) {
            former.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for ListenerPermit {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(worker) = &self.worker {
            worker.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn gate(connections: usize, connections_per_address: usize) -> Arc<ConnectionLimits> {
        Arc::new(ConnectionLimits::new(&settings::ListenerLimits {
            connections,
            connections_per_address,
            header_bytes: 0,
            header_count: 0,
            uri_bytes: 0,
            streams: 0,
        }))
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn a_permit_given_back_makes_room_and_leaves_no_trace() {
        let gate = gate(10, 1);

        let first = gate.admit(address(1));
        assert!(first.is_some());
        assert!(gate.admit(address(1)).is_none(), "the address has its share");
        assert!(gate.admit(address(2)).is_some(), "another address has its own");
        assert_eq!(gate.open.load(Ordering::Relaxed), 1, "refused ones do not count as open");

        drop(first);
        assert!(gate.addresses.is_empty(), "addresses are forgotten with their last connection");
        assert!(gate.admit(address(1)).is_some());
    }

    #[test]
    fn connections_of_a_whole_site_are_counted_together() {
        let gate = gate(1000, 4);
        let mut kept = Vec::new();
        for subnet in 0..256_u16 {
            let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, subnet, 0, 0, 0, 1);
            kept.extend((0..4).filter_map(|_| gate.admit(Some(address.into()))));
        }

        assert_eq!(kept.len(), 8, "a /56 has twice what a /64 has, however many of them it holds");
        assert!(gate.admit("2001:db8:2::1".parse().ok()).is_some(), "another site");
    }

    #[test]
    fn the_total_holds_for_peers_without_an_address_too() {
        let gate = gate(2, 1);

        let kept: Vec<_> = (0..2).map(|_| gate.admit(None)).collect();

        assert!(kept.iter().all(Option::is_some), "no address, no share to use up");
        assert!(gate.admit(None).is_none());
        assert_eq!(gate.counter(ConnectionEvent::RefusedFull).load(Ordering::Relaxed), 1);
    }
}
