//! The statements, as text for the simple protocol.
//!
//! Values are written into the text: whole numbers, bytes as hexadecimal digits, and the checked
//! name of the schema. The texts are plain enough for CockroachDB and YugabyteDB.

use std::fmt::Write as _;
use std::time::Duration;

use tollhouse_core::secret::Digest;

use crate::shared::{FeedEntry, NewRecord, RecordKey, RecordKind, RecordVersion};

/// How many rows a look at the feed reads at most, for each of its parts.
pub(super) const PAGE: usize = 1000;
/// How many rows of a table a sweep removes at once.
pub(super) const SWEPT: u64 = 500;
/// Nothing is kept for longer than a century: beyond, arithmetic with time fails.
const LONGEST_KEEP: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Makes the statements for one schema.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    /// The name of the schema, in quotes: it may be a word of SQL.
    schema: String,
    /// The statement that every script begins with. It sets the time limit of the others.
    begin: String,
    /// The name of the channel of notifications.
    pub(super) channel: String,
}

impl Statements {
    /// For the tables in `schema`. The server gives up each statement after `limit`.
    pub(super) fn new(schema: &str, limit: Duration) -> Self {
        // The setting ends with the transaction that a script is, so that poolers do not matter.
        let begin = format!("SET LOCAL statement_timeout = {};", limit.as_millis().max(1));
        // PostgreSQL takes at most 63 bytes. If two schemas share a channel, their followers wake
        // more often than they must.
        let channel = format!("feed_{schema}").chars().take(63).collect();
        Self { schema: format!("\"{schema}\""), begin, channel }
    }

    /// A record that may be missing, and the time.
    pub(super) fn read(&self, key: &RecordKey) -> String {
        let Self { begin, schema, .. } = self;
        let table = key.kind.name();
        let id = bytes(&key.id);
        format!(
            "{begin} SELECT floor(extract(epoch FROM c.now) * 1000)::bigint, \
             current_setting('transaction_read_only'), r.version, encode(r.value, 'hex') \
             FROM (SELECT clock_timestamp() AS now) AS c \
             LEFT JOIN {schema}.{table} AS r ON r.id = {id}"
        )
    }

    pub(super) fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: &NewRecord,
    ) -> String {
        let Self { begin, schema, .. } = self;
        let table = key.kind.name();
        let id = bytes(&key.id);
        let version = new.version.0;
        let value = bytes(&new.value);
        let ends = ends(new.keep);
        match expected {
            None => format!(
                "{begin} INSERT INTO {schema}.{table} (id, version, value, ends) \
                 VALUES ({id}, {version}, {value}, {ends}) ON CONFLICT (id) DO NOTHING"
            ),
            Some(RecordVersion(expected)) => format!(
                "{begin} UPDATE {schema}.{table} SET version = {version}, value = {value}, \
                 ends = {ends} WHERE id = {id} AND version = {expected}"
            ),
        }
    }

    pub(super) fn walk(&self, kind: RecordKind, after: Option<&[u8]>, limit: usize) -> String {
        let Self { begin, schema, .. } = self;
        let table = kind.name();
        let after = after.map(|id| format!("WHERE id > {}", bytes(id))).unwrap_or_default();
        format!(
            "{begin} SELECT encode(id, 'hex'), version, encode(value, 'hex') \
             FROM {schema}.{table} {after} ORDER BY id LIMIT {limit}"
        )
    }

    pub(super) fn join(&self, group: Digest, member: &[u8], keep: Option<Duration>) -> String {
        let Self { begin, schema, .. } = self;
        let group = bytes(&group.0);
        let member = bytes(member);
        let ends = ends(keep);
        // A member that must stay for longer than now demanded is left alone.
        format!(
            "{begin} INSERT INTO {schema}.members AS m (grp, member, ends) \
             VALUES ({group}, {member}, {ends}) ON CONFLICT (grp, member) \
             DO UPDATE SET ends = excluded.ends \
             WHERE m.ends IS NOT NULL AND (excluded.ends IS NULL OR excluded.ends > m.ends)"
        )
    }

    pub(super) fn leave(&self, group: Digest, member: &[u8]) -> String {
        let Self { begin, schema, .. } = self;
        let group = bytes(&group.0);
        let member = bytes(member);
        format!("{begin} DELETE FROM {schema}.members WHERE grp = {group} AND member = {member}")
    }

    pub(super) fn members(&self, group: Digest) -> String {
        let Self { begin, schema, .. } = self;
        let group = bytes(&group.0);
        format!(
            "{begin} SELECT encode(member, 'hex') FROM {schema}.members \
             WHERE grp = {group} ORDER BY member"
        )
    }

    /// Entries with different ids, in the order of their ids: two statements that lock the same
    /// rows do not wait for each other then.
    pub(super) fn publish<'a>(&self, entries: impl Iterator<Item = &'a FeedEntry>) -> String {
        let Self { begin, schema, .. } = self;
        let mut rows = String::new();
        for entry in entries {
            let id = bytes(&entry.id.0);
            let value = bytes(&entry.value);
            let ends = ends(entry.keep);
            let comma = if rows.is_empty() { "" } else { ", " };
            let _ =
                write!(rows, "{comma}({id}, nextval('{schema}.revocations_seq'), {value}, {ends})");
        }
        format!(
            "{begin} INSERT INTO {schema}.revocations (id, seq, value, ends) VALUES {rows} \
             ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, value = excluded.value, \
             ends = excluded.ends"
        )
    }

    pub(super) fn notify(&self) -> String {
        format!("{} SELECT pg_notify('{}', '')", self.begin, self.channel)
    }

    /// The state of the sequence and of the server, which every look at the feed begins with.
    /// `has_start`: the server is PostgreSQL itself, which knows when it was started.
    pub(super) fn feed_state(&self, has_start: bool) -> String {
        let Self { begin, schema, .. } = self;
        let start = if has_start {
            "floor(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
        } else {
            "0::bigint"
        };
        format!(
            "{begin} SELECT last_value::bigint, current_setting('transaction_read_only'), {start} \
             FROM {schema}.revocations_seq"
        )
    }

    /// Up to a page of entries from `first` to `last`, in the order of their numbers.
    pub(super) fn feed_part(&self, first: i64, last: i64, only_lasting: bool) -> String {
        let schema = &self.schema;
        let lasting =
            if only_lasting { "AND (ends IS NULL OR ends > clock_timestamp())" } else { "" };
        format!(
            "; SELECT seq, encode(value, 'hex') FROM {schema}.revocations \
             WHERE seq BETWEEN {first} AND {last} {lasting} ORDER BY seq LIMIT {PAGE}"
        )
    }

    /// The statements of a sweep, one for each table.
    pub(super) fn sweeps(&self) -> Vec<String> {
        let Self { begin, schema, .. } = self;
        let records = RecordKind::ALL.map(|kind| (kind.name(), "id"));
        let tables = records.into_iter().chain([("members", "grp, member"), ("revocations", "id")]);
        // The second condition is looked at again when a row has been changed meanwhile: a record
        // that was written anew stays.
        let script = |(table, key)| {
            format!(
                "{begin} DELETE FROM {schema}.{table} WHERE ({key}) IN (SELECT {key} \
                 FROM {schema}.{table} WHERE ends < now() LIMIT {SWEPT}) AND ends < now()"
            )
        };
        tables.map(script).collect()
    }
}

/// Bytes as an expression.
fn bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(16 + 2 * bytes.len());
    text.push_str("decode('");
    for byte in bytes {
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text.push_str("', 'hex')");
    text
}

/// The bytes of such digits; `None` for another text.
pub(super) fn parse_bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

/// The time until which something is kept, by the database's clock, as an expression.
///
/// The time is rounded up, by at most a sixteenth of `keep`. A record that is written often then
/// mostly keeps its time, so that its index needs no change and PostgreSQL makes a cheap update
/// within the page (heap-only tuple).
fn ends(keep: Option<Duration>) -> String {
    let Some(keep) = keep else { return "NULL::timestamptz".to_owned() };
    let keep = keep.min(LONGEST_KEEP).as_millis().max(1);
    let step = (keep / 16).checked_ilog2().map_or(1, |power| 1_u128 << power);
    let keep = Seconds(keep);
    let step = Seconds(step);
    format!(
        "to_timestamp((ceil((extract(epoch FROM clock_timestamp()) + {keep}) / {step}) * {step})\
         ::double precision)"
    )
}

/// Milliseconds, written as a decimal number of seconds.
struct Seconds(u128);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_were_written() {
        let all: Vec<u8> = (0..=255).collect();

        let text = bytes(&all);

        let digits = text.trim_start_matches("decode('").trim_end_matches("', 'hex')");
        assert_eq!(parse_bytes(digits), Some(all));
        for text in ["0", "0g", "zz", "é"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_rounded_by_less_than_a_sixteenth() {
        for (millis, expected) in [
            (0, "+ 0.001) / 0.001) * 0.001"),
            (100, "+ 0.100) / 0.004) * 0.004"),
            (3_600_000, "+ 3600.000) / 131.072) * 131.072"),
        ] {
            let text = ends(Some(Duration::from_millis(millis)));

            assert!(text.contains(expected), "{text}");
        }
        assert!(ends(Some(Duration::MAX)).contains("+ 3162240000.000)"));
    }
}
