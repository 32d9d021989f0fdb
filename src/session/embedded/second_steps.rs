//! Secrets of second steps (TOTP). They do not expire; they are removed when the second step is
//! taken away.
//!
//! The key is the source and the user's id in it, because two sources may number their users alike.
//! The key is not the subject: the second step must stay whatever the source's ids mean elsewhere.
//!
//! Before schema 3 rows had the user id alone, which two sources may share. Such a row applies to
//! every user with this id until one of them presents a valid code; it is then rewritten under that
//! user's source.

use redb::ReadableTable;

use super::tables::{Fault, Tables};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::secret::Secret;
use crate::session::Totp;

/// The name of a source and the user's id in it.
type User<'a> = (&'a str, &'a UserId);

/// A secret, and the last time step whose code was used.
struct Row {
    totp: Totp,
    used: u64,
    /// True for a row from before schema 3, which names no source.
    is_anyones: bool,
}

/// Stores or removes a secret. Replacing a secret resets the last used time step, because the codes
/// of the old secret say nothing about those of the new one.
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
    // Each time step counts once (RFC 6238, section 5.2): a code that somebody saw being typed
    // cannot be used again. The check and the marking are one step of the writer, so two logins
    // with the same code at the same time cannot both pass.
    let Some(row) = row(t, user)?.filter(|row| row.used < step) else { return Ok(false) };
    insert(t, user, &row.totp, step)?;
    // A valid code shows which user the old row belongs to. The row under the bare id goes, so that
    // the user with the same id in another source is no longer asked for this code.
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
    // A row under the source wins; the row under the bare id is only read if there is none.
    if let Some(row) = t.rows().second_steps.get((source, subject.as_str()))? {
        return Ok(Some(read(row.value(), false)));
    }
    let row = t.rows().totp.get(subject.as_str())?;
    Ok(row.map(|row| read(row.value(), true)))
}
