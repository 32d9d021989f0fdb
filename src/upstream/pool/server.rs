//! One server of a pool: its state, its counters, and the connections kept to it.
//!
//! All workers share the counters and the state. Kept connections belong to one worker and are
//! never used by another thread, so that workers do not contend for a lock. The exception is a
//! server with a limit on connections, whose connections all workers share. The pool creates the
//! servers; `forward` takes and returns connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::reuse_trust::ReuseTrust;
use super::state::{ServerCondition, ServerState};
use crate::clock::{Clock, Timestamp};
use crate::runtime::{BackgroundRuntime, Worker};
use crate::settings;
use crate::upstream::connection::{
    CheckedOut, ConnectionLimiter, IdleConnection, IdleConnections, PooledConnection,
    RequestSender, ServerEndpoint,
};

/// Upper bound of weights. Larger ones would make the balancing tables longer without use.
const MAX_WEIGHT: u32 = 100;

/// How long an answered connection may take to become ready again before it is dropped. It is not
/// ready while the rest of the request's body is still being sent.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// One server, shared by all workers.
pub(in crate::upstream) struct PoolServer {
    /// The name as written in the configuration.
    pub(in crate::upstream) name: Arc<str>,
    /// The way to the server; `None` for the built-in echo.
    pub(in crate::upstream) path: Option<ServerEndpoint>,
    pub(super) weight: u32,
    /// Used only if no primary server can be used.
    pub(super) backup: bool,
    pub(in crate::upstream) state: ServerState,
    /// The record of how reliable its kept connections are.
    pub(in crate::upstream) reuse: ReuseTrust,
    in_flight: AtomicUsize,
    failures: AtomicU64,
    kept: ServerConnections,
}

/// The place of the kept connections.
enum ServerConnections {
    /// No limit: each connection stays with the worker that made it.
    PerWorker(Box<[IdleConnections]>),
    /// A limit on connections: all workers share them.
    Limited(Arc<ConnectionLimiter>),
}

/// The state of one server for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSnapshot {
    pub name: Arc<str>,
    /// Requests that were sent and whose answers have not ended.
    pub in_flight: usize,
    /// Connections that are kept for later requests.
    pub idle: usize,
    /// Requests that wait for one of the limited connections.
    pub waiting: usize,
    /// Failed connection attempts since the pool was built.
    pub failures: u64,
    pub condition: ServerCondition,
}

impl PoolServer {
    /// A server of the pool with the settings `pool`. `path` is the way to it.
    pub(super) fn new(
        config: &settings::ServerSettings,
        path: Option<ServerEndpoint>,
        pool: &settings::UpstreamSettings,
        workers: usize,
    ) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        Self {
            state: ServerState::new(pool.name.as_str().into(), name.clone(), pool.care.slow_start),
            reuse: ReuseTrust::new(),
            name,
            path,
            weight: config.weight.clamp(1, MAX_WEIGHT),
            backup: config.backup,
            in_flight: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
            kept: match pool.calls.max_connections {
                Some(limit) => {
                    let queue = &pool.calls.queue;
                    ServerConnections::Limited(ConnectionLimiter::new(
                        limit,
                        queue.requests,
                        queue.timeout,
                    ))
                }
                None => ServerConnections::PerWorker(
                    (0..workers.max(1)).map(|_| IdleConnections::default()).collect(),
                ),
            },
        }
    }

    /// The limit of connections, if there is one.
    pub(in crate::upstream) fn desk(&self) -> Option<&Arc<ConnectionLimiter>> {
        match &self.kept {
            ServerConnections::Limited(desk) => Some(desk),
            ServerConnections::PerWorker(_) => None,
        }
    }

    /// False if a request would have to wait for a connection.
    pub(super) fn has_room(&self) -> bool {
        self.desk().is_none_or(|desk| desk.has_room())
    }

    /// The kept connections of a worker; `None` for a server with a limit. The list is the worker's
    /// own, so taking a connection needs no lock that other workers hold.
    fn shelf(&self, worker: &Worker) -> Option<&IdleConnections> {
        let ServerConnections::PerWorker(shelves) = &self.kept else { return None };
        // There is a shelf for each worker. The remainder only prevents a panic if that were ever
        // wrong.
        shelves.get(worker.index % shelves.len().max(1))
    }

    /// A kept connection of this worker on which a request can be sent now.
    pub(in crate::upstream) fn take(&self, worker: &Worker) -> Option<CheckedOut> {
        self.shelf(worker)?.take(|kept, now| self.is_usable(kept, now))
    }

    /// True if a request can be sent on `kept`. A connection that was closed while it was kept is
    /// recorded: it could have been closed under a request as well. Age and address are checked as
    /// well, because `sweep` runs only every few seconds.
    pub(in crate::upstream) fn is_usable(&self, kept: &IdleConnection, now: Instant) -> bool {
        if !kept.connection.is_ready() {
            self.reuse.broken();
            return false;
        }
        kept.is_fresh(now) && self.leads_here(&kept.connection)
    }

    /// False if the server's name does not resolve to the address of `connection` any more.
    fn leads_here(&self, connection: &PooledConnection) -> bool {
        match (connection.address, self.path.as_ref().and_then(ServerEndpoint::names)) {
            (Some(address), Some(names)) => names.is_current(address),
            _ => true,
        }
    }

    /// Lets later requests share `connection`, if it speaks HTTP/2.
    pub(in crate::upstream) fn share(&self, worker: &Worker, connection: &PooledConnection) {
        match (&self.kept, &connection.sender) {
            (_, RequestSender::Http1(_) | RequestSender::WebSocket(_)) => (),
            (ServerConnections::Limited(desk), RequestSender::Http2(_)) => desk.share(connection),
            (ServerConnections::PerWorker(_), RequestSender::Http2(_)) => {
                if let Some(shelf) = self.shelf(worker) {
                    shelf.share(connection, |kept, now| self.is_usable(kept, now));
                }
            }
        }
    }

    /// Keeps a connection, unless the server's name has moved to other addresses.
    fn keep(&self, worker: &Worker, connection: PooledConnection) {
        if !self.leads_here(&connection) {
            return;
        }
        match &self.kept {
            ServerConnections::Limited(desk) => desk.keep(connection),
            ServerConnections::PerWorker(_) => {
                if let Some(shelf) = self.shelf(worker) {
                    shelf.keep(connection);
                }
            }
        }
    }

    /// Keeps an HTTP/1.1 connection for the next request after its answer has ended.
    pub(in crate::upstream) fn give_back(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        mut connection: PooledConnection,
    ) {
        let RequestSender::Http1(sender) = &mut connection.sender else { return };
        if sender.is_ready() {
            self.keep(worker, connection);
        } else if sender.is_closed() {
            self.reuse.broken();
        } else {
            // The server answered before it had read the whole request body. The connection is
            // usable again once the rest was sent, so a task waits for that, within a limit.
            // Without the task, such a connection would be dropped although it is healthy.
            let server = self.clone();
            let at = worker.clone();
            worker.spawn_detached(async move {
                let RequestSender::Http1(sender) = &mut connection.sender else { return };
                let ready = tokio::time::timeout(READY_WITHIN, sender.ready()).await;
                match ready {
                    Ok(Ok(())) => server.keep(&at, connection),
                    Ok(Err(_)) => server.reuse.broken(),
                    Err(_) => (),
                }
            });
        }
    }

    /// Drops connections that are too old, closed, or lead to a former address; resolves the
    /// server's name again if it is due. It checks all kept connections with the same rule as a
    /// request does.
    pub(super) fn sweep(&self, background: &BackgroundRuntime) {
        match &self.kept {
            ServerConnections::Limited(desk) => desk.sweep(|kept, now| self.is_usable(kept, now)),
            ServerConnections::PerWorker(shelves) => {
                shelves.iter().for_each(|shelf| shelf.sweep(|kept, now| self.is_usable(kept, now)));
            }
        }
        // A name is resolved in the background only while the server is used. Otherwise every
        // configured name would cause DNS queries for ever.
        let in_use = || self.in_flight.load(Ordering::Relaxed) > 0 || self.connections().0 > 0;
        if let Some(names) = self.path.as_ref().and_then(ServerEndpoint::names)
            && in_use()
        {
            names.renew(background);
        }
    }

    /// The number of kept connections, and of requests that wait for one.
    fn connections(&self) -> (usize, usize) {
        match &self.kept {
            ServerConnections::Limited(desk) => desk.counts(),
            ServerConnections::PerWorker(shelves) => {
                (shelves.iter().map(IdleConnections::kept).sum(), 0)
            }
        }
    }

    /// Records that no connection could be made.
    pub(super) fn unreachable(&self, now: Timestamp) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.state.unreachable(now);
    }

    /// Requests in flight in relation to the server's weight, for comparison with other servers.
    /// The factor 1024 keeps the division exact enough for small counts.
    pub(super) fn load(&self) -> usize {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        in_flight.saturating_mul(1024) / usize::try_from(self.weight).unwrap_or(1)
    }

    /// The state of the server for metrics.
    pub(super) fn snapshot(&self, clock: &Clock) -> ServerSnapshot {
        let (idle, waiting) = self.connections();
        ServerSnapshot {
            name: self.name.clone(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            idle,
            waiting,
            failures: self.failures.load(Ordering::Relaxed),
            condition: self.state.condition(clock),
        }
    }
}

/// Counts a request as in flight until it is dropped.
pub(in crate::upstream) struct InFlight(Arc<PoolServer>);

impl InFlight {
    /// Counts one more request to `server`.
    pub(in crate::upstream) fn start(server: &Arc<PoolServer>) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(server.clone())
    }

    /// The server to which the request was sent.
    pub(in crate::upstream) fn server(&self) -> &Arc<PoolServer> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use parking_lot::Mutex;
    use tokio::net::TcpListener;

    use super::super::sample;
    use super::*;
    use crate::runtime::GatewayThreads;
    use crate::upstream::connection::{
        ConnectOptions, DnsBackend, HandshakeOptions, LookupSpawner, NameResolver, ServerHost,
        WireProtocol, connect,
    };

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    #[tokio::test]
    async fn a_connection_to_an_address_that_vanished_is_not_used_again() {
        let threads = GatewayThreads::start(1, 1).unwrap();
        let worker = &threads.workers()[0];
        let listener = TcpListener::bind((ONE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = Arc::new(Mutex::new(vec![ONE]));
        let names = NameResolver::new("app.test", Duration::ZERO, DnsBackend::Table(table.clone()));
        let path = ServerEndpoint::Tcp { host: ServerHost::Name(names.clone()), port, tls: None };
        let name = "app".to_owned();
        let address = settings::ServerAddress::Echo;
        let config = settings::ServerSettings { name, address, weight: 1, backup: false };
        let pool = sample(settings::BalancePolicy::RoundRobin, Vec::new());
        let server = Arc::new(PoolServer::new(&config, Some(path), &pool, 1));
        let limit = Duration::from_secs(5);
        let manner = ConnectOptions {
            way: HandshakeOptions { speak: WireProtocol::Http1, proxy_header: None },
            limit,
            keep: limit,
            worker,
        };

        for (now, reused) in [(vec![ONE, TWO], true), (vec![TWO], false)] {
            *table.lock() = vec![ONE];
            let mut connection =
                connect(server.path.as_ref().unwrap(), &manner, None).await.unwrap();
            let RequestSender::Http1(sender) = &mut connection.sender else {
                panic!("not HTTP/1.1")
            };
            sender.ready().await.unwrap();
            server.give_back(worker, connection);

            *table.lock() = now;
            names.addresses(LookupSpawner::Worker(worker)).await.unwrap();

            assert_eq!(server.take(worker).is_some(), reused);
        }
    }
}
