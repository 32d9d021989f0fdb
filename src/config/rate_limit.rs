//! `rate_limit` of a route: how many requests one caller may make in a time; and `[throttle]`,
//! which bounds the memory for counting them.
//!
//! The limits are enforced by `throttle`. A limit for callers on a route without authentication is
//! counted by address, with a warning, because nobody is authenticated there.

use std::time::Duration;

use super::reader::TableReader;
use super::warnings::WarningName;
use crate::settings::{LimitBy, RateLimit, ThrottleSettings};

/// With this number and the longest `per`, the arithmetic on times fits into 64 bits.
const MOST: u64 = 1_000_000;
const PER: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
/// About 3 MiB of memory for a rule with so many callers.
const KEYS: usize = 100_000;

impl RateLimit {
    /// Reads one table, or a list of them. `open`: the route needs no credential, so no caller is
    /// known. A rule that occurs twice is reported, because it has no effect. Faulty rules are left
    /// out.
    pub(super) fn read_all(table: &mut TableReader<'_>, open: bool) -> Vec<Self> {
        let Some(item) = table.get("rate_limit") else { return Vec::new() };
        if item.is_table() {
            return item.table().map(|table| Self::read(table, open)).into_iter().collect();
        }
        let mut rules: Vec<Self> = Vec::new();
        for item in item.list().unwrap_or_default() {
            let Some(rule) = item.table().map(|table| Self::read(table, open)) else { continue };
            if rules.contains(&rule) {
                item.issue("stands here twice");
            }
            rules.push(rule);
        }
        rules
    }

    fn read(mut table: TableReader<'_>, open: bool) -> Self {
        let requests = table.required("requests", "how many requests, for example 100");
        let requests = requests.and_then(|item| item.number(1..=MOST)).unwrap_or(1);
        let per = table.required("per", "in which time, for example \"1s\"");
        let per = per.and_then(|item| item.duration(PER)).unwrap_or(Duration::from_secs(1));
        // By default all requests of a period may come at once, which is what most people mean by
        // such a limit.
        let burst = table.number("burst", 1..=MOST).unwrap_or(requests);
        let by = table.get("by");
        let chosen = by.as_ref().and_then(|item| item.choice(&LimitBy::ALL));
        let by = match (chosen, by) {
            (Some(LimitBy::Subject | LimitBy::Session), Some(item)) if open => {
                item.warn(
                    WarningName::LimitByNobody,
                    "knows nobody where auth is []: counted by client",
                );
                LimitBy::Client
            }
            (Some(by), _) => by,
            (None, _) if open => LimitBy::Client,
            (None, _) => LimitBy::Subject,
        };
        Self { requests, per, burst, by }
    }
}

impl ThrottleSettings {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        Self { keys: table.count_or("keys", KEYS, 1000..=100_000_000) }
    }
}
