//! User versions that changed because a node re-hashed a password.
//!
//! A user version is a digest that covers the password hash; when it changes, the user's sessions
//! end. A re-hash changes it although the password is the same. Existing sessions are therefore
//! rewritten to the new version. A login that began under the old version may store its session
//! later, on any node, so the old version is also translated for a day.

use std::time::Duration;

use super::SharedStore;
use super::database::{RecordKey, RecordKind};
use super::records::Change;
use super::session_record::{SessionRecord, session_key};
use crate::{StoreError, UserRef};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserId;
use tollhouse_core::secret::Digest;

/// Longer than any login takes from its password to its session, including a code by mail.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// More re-hashes than a user has in a day. A version beyond the bound is treated as changed, and
/// the session ends.
const LONGEST_CHAIN: usize = 8;

impl SharedStore {
    /// Makes sessions stored under the old version count as stored under the new one, now and for
    /// the next day.
    pub(super) async fn replace_version(
        &self,
        user: UserRef<'_>,
        old: Digest,
        new: Digest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if old == new {
            return Ok(());
        }
        // If the versions went back and forth, a record leads from `new` to `old`. The version that
        // is current now must not be translated away.
        let back = self.version_key(user.source, user.id, new);
        self.records.update::<Digest, ()>(back, now, |_, _| ((), Change::Remove)).await?;
        let forth = self.version_key(user.source, user.id, old);
        let keep = Some(REMEMBERED);
        self.records.update(forth, now, |_, _| ((), Change::Write(new, keep))).await?;
        for id in self.members_of(user.subject).await? {
            let translated = self.records.update(session_key(id), now, |record, at| match record {
                // Where sources share their users, one subject has a hash in each source. Only
                // sessions of this source have the old version.
                Some(SessionRecord::Live(mut session))
                    if session.source == user.source
                        && session.user_id == *user.id
                        && session.user_version == old =>
                {
                    session.user_version = new;
                    ((), self.live(*session, at))
                }
                _ => ((), Change::Keep),
            });
            translated.await?;
        }
        Ok(())
    }

    /// The present form of `version` for the user `id` of `source`.
    pub(super) async fn latest_version(
        &self,
        source: &str,
        id: &UserId,
        mut version: Digest,
        now: Timestamp,
    ) -> Result<Digest, StoreError> {
        for _ in 0..LONGEST_CHAIN {
            let key = self.version_key(source, id, version);
            match self.records.read(key, now).await?.0 {
                Some(next) => version = next,
                None => break,
            }
        }
        Ok(version)
    }

    fn version_key(&self, source: &str, id: &UserId, version: Digest) -> RecordKey {
        let parts = [source.as_bytes(), id.as_str().as_bytes(), &version.0];
        self.records.key(RecordKind::Version, &parts)
    }
}
