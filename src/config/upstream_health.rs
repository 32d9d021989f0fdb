//! `health`, `outlier` and `slow_start` of an `[[upstream]]`: when a server of the pool is taken
//! out of use, and how it comes back.
//!
//! Health checks are requests of the gateway itself (active). Outlier detection counts failures of
//! real requests (passive) and is on by default. Both are carried out by `upstream`; here the
//! numbers are checked.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::item::SpannedValue;
use super::reader::TableReader;
use crate::settings::{HealthCheck, HealthPolicy, OutlierSettings, duration};

const INTERVAL: Duration = Duration::from_secs(5);
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// A check is answered from memory; a server that needs longer is not healthy.
const TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// A single lost packet is no outage.
const FALL: u64 = 3;
const RISE: u64 = 2;
const IN_A_ROW: RangeInclusive<u64> = 1..=100;
/// Everything but an error. A redirect to a login page also shows that the server works.
const STATUS: RangeInclusive<u16> = 200..=399;
const FAILURE_RANGE: RangeInclusive<u64> = 1..=1000;
const EJECTIONS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

const SLOW_STARTS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

impl HealthPolicy {
    /// Reads the three keys. `hashes`: the servers are chosen by a hash, which assigns a key to its
    /// server however new the server is; slow start has no effect then. Slow start would send some
    /// keys elsewhere for a while, which the hash is meant to avoid.
    pub(super) fn read(table: &mut TableReader<'_>, hashes: bool) -> Self {
        table.default_is("slow_start", "0s");
        let slow_start = table.get("slow_start");
        let rises = slow_start.as_ref().and_then(|item| item.duration(SLOW_STARTS));
        if let Some(item) =
            slow_start.filter(|_| hashes && rises.is_some_and(|rises| !rises.is_zero()))
        {
            item.issue("is of no use with balance = \"hash\"");
        }
        let outlier = table.get("outlier");
        Self {
            health: table.get("health").and_then(|item| item.table()).and_then(HealthCheck::read),
            // Outlier detection is on unless it is switched off: it has an effect only on servers
            // that fail real requests.
            outlier: match outlier {
                None => Some(OutlierSettings::default()),
                Some(item) => OutlierSettings::read(&item),
            },
            slow_start: rises.unwrap_or(Duration::ZERO),
        }
    }
}

impl HealthCheck {
    fn read(mut table: TableReader<'_>) -> Option<Self> {
        let path = table.required("path", "for example \"/ping\"");
        table.default_is("status", vec!["200-399"]);
        table.default_is("timeout", duration::render(TIMEOUT));
        let status = table.get("status");
        let host = table.get("host");
        let interval = table.duration_or("interval", INTERVAL, INTERVALS);
        let timeout = table.get("timeout");
        let limit = timeout.as_ref().and_then(|item| item.duration(TIMEOUTS));
        // A check that is still running when the next one begins would pile up on a slow server.
        if let Some(item) = timeout.filter(|_| limit.is_some_and(|limit| limit > interval)) {
            item.issue("must not be longer than interval");
        }
        let fall = count(table.number_or("fall", FALL, IN_A_ROW));
        let rise = count(table.number_or("rise", RISE, IN_A_ROW));
        let status = status.map_or(vec![STATUS], |item| read_status(&item));
        let host = host.and_then(|item| read_host(&item));
        // A short interval shortens the default time as well, for the same reason.
        let timeout = limit.unwrap_or(TIMEOUT.min(interval));
        Some(Self { path: read_path(&path?)?, interval, timeout, fall, rise, status, host })
    }
}

fn read_path(item: &SpannedValue<'_>) -> Option<PathAndQuery> {
    let text = item.string()?;
    let path = text.starts_with('/').then(|| PathAndQuery::try_from(text).ok()).flatten();
    if path.is_none() {
        item.issue("must be a path: it begins with a slash");
    }
    path
}

fn read_host(item: &SpannedValue<'_>) -> Option<HeaderValue> {
    // A user and password have no meaning in `Host`.
    let text = item.string()?;
    let host = text.parse::<http::uri::Authority>().ok().filter(|_| !text.contains('@'));
    if host.is_none() {
        item.issue("must be a host name, with a port if there is one");
    }
    HeaderValue::from_str(host?.as_str()).ok()
}

fn read_status(item: &SpannedValue<'_>) -> Vec<RangeInclusive<u16>> {
    let list = item.filled_list("must name at least one status").unwrap_or_default();
    list.iter().filter_map(read_range).collect()
}

fn read_range(item: &SpannedValue<'_>) -> Option<RangeInclusive<u16>> {
    let text = item.string()?;
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|one| (100..=599).contains(one));
    let range = number(from).zip(number(to)).filter(|(from, to)| from <= to);
    if range.is_none() {
        item.issue("must be a status or two: \"204\" or \"200-399\"");
    }
    range.map(|(from, to)| from..=to)
}

impl OutlierSettings {
    /// Reads `false` or a table; `true` stands for the defaults.
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        if !item.is_table() {
            return match item.bool()? {
                false => None,
                true => Some(Self::default()),
            };
        }
        let mut table = item.table()?;
        let default = Self::default();
        let failures = count(table.number_or("failures", default.failures.into(), FAILURE_RANGE));
        let ejection = table.duration_or("ejection", default.ejection, EJECTIONS);
        // With a maximum below the first ejection it would be open which of the two holds.
        table.default_is("max_ejection", duration::render(default.max_ejection));
        let longest = table.get("max_ejection");
        let max_ejection = longest.as_ref().and_then(|item| item.duration(EJECTIONS));
        if let Some(item) = longest.filter(|_| max_ejection.is_some_and(|max| max < ejection)) {
            item.issue("must not be shorter than ejection");
        }
        let max_ejection = max_ejection.unwrap_or(default.max_ejection.max(ejection));
        Some(Self { failures, ejection, max_ejection })
    }
}

/// Converts a checked number. Invariant: it is within one of the ranges above, so it fits.
fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
