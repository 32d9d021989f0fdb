//! How requests go to an upstream: tries, names, limited connections and who waits for them.
//!
//! Keys of `[[upstream]]` beside those of `upstream`.

use std::time::Duration;

use super::out::Out;
use super::reader::Table;

/// What a pool may do for one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamCalls {
    /// Tries after the first; only where the upstream cannot have acted.
    pub retries: u8,
    /// Retries in percent of the requests.
    pub retry_budget: u8,
    /// How long the answer of DNS is used; zero: for one connect.
    pub resolve: Duration,
    /// Connections to each server; `None`: as many as there are requests.
    pub max_connections: Option<usize>,
    pub queue: UpstreamQueue,
}

/// Requests that wait for one of a server's limited connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamQueue {
    pub requests: usize,
    pub timeout: Duration,
}

const RETRIES: u64 = 1;
const MAX_RETRIES: u64 = 5;
/// What Envoy and Linkerd take, too: a failing pool gets a fifth more, not the double.
const RETRY_BUDGET: u64 = 20;
/// What most name servers give cloud services that move.
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
            // Invariant: they fit.
            retries: u8::try_from(RETRIES).unwrap_or(0),
            retry_budget: u8::try_from(RETRY_BUDGET).unwrap_or(0),
            resolve: RESOLVE,
            max_connections: None,
            queue: QUEUE,
        }
    }
}

impl UpstreamCalls {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
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

    /// As keys of the upstream.
    pub(super) fn print(&self, out: Out) -> Out {
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
    fn read(mut table: Table<'_>) -> Self {
        Self {
            requests: table.count_or("requests", QUEUE.requests, 0..=MAX_QUEUE),
            timeout: table.duration_or("timeout", QUEUE.timeout, WAIT),
        }
    }

    fn print(self) -> toml::Table {
        Out::default().int("requests", self.requests).time("timeout", self.timeout).table()
    }
}
