//! The sweep: removes expired rows, a bounded number at a time.
//!
//! The table `expiry` says when a row should be looked at; the row itself says whether it has
//! expired. A row that was used meanwhile gets a new entry in `expiry` then, so that each use of a
//! session costs one write, not two.
//!
//! The writer thread calls `pass` every few seconds. The sweep never decides that a session ends:
//! it only removes rows that nobody can use any more.

use redb::ReadableTable;

use super::tables::{DigestBytes, ExpiryKind, ShortId, StoreFault, Tables};
use super::{codes, rehashed_versions, session_rows, sessions};
use tollhouse_core::clock::Timestamp;

/// Bound on the rows looked at in one pass. A pass takes some milliseconds, and logins wait behind
/// it in the same thread. The rest waits for the next pass.
pub(super) const PASS: usize = 500;

/// Looks at up to `PASS` rows that are due at `now`; returns the number of rows looked at. A result
/// of `PASS` or more means that more rows may be due. The caller must only pass a time that the
/// time guard believes.
pub(super) fn pass(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StoreFault> {
    let due = due(tables, now)?;
    let mut looked = 0;
    for (kind, at, key) in due {
        if looked >= PASS {
            break;
        }
        looked += 1;
        // The entry goes in every case. If the row still lives, a later entry is written below; if
        // the row is gone, the entry was left over from an earlier removal.
        tables.change().expiry.remove((kind as u8, at, key.as_slice()))?;
        if kind == ExpiryKind::Retired {
            looked += remove_retired(tables, &key, PASS.saturating_sub(looked), now)?;
            continue;
        }
        match ends(tables, kind, &key)? {
            Some(end) if end > now => tables.expire(kind, end, &key)?,
            Some(_) => remove(tables, kind, &key, now)?,
            None => {}
        }
    }
    Ok(looked)
}

/// Removes the row of this kind with the earliest entry in `expiry`, expired or not. A full table
/// makes room in this way. The entry that expires first is the one whose loss matters least.
pub(super) fn forget_first(tables: &mut Tables<'_>, kind: ExpiryKind) -> Result<(), StoreFault> {
    let first = {
        let mut entries = tables.rows().expiry.range(range(kind, u64::MAX))?;
        entries.next().transpose()?.map(|(entry, _)| {
            let (_, at, key) = entry.value();
            (at, key.to_vec())
        })
    };
    if let Some((at, key)) = first {
        tables.change().expiry.remove((kind as u8, at, key.as_slice()))?;
        remove(tables, kind, &key, Timestamp::default())?;
    }
    Ok(())
}

type DueRow = (ExpiryKind, u64, Vec<u8>);

fn due(tables: &Tables<'_>, now: Timestamp) -> Result<Vec<DueRow>, StoreFault> {
    let mut due = Vec::new();
    // Kinds share one pass, in a fixed order. A kind with many due rows can use up the whole pass;
    // the writer then starts the next pass after a tenth of a second, not after ten seconds. So one
    // kind cannot starve the others for long.
    for kind in ExpiryKind::ALL {
        let left = PASS.saturating_sub(due.len());
        // The end of a range is excluded, therefore one more than `now`.
        let end = now.millis().saturating_add(1);
        for entry in tables.rows().expiry.range(range(kind, end))?.take(left) {
            let entry = entry?.0;
            let (_, at, key) = entry.value();
            due.push((kind, at, key.to_vec()));
        }
    }
    Ok(due)
}

/// The entries of one kind in `expiry` before `end` (milliseconds, excluded).
fn range(kind: ExpiryKind, end: u64) -> std::ops::Range<(u8, u64, &'static [u8])> {
    (kind as u8, 0, &[][..])..(kind as u8, end, &[][..])
}

/// When the row expires; `None` if the row is gone.
fn ends(
    tables: &Tables<'_>,
    kind: ExpiryKind,
    key: &[u8],
) -> Result<Option<Timestamp>, StoreFault> {
    let rows = tables.rows();
    let ends = match kind {
        ExpiryKind::Session => {
            let Some(id) = exact(key) else { return Ok(None) };
            let session = session_rows::load(tables, session_rows::session_id(&id))?;
            return Ok(session.map(|session| tables.outlived(&session)));
        }
        ExpiryKind::Code => {
            let Some(key) = exact(key) else { return Ok(None) };
            return codes::expires(tables, &key);
        }
        // Retired tokens have no end of their own: an entry of this kind is made when their session
        // has ended, and `pass` removes them piece by piece.
        ExpiryKind::Retired => None,
        ExpiryKind::Rewritten => match rehashed_versions::split(key) {
            Some((source, id, old)) => {
                rows.rewritten.get((source, id, &old))?.map(|row| row.value().0)
            }
            None => None,
        },
        ExpiryKind::Revoked => match exact(key) {
            Some(id) => rows.revoked.get(&id)?.map(|row| row.value()),
            None => None,
        },
        ExpiryKind::Outlawed => match exact(key) {
            Some(digest) => rows.outlawed.get(&digest)?.map(|row| row.value()),
            None => None,
        },
        ExpiryKind::Mails => match exact(key) {
            Some(key) => rows.mails.get(&key)?.map(|row| row.value().1),
            None => None,
        },
        ExpiryKind::Account => match key.split_first_chunk() {
            Some((account, place)) => rows.accounts.get((account, place))?.map(|row| row.value().1),
            None => None,
        },
        ExpiryKind::Address => match exact(key) {
            Some(address) => rows.addresses.get(&address)?.map(|row| row.value().1),
            None => None,
        },
        ExpiryKind::Known => match known_key(key) {
            Some((account, address)) => {
                rows.known.get((&account, &address))?.map(|row| row.value())
            }
            None => None,
        },
    };
    Ok(ends.map(Timestamp::from_millis))
}

fn remove(
    tables: &mut Tables<'_>,
    kind: ExpiryKind,
    key: &[u8],
    now: Timestamp,
) -> Result<(), StoreFault> {
    match kind {
        ExpiryKind::Session => {
            if let Some(id) = exact(key)
                && let Some(session) = session_rows::load(tables, session_rows::session_id(&id))?
            {
                sessions::remove(tables, &session, now)?;
            }
        }
        ExpiryKind::Rewritten => {
            if let Some((source, id, old)) = rehashed_versions::split(key) {
                tables.change().rewritten.remove((source, id, &old))?;
            }
        }
        ExpiryKind::Account => {
            if let Some((account, place)) = key.split_first_chunk() {
                tables.change().accounts.remove((account, place))?;
            }
        }
        ExpiryKind::Known => {
            if let Some((account, address)) = known_key(key) {
                tables.change().known.remove((&account, &address))?;
            }
        }
        ExpiryKind::Revoked => {
            if let Some(id) = exact(key) {
                tables.change().revoked.remove(&id)?;
            }
        }
        ExpiryKind::Outlawed => {
            if let Some(digest) = exact(key) {
                tables.change().outlawed.remove(&digest)?;
            }
        }
        ExpiryKind::Code => {
            if let Some(key) = exact(key) {
                tables.change().codes.remove(&key)?;
            }
        }
        ExpiryKind::Mails => {
            if let Some(key) = exact(key) {
                tables.change().mails.remove(&key)?;
            }
        }
        ExpiryKind::Address => {
            if let Some(address) = exact(key) {
                tables.change().addresses.remove(&address)?;
            }
        }
        ExpiryKind::Retired => {}
    }
    Ok(())
}

/// Removes up to `limit` retired tokens of an ended session. Such rows exist only for sessions of
/// schema versions before 4. If there are more, a new entry makes the next pass go on.
fn remove_retired(
    tables: &mut Tables<'_>,
    key: &[u8],
    limit: usize,
    now: Timestamp,
) -> Result<usize, StoreFault> {
    let Some(id) = exact::<16>(key) else { return Ok(0) };
    let first: ShortId = [0; 16];
    let last: ShortId = [u8::MAX; 16];
    let mut found = Vec::new();
    for row in tables.rows().retired.range((&id, &first)..=(&id, &last))?.take(limit) {
        found.push(*row?.0.value().1);
    }
    for token in &found {
        tables.change().retired.remove((&id, token))?;
    }
    if found.len() == limit {
        tables.expire(ExpiryKind::Retired, now, key)?;
    }
    Ok(found.len())
}

fn exact<const N: usize>(key: &[u8]) -> Option<[u8; N]> {
    key.try_into().ok()
}

fn known_key(key: &[u8]) -> Option<(DigestBytes, ShortId)> {
    let (account, address) = key.split_first_chunk()?;
    Some((*account, exact(address)?))
}
