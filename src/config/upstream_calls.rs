//! The keys of an `[[upstream]]` about its requests: retries, name resolution, limited connections
//! and the queue for them.
//!
//! They belong to the section whose other keys `upstream` reads. The defaults limit the load that a
//! failing pool gets in addition: a retry must not make an overload worse.

use std::time::Duration;

use super::out::TableWriter;
use super::reader::TableReader;

/// How a pool handles one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamCalls {
    /// Attempts after the first. They are made only if the upstream cannot have acted on the
    /// request.
    pub retries: u8,
    /// Upper bound on retries, in percent of the requests (a retry budget).
    pub retry_budget: u8,
    /// How long the addresses of a host name are used before they are resolved again; zero: for one
    /// connection.
    pub resolve: Duration,
    /// Upper bound on connections to each server; `None`: one for each request in progress.
    pub max_connections: Option<usize>,
    pub queue: UpstreamQueue,
}

/// The requests that wait for one of a server's limited connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamQueue {
    pub requests: usize,
    pub timeout: Duration,
}

const RETRIES: u64 = 1;
const MAX_RETRIES: u64 = 5;
/// The same as in Envoy and Linkerd: a failing pool gets a fifth more requests, not twice as many.
const RETRY_BUDGET: u64 = 20;
/// The time to live that most name servers give to addresses of cloud services.
const RESOLVE: Duration = Duration::from_secs(30);
const RESOLVES: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(24 * 3600);
const MAX_CONNECTIONS: u64 = 100_000;
const MAX_QUEUE: u64 = 100_000;
const QUEUE: UpstreamQueue = UpstreamQueue { requests: 100, timeout: Duration::from_secs(5) };
const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

impl Default for UpstreamCalls {
    fn default() -> Self {
        Self {
            // Invariant: the defaults are small, so they fit.
            retries: u8::try_from(RETRIES).unwrap_or(0),
            retry_budget: u8::try_from(RETRY_BUDGET).unwrap_or(0),
            resolve: RESOLVE,
            max_connections: None,
            queue: QUEUE,
        }
    }
}

impl UpstreamCalls {
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
        let small = |number: u64| u8::try_from(number).unwrap_or(0);
        let limit = table.get("max_connections");
        let max = limit.as_ref().and_then(|item| item.number(1..=MAX_CONNECTIONS));
        let queue = table.get("queue");
        if let (Some(item), None) = (&queue, &limit) {
            item.issue("is of no use without max_connections: nobody has to wait");
        }
        Self {
            retries: small(table.number_or("retries", RETRIES, 0..=MAX_RETRIES)),
            retry_budget: small(table.number_or("retry_budget", RETRY_BUDGET, 0..=100)),
            resolve: table.duration_or("resolve", RESOLVE, RESOLVES),
            max_connections: max.and_then(|max| usize::try_from(max).ok()),
            queue: queue.and_then(|item| item.table()).map_or(QUEUE, UpstreamQueue::read),
        }
    }

    /// Adds the keys to those of the upstream.
    pub(super) fn print(&self, out: TableWriter) -> TableWriter {
        let out = out
            .int("retries", self.retries)
            .int("retry_budget", self.retry_budget)
            .time("resolve", self.resolve);
        match self.max_connections {
            Some(max) => out.int("max_connections", max).sub("queue", self.queue.print()),
            None => out,
        }
    }
}

impl UpstreamQueue {
    fn read(mut table: TableReader<'_>) -> Self {
        Self {
            requests: table.count_or("requests", QUEUE.requests, 0..=MAX_QUEUE),
            timeout: table.duration_or("timeout", QUEUE.timeout, WAIT),
        }
    }

    fn print(self) -> toml::Table {
        TableWriter::default().int("requests", self.requests).time("timeout", self.timeout).table()
    }
}
