//! Records of users of remote sources, by source and user id, with a second table by canonical
//! name.
//!
//! These rows do not expire: they are removed when the user is removed. `users` reads and writes
//! them through `AccountStore`; nothing here talks to a source.

use redb::ReadableTable;

use super::tables::{StoreFault, Tables};
use crate::{AccountCounts, AccountKey, KnownAccount};
use tollhouse_core::identity::UserId;

pub(super) fn put(tables: &mut Tables<'_>, account: &KnownAccount) -> Result<(), StoreFault> {
    // The earlier record is removed first, because the user's canonical name may have changed: its
    // old entry in `user_names` must not stay. Else a login under the old name would still find
    // this user.
    remove(tables, &account.source, &account.subject)?;
    let source = account.source.as_str();
    let subject = account.subject.as_str();
    let row = serde_json::to_vec(account)?;
    tables.change().users.insert((source, subject), row.as_slice())?;
    tables.change().user_names.insert((source, account.key.as_str()), subject)?;
    Ok(())
}

pub(super) fn find(
    tables: &Tables<'_>,
    source: &str,
    by: AccountKey<'_>,
) -> Result<Option<KnownAccount>, StoreFault> {
    let users = &tables.rows().users;
    let row = match by {
        AccountKey::Subject(subject) => users.get((source, subject.as_str()))?,
        AccountKey::Name(name) => match tables.rows().user_names.get((source, name))? {
            Some(subject) => users.get((source, subject.value()))?,
            None => None,
        },
    };
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

pub(super) fn remove(
    tables: &mut Tables<'_>,
    source: &str,
    subject: &UserId,
) -> Result<(), StoreFault> {
    let Some(account) = find(tables, source, AccountKey::Subject(subject))? else { return Ok(()) };
    tables.change().users.remove((source, subject.as_str()))?;
    let name = (source, account.key.as_str());
    // The canonical name may belong to another user by now, if the source renamed users. Then the
    // entry in `user_names` is that user's and must stay. Removing it would make that user unknown
    // here until their next login.
    let is_his =
        tables.rows().user_names.get(name)?.is_some_and(|id| id.value() == subject.as_str());
    if is_his {
        tables.change().user_names.remove(name)?;
    }
    Ok(())
}

pub(super) fn counts(tables: &Tables<'_>, source: &str) -> Result<AccountCounts, StoreFault> {
    let mut counts = AccountCounts::default();
    for row in tables.rows().users.range((source, "")..)? {
        let (key, value) = row?;
        // The table is sorted by source first, so the first row of another source ends the walk.
        if key.value().0 != source {
            break;
        }
        let account: KnownAccount = serde_json::from_slice(value.value())?;
        counts.known += 1;
        let Some(imported) = account.imported.filter(|_| account.hash.is_some()) else { continue };
        counts.imported += 1;
        counts.first = Some(counts.first.map_or(imported, |first| first.min(imported)));
        counts.latest = counts.latest.max(Some(imported));
    }
    Ok(counts)
}
