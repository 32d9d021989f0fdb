//! User versions that became another because we rewrote the password's hash.
//!
//! A login that began under the old version may put its session after the re-hash: the old
//! version is therefore translated for a day, not only in the sessions that exist.

use std::time::Duration;

use redb::ReadableTable;

use super::sessions;
use super::tables::{Fault, Hash, Kind, Tables};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::secret::Digest;
use crate::session::UserRef;

/// Longer than any login takes from its password to its session, a code by mail included.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// More re-hashes than one user sees in a day; a bound, so that no loop can form.
const LONGEST_CHAIN: usize = 8;

/// Sessions made under `old` count as made under `new` from now on.
pub(super) fn rehashed(
    t: &mut Tables<'_>,
    user: UserRef<'_>,
    (old, new): (Digest, Digest),
    now: Timestamp,
) -> Result<(), Fault> {
    if old == new {
        return Ok(());
    }
    let until = now.plus(REMEMBERED);
    // The way back, if there was one: what is current now must not be translated away.
    t.change().rewritten.remove((user.source, user.id.as_str(), &new.0))?;
    remember(t, (user.source, user.id), (old, new), until)?;
    for id in sessions::of_subject(t, user.subject, None)? {
        let Some(mut session) = sessions::load(t, id)? else { continue };
        // Where sources share their users, each has a hash of its own.
        let is_of = session.source == user.source && session.user_id == *user.id;
        if is_of && session.user_version == old {
            session.user_version = new;
            sessions::save(t, &session)?;
        }
    }
    Ok(())
}

/// Translates `old` until then.
pub(super) fn remember(
    t: &mut Tables<'_>,
    (source, id): (&str, &UserId),
    (old, new): (Digest, Digest),
    until: Timestamp,
) -> Result<(), Fault> {
    let row = (until.millis(), &new.0);
    t.change().rewritten.insert((source, id.as_str(), &old.0), row)?;
    // No name of a source has a NUL in it.
    let key = [&old.0[..], source.as_bytes(), b"\0", id.as_str().as_bytes()].concat();
    t.expire(Kind::Rewritten, until, &key)
}

/// What `version` of the user `id` of `source` has become.
pub(super) fn latest(
    t: &Tables<'_>,
    (source, id): (&str, &UserId),
    mut version: Digest,
) -> Result<Digest, Fault> {
    for _ in 0..LONGEST_CHAIN {
        let key = (source, id.as_str(), &version.0);
        let next: Option<Hash> = t.rows().rewritten.get(key)?.map(|row| *row.value().1);
        match next {
            Some(next) => version = Digest(next),
            None => break,
        }
    }
    Ok(version)
}

/// The parts of a key that `remember` made.
pub(super) fn split(key: &[u8]) -> Option<(&str, &str, Hash)> {
    let (old, text) = key.split_first_chunk()?;
    let (source, id) = std::str::from_utf8(text).ok()?.split_once('\0')?;
    Some((source, id, *old))
}
