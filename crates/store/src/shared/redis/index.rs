//! Walking over the records of a kind, in the order of their ids.
//!
//! A server has no order of keys. The ids of sessions and accounts are therefore also kept in sorted
//! sets, spread over 16 of them, so that they spread over the nodes of a Cluster. An id is added
//! before its record is written, so the sets may name records that are gone, and never miss one
//! that exists.
//!
//! Each id is due once its record has probably ended. When it is due, the record is looked for: if
//! it is gone, so is the id; else it is due again when the record ends. Invariant: if a record is
//! written between the look and the removal of its id, then the id was added again before, with
//! another due time, and stays. For that, an id is due `GRACE` after the end of its record only,
//! and a step of adding and writing takes less than that by far.

use std::time::Duration;

use futures_util::future::try_join_all;
use redis::{Pipeline, Value};

use crate::shared::{Record, RecordKey, RecordKind, RecordVersion};

use super::fault::Fault;
use super::keys::{BUCKETS, IndexKeys, slot};
use super::step::{CommandBatch, Deadline, array, bytes, exactly, groups_of, integer};
use super::{Shared, millis};

/// The kinds that are walked over.
const WALKED: [RecordKind; 2] = [RecordKind::Session, RecordKind::Account];
/// How long after the end of its record an id is due. Much longer than a step takes.
const GRACE: Duration = Duration::from_secs(3600);
/// An id of a record that lives longer, or for good, is due after this time: the record may be
/// replaced by one that ends earlier.
const LONGEST_TERM: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many ids are read from each set at once, at most.
const MOST_IDS: usize = 256;
/// How many ids of each set one sweep looks at.
const DUE_AT_ONCE: usize = 64;

fn term(keep: Option<Duration>) -> u64 {
    millis(keep.unwrap_or(LONGEST_TERM).min(LONGEST_TERM).saturating_add(GRACE))
}

/// Adds the id of a record that is about to be written, if its kind is walked over.
pub(super) async fn add(
    shared: &Shared,
    key: &RecordKey,
    keep: Option<Duration>,
    deadline: Deadline,
) -> Result<(), Fault> {
    if !WALKED.contains(&key.kind) {
        return Ok(());
    }
    let keys = shared.keys.index(key.kind, &key.id);
    let script = &shared.scripts.add_id;
    let mut call = script.call(&[&keys.ids, &keys.due]);
    call.arg(&key.id[..]).arg(term(keep));
    shared.server.run(&CommandBatch::call(keys.slot, script, call), deadline).await?;
    Ok(())
}

/// Up to `limit` records of a kind after `after`, in the order of their ids.
pub(super) async fn walk(
    shared: &Shared,
    kind: RecordKind,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, Record)>, Fault> {
    let mut after = after.map(<[u8]>::to_vec);
    let mut walked = Vec::new();
    // The ids are spread evenly, so each set has its share of the page, or a little more.
    let each = (limit / usize::from(BUCKETS)).saturating_add(8).min(MOST_IDS);
    while walked.len() < limit {
        let (ids, is_end) = next_ids(shared, kind, after.as_deref(), each).await?;
        for some in ids.chunks(MOST_IDS) {
            let left = limit.saturating_sub(walked.len());
            if left == 0 {
                break;
            }
            let records = try_join_all(some.iter().map(|id| read(shared, kind, id))).await?;
            walked.extend(records.into_iter().flatten().take(left));
        }
        if is_end {
            break;
        }
        after = ids.into_iter().next_back();
    }
    Ok(walked)
}

/// The next ids of all sets together, in order, and whether they are the last ones.
async fn next_ids(
    shared: &Shared,
    kind: RecordKind,
    after: Option<&[u8]>,
    each: usize,
) -> Result<(Vec<Vec<u8>>, bool), Fault> {
    let buckets = (0..BUCKETS).map(|bucket| bucket_ids(shared, kind, bucket, after, each));
    let buckets = try_join_all(buckets).await?;
    // A set that has more may have them in between those of another set. Only ids up to the last one
    // of each such set are known to be all there are.
    let complete = buckets.iter().filter(|ids| ids.len() >= each).filter_map(|ids| ids.last());
    let complete = complete.min().cloned();
    let mut ids: Vec<Vec<u8>> = buckets.into_iter().flatten().collect();
    if let Some(complete) = &complete {
        ids.retain(|id| id <= complete);
    }
    ids.sort_unstable();
    Ok((ids, complete.is_none()))
}

async fn bucket_ids(
    shared: &Shared,
    kind: RecordKind,
    bucket: u8,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Vec<u8>>, Fault> {
    let keys = shared.keys.bucket(kind, bucket);
    let from = match after {
        Some(after) => [b"(", after].concat(),
        None => b"-".to_vec(),
    };
    let mut commands = Pipeline::with_capacity(2);
    // No id is empty. A server that does not take writes refuses this.
    commands.cmd("ZREM").arg(&keys.ids).arg("");
    commands.cmd("ZRANGEBYLEX").arg(&keys.ids).arg(from).arg("+");
    commands.arg("LIMIT").arg(0).arg(limit);
    let values =
        shared.server.run(&CommandBatch::commands(keys.slot, commands), shared.deadline()).await?;
    let [_, ids] = exactly(values)?;
    array(ids)?.into_iter().map(bytes).collect()
}

async fn read(
    shared: &Shared,
    kind: RecordKind,
    id: &[u8],
) -> Result<Option<(Vec<u8>, Record)>, Fault> {
    let key = shared.keys.record_of(kind, id);
    let mut commands = Pipeline::with_capacity(1);
    commands.cmd("GETEX").arg(&key);
    let step = CommandBatch::commands(slot(&key), commands);
    let [record] = exactly(shared.server.run(&step, shared.deadline()).await?)?;
    Ok(parse_record(record)?.map(|record| (id.to_vec(), record)))
}

/// A record as it is stored: its version in 8 bytes, and the value.
pub(super) fn parse_record(value: Value) -> Result<Option<Record>, Fault> {
    if value == Value::Nil {
        return Ok(None);
    }
    let stored = bytes(value)?;
    let (version, value) =
        stored.split_first_chunk().ok_or_else(|| Fault::unexpected("Redis", "a record"))?;
    let version = RecordVersion(i64::from_be_bytes(*version));
    Ok(Some(Record { version, value: value.to_vec() }))
}

/// Removes ids whose record is gone. True if more ids are due.
pub(super) async fn sweep(shared: &Shared) -> Result<bool, Fault> {
    let buckets = WALKED
        .into_iter()
        .flat_map(|kind| (0..BUCKETS).map(move |bucket| sweep_bucket(shared, kind, bucket)));
    Ok(try_join_all(buckets).await?.into_iter().any(|has_more| has_more))
}

async fn sweep_bucket(shared: &Shared, kind: RecordKind, bucket: u8) -> Result<bool, Fault> {
    let keys = shared.keys.bucket(kind, bucket);
    let script = &shared.scripts.due_ids;
    let mut call = script.call(&[&keys.due]);
    call.arg(DUE_AT_ONCE);
    let step = CommandBatch::call(keys.slot, script, call);
    let [due] = exactly(shared.server.run(&step, shared.deadline()).await?)?;
    let due: Vec<[Value; 2]> = groups_of(array(due)?)?;
    if due.is_empty() {
        return Ok(false);
    }
    let has_more = due.len() >= DUE_AT_ONCE;
    let due: Vec<(Vec<u8>, Vec<u8>)> = due
        .into_iter()
        .map(|[id, since]| Ok((bytes(id)?, bytes(since)?)))
        .collect::<Result<_, Fault>>()?;
    let left = try_join_all(due.iter().map(|(id, _)| time_left(shared, kind, id))).await?;
    settle(shared, &keys, due.into_iter().zip(left)).await?;
    Ok(has_more)
}

/// For how long from now a record is kept, without the end of one that is kept for good; `None` if
/// it is gone.
async fn time_left(
    shared: &Shared,
    kind: RecordKind,
    id: &[u8],
) -> Result<Option<Option<Duration>>, Fault> {
    let key = shared.keys.record_of(kind, id);
    let mut commands = Pipeline::with_capacity(1);
    commands.cmd("PTTL").arg(&key);
    let step = CommandBatch::commands(slot(&key), commands);
    let [left] = exactly(shared.server.run(&step, shared.deadline()).await?)?;
    Ok(match integer(left)? {
        -2 => None,
        left => Some(u64::try_from(left).ok().map(Duration::from_millis)),
    })
}

async fn settle(
    shared: &Shared,
    keys: &IndexKeys,
    looked_for: impl Iterator<Item = ((Vec<u8>, Vec<u8>), Option<Option<Duration>>)>,
) -> Result<(), Fault> {
    let script = &shared.scripts.settle_ids;
    let mut call = script.call(&[&keys.ids, &keys.due]);
    for ((id, since), left) in looked_for {
        call.arg(id).arg(since);
        match left {
            Some(keep) => call.arg(term(keep)),
            None => call.arg(""),
        };
    }
    shared.server.run(&CommandBatch::call(keys.slot, script, call), shared.deadline()).await?;
    Ok(())
}
