//! User versions that changed because the gateway re-hashed a password.
//!
//! A user version is a digest that covers the password hash; when it changes, the user's sessions
//! end. A re-hash changes it although the password is the same. Existing sessions are therefore
//! rewritten to the new version. A login that began under the old version may store its session
//! later, so the old version is also translated for a day.

use std::time::Duration;

use redb::ReadableTable;

use super::session_rows;
use super::tables::{DigestBytes, ExpiryKind, StoreFault, Tables};
use crate::UserRef;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserId;
use tollhouse_core::secret::Digest;

/// Longer than any login takes from its password to its session, including a code by mail.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// More re-hashes than a user has in a day. The bound also ends a loop, should rows ever form one.
/// A version beyond the bound is treated as changed, and the session ends.
const LONGEST_CHAIN: usize = 8;

/// A user version, and the one that replaced it when the password was re-hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct VersionChange {
    pub(super) old: Digest,
    pub(super) new: Digest,
}

/// Makes sessions stored under the old version count as stored under the new one, now and for the
/// next day.
pub(super) fn rehashed(
    tables: &mut Tables<'_>,
    user: UserRef<'_>,
    change: VersionChange,
    now: Timestamp,
) -> Result<(), StoreFault> {
    let VersionChange { old, new } = change;
    if old == new {
        return Ok(());
    }
    let until = now.plus(REMEMBERED);
    // If the versions went back and forth, a row leads from `new` to `old`. That row is removed,
    // because the version that is current now must not be translated away. Without this, `latest`
    // would go round between the two until its bound ends it.
    tables.change().rewritten.remove((user.source, user.id.as_str(), &new.0))?;
    remember(tables, user.source, user.id, change, until)?;
    for id in session_rows::of_subject(tables, user.subject, None)? {
        let Some(mut session) = session_rows::load(tables, id)? else { continue };
        // Where sources share their users, one subject has a hash in each source. Only sessions of
        // this source have the old version.
        let is_of = session.source == user.source && session.user_id == *user.id;
        if is_of && session.user_version == old {
            session.user_version = new;
            session_rows::save(tables, &session)?;
        }
    }
    Ok(())
}

/// Translates the old version into the new one until the instant `until`.
pub(super) fn remember(
    tables: &mut Tables<'_>,
    source: &str,
    id: &UserId,
    change: VersionChange,
    until: Timestamp,
) -> Result<(), StoreFault> {
    let VersionChange { old, new } = change;
    let row = (until.millis(), &new.0);
    tables.change().rewritten.insert((source, id.as_str(), &old.0), row)?;
    // A NUL byte separates the parts, because the name of a source cannot contain one.
    let key = [&old.0[..], source.as_bytes(), b"\0", id.as_str().as_bytes()].concat();
    tables.expire(ExpiryKind::Rewritten, until, &key)
}

/// The present form of `version` for the user `id` of `source`.
pub(super) fn latest(
    tables: &Tables<'_>,
    source: &str,
    id: &UserId,
    mut version: Digest,
) -> Result<Digest, StoreFault> {
    for _ in 0..LONGEST_CHAIN {
        let key = (source, id.as_str(), &version.0);
        let next: Option<DigestBytes> = tables.rows().rewritten.get(key)?.map(|row| *row.value().1);
        match next {
            Some(next) => version = Digest(next),
            None => break,
        }
    }
    Ok(version)
}

/// The parts of a key that `remember` made.
pub(super) fn split(key: &[u8]) -> Option<(&str, &str, DigestBytes)> {
    let (old, text) = key.split_first_chunk()?;
    let (source, id) = std::str::from_utf8(text).ok()?.split_once('\0')?;
    Some((source, id, *old))
}
