//! User versions that became another because we rewrote the password's hash.
//!
//! A login that began under the old version may put its session after the re-hash: the old
//! version is therefore translated for a day, not only in the sessions that exist.

use std::time::Duration;

use redb::ReadableTable;

use super::sessions;
use super::tables::{Fault, Hash, Kind, Tables};
use crate::clock::Timestamp;
use crate::identity::Subject;
use crate::secret::Digest;

/// Longer than any login takes from its password to its session, a code by mail included.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// More re-hashes than one user sees in a day; a bound, so that no loop can form.
const LONGEST_CHAIN: usize = 8;

/// Sessions made under `old` count as made under `new` from now on.
pub(super) fn rehashed(
    t: &mut Tables<'_>,
    subject: &Subject,
    (old, new): (Digest, Digest),
    now: Timestamp,
) -> Result<(), Fault> {
    if old == new {
        return Ok(());
    }
    let until = now.plus(REMEMBERED);
    // The way back, if there was one: what is current now must not be translated away.
    t.change().rehashed.remove((subject.as_str(), &new.0))?;
    t.change().rehashed.insert((subject.as_str(), &old.0), (until.millis(), &new.0))?;
    let key = [old.0.as_slice(), subject.as_str().as_bytes()].concat();
    t.expire(Kind::Rehashed, until, &key)?;
    for id in sessions::of_subject(t, subject)? {
        if let Some(mut session) = sessions::load(t, id)?.filter(|held| held.user_version == old) {
            session.user_version = new;
            sessions::save(t, &session)?;
        }
    }
    Ok(())
}

/// What `version` has become.
pub(super) fn latest(
    t: &Tables<'_>,
    subject: &Subject,
    mut version: Digest,
) -> Result<Digest, Fault> {
    for _ in 0..LONGEST_CHAIN {
        let next: Option<Hash> =
            t.rows().rehashed.get((subject.as_str(), &version.0))?.map(|row| *row.value().1);
        match next {
            Some(next) => version = Digest(next),
            None => break,
        }
    }
    Ok(version)
}
