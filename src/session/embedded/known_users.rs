//! What is kept of users who live elsewhere, and the secrets of second steps.
//!
//! These rows do not expire: they go when the user is forgotten or the second step taken away.

use redb::ReadableTable;

use super::tables::{Fault, Tables};
use crate::clock::Timestamp;
use crate::identity::Subject;
use crate::secret::Secret;
use crate::session::{Account, AccountCounts, AccountKey, Totp};

pub(super) fn put(t: &mut Tables<'_>, account: &Account) -> Result<(), Fault> {
    remove(t, &account.source, &account.subject)?;
    let (source, subject) = (account.source.as_str(), account.subject.as_str());
    let row = serde_json::to_vec(account)?;
    t.change().users.insert((source, subject), row.as_slice())?;
    t.change().user_names.insert((source, account.key.as_str()), subject)?;
    Ok(())
}

pub(super) fn find(
    t: &Tables<'_>,
    source: &str,
    by: AccountKey<'_>,
) -> Result<Option<Account>, Fault> {
    let users = &t.rows().users;
    let row = match by {
        AccountKey::Subject(subject) => users.get((source, subject.as_str()))?,
        AccountKey::Name(name) => match t.rows().user_names.get((source, name))? {
            Some(subject) => users.get((source, subject.value()))?,
            None => None,
        },
    };
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

pub(super) fn remove(t: &mut Tables<'_>, source: &str, subject: &Subject) -> Result<(), Fault> {
    let Some(held) = find(t, source, AccountKey::Subject(subject))? else { return Ok(()) };
    t.change().users.remove((source, subject.as_str()))?;
    let name = (source, held.key.as_str());
    // The name may be another user's by now.
    let is_his = t.rows().user_names.get(name)?.is_some_and(|id| id.value() == subject.as_str());
    if is_his {
        t.change().user_names.remove(name)?;
    }
    Ok(())
}

pub(super) fn counts(t: &Tables<'_>, source: &str) -> Result<AccountCounts, Fault> {
    let mut counts = AccountCounts::default();
    for row in t.rows().users.range((source, "")..)? {
        let (key, value) = row?;
        if key.value().0 != source {
            break;
        }
        let account: Account = serde_json::from_slice(value.value())?;
        counts.known += 1;
        let Some(imported) = account.imported.filter(|_| account.hash.is_some()) else { continue };
        counts.imported += 1;
        counts.first = Some(counts.first.map_or(imported, |first| first.min(imported)));
        counts.latest = counts.latest.max(Some(imported));
    }
    Ok(counts)
}

/// Replacing a secret forgets which codes were used: they were another secret's.
pub(super) fn put_totp(
    t: &mut Tables<'_>,
    subject: &Subject,
    totp: Option<&Totp>,
) -> Result<(), Fault> {
    match totp {
        Some(totp) => {
            let row = (totp.secret.expose().as_slice(), totp.made.millis(), 0);
            t.change().totp.insert(subject.as_str(), row)?;
        }
        None => drop(t.change().totp.remove(subject.as_str())?),
    }
    Ok(())
}

pub(super) fn find_totp(t: &Tables<'_>, subject: &Subject) -> Result<Option<Totp>, Fault> {
    let row = t.rows().totp.get(subject.as_str())?;
    Ok(row.map(|row| {
        let (secret, made, _) = row.value();
        Totp { secret: Secret::new(secret.to_vec()), made: Timestamp::from_millis(made) }
    }))
}

pub(super) fn use_totp_step(
    t: &mut Tables<'_>,
    subject: &Subject,
    step: u64,
) -> Result<bool, Fault> {
    let Some((secret, made)) = t.rows().totp.get(subject.as_str())?.and_then(|row| {
        let (secret, made, used) = row.value();
        (used < step).then(|| (Secret::new(secret.to_vec()), made))
    }) else {
        return Ok(false);
    };
    t.change().totp.insert(subject.as_str(), (secret.expose().as_slice(), made, step))?;
    Ok(true)
}
