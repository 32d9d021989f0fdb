//! The secrets of second steps. They do not expire: they go when they are taken away.
//!
//! A user is known by source and id there: two sources may number their users alike, and the second
//! step must stay whatever becomes of a source's ids elsewhere. Rows
//! of earlier versions have the id alone. Nobody knows whose they are, so whoever has the id is
//! asked for the code, and whose code is right, his is the row from then on.

use redb::ReadableTable;

use super::tables::{Fault, Tables};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::secret::Secret;
use crate::session::Totp;

/// A source and the user's id there.
type User<'a> = (&'a str, &'a UserId);

/// A secret and the last step that was used of it.
struct Row {
    totp: Totp,
    used: u64,
    /// Whether it is of an earlier version.
    is_anyones: bool,
}

/// Replacing a secret forgets which codes were used: they were another secret's.
pub(super) fn put(t: &mut Tables<'_>, user: User<'_>, totp: Option<&Totp>) -> Result<(), Fault> {
    let (source, subject) = user;
    match (totp, row(t, user)?) {
        (Some(totp), _) => insert(t, user, totp, 0)?,
        (None, Some(row)) if row.is_anyones => {
            t.change().totp.remove(subject.as_str())?;
        }
        (None, Some(_)) => {
            t.change().second_steps.remove((source, subject.as_str()))?;
        }
        (None, None) => {}
    }
    Ok(())
}

pub(super) fn find(t: &Tables<'_>, user: User<'_>) -> Result<Option<Totp>, Fault> {
    Ok(row(t, user)?.map(|row| row.totp))
}

pub(super) fn use_step(t: &mut Tables<'_>, user: User<'_>, step: u64) -> Result<bool, Fault> {
    let Some(row) = row(t, user)?.filter(|row| row.used < step) else { return Ok(false) };
    insert(t, user, &row.totp, step)?;
    if row.is_anyones {
        t.change().totp.remove(user.1.as_str())?;
    }
    Ok(true)
}

fn insert(
    t: &mut Tables<'_>,
    (source, subject): User<'_>,
    totp: &Totp,
    used: u64,
) -> Result<(), Fault> {
    let row = (totp.secret.expose().as_slice(), totp.made.millis(), used);
    t.change().second_steps.insert((source, subject.as_str()), row)?;
    Ok(())
}

fn row(t: &Tables<'_>, (source, subject): User<'_>) -> Result<Option<Row>, Fault> {
    let read = |(secret, made, used): (&[u8], u64, u64), is_anyones| {
        let secret = Secret::new(secret.to_vec());
        let totp = Totp { secret, made: Timestamp::from_millis(made) };
        Row { totp, used, is_anyones }
    };
    if let Some(row) = t.rows().second_steps.get((source, subject.as_str()))? {
        return Ok(Some(read(row.value(), false)));
    }
    let row = t.rows().totp.get(subject.as_str())?;
    Ok(row.map(|row| read(row.value(), true)))
}
