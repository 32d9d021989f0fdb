//! The keys of an `[[upstream]]` about its requests: retries, name resolution, limited connections
//! and the queue for them.
//!
//! They belong to the section whose other keys `upstream` reads. The defaults limit the load that a
//! failing pool gets in addition: a retry must not make an overload worse.

use std::time::Duration;

use super::reader::TableReader;
use crate::settings::{UpstreamCalls, UpstreamQueue};
const MAX_RETRIES: u64 = 5;
const RESOLVES: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(24 * 3600);
const MAX_CONNECTIONS: u64 = 100_000;
const MAX_QUEUE: u64 = 100_000;
const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

impl UpstreamCalls {
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
        let default = Self::default();
        let small = |number: u64| u8::try_from(number).unwrap_or(0);
        let limit = table.get("max_connections");
        let max = limit.as_ref().and_then(|item| item.number(1..=MAX_CONNECTIONS));
        let queue = table.get("queue");
        if let (Some(item), None) = (&queue, &limit) {
            item.issue("is of no use without max_connections: nobody has to wait");
        }
        Self {
            retries: small(table.number_or("retries", default.retries.into(), 0..=MAX_RETRIES)),
            retry_budget: small(table.number_or(
                "retry_budget",
                default.retry_budget.into(),
                0..=100,
            )),
            resolve: table.duration_or("resolve", default.resolve, RESOLVES),
            max_connections: max.and_then(|max| usize::try_from(max).ok()),
            queue: queue
                .and_then(|item| item.table())
                .map_or(default.queue, |table| UpstreamQueue::read(table, default.queue)),
        }
    }
}

impl UpstreamQueue {
    fn read(mut table: TableReader<'_>, default: Self) -> Self {
        Self {
            requests: table.count_or("requests", default.requests, 0..=MAX_QUEUE),
            timeout: table.duration_or("timeout", default.timeout, WAIT),
        }
    }
}
