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

use super::tables::{StoreFault, Tables};
use crate::TotpSecret;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::UserId;
use tollhouse_core::secret::Secret;

/// The name of a source and the user's id in it.
type TotpUser<'a> = (&'a str, &'a UserId);

/// A secret, and the last time step whose code was used.
struct TotpRow {
    totp: TotpSecret,
    used: u64,
    /// True for a row from before schema 3, which names no source.
    is_anyones: bool,
}

/// Stores or removes a secret. Replacing a secret resets the last used time step, because the codes
/// of the old secret say nothing about those of the new one.
pub(super) fn put(
    tables: &mut Tables<'_>,
    user: TotpUser<'_>,
    totp: Option<&TotpSecret>,
) -> Result<(), StoreFault> {
    let (source, subject) = user;
    match (totp, row(tables, user)?) {
        (Some(totp), _) => insert(tables, user, totp, 0)?,
        (None, Some(row)) if row.is_anyones => {
            tables.change().totp.remove(subject.as_str())?;
        }
        (None, Some(_)) => {
            tables.change().second_steps.remove((source, subject.as_str()))?;
        }
        (None, None) => {}
    }
    Ok(())
}

pub(super) fn find(
    tables: &Tables<'_>,
    user: TotpUser<'_>,
) -> Result<Option<TotpSecret>, StoreFault> {
    Ok(row(tables, user)?.map(|row| row.totp))
}

pub(super) fn use_step(
    tables: &mut Tables<'_>,
    user: TotpUser<'_>,
    step: u64,
) -> Result<bool, StoreFault> {
    // Each time step counts once (RFC 6238, section 5.2): a code that somebody saw being typed
    // cannot be used again. The check and the marking are one step of the writer, so two logins
    // with the same code at the same time cannot both pass.
    let Some(row) = row(tables, user)?.filter(|row| row.used < step) else { return Ok(false) };
    insert(tables, user, &row.totp, step)?;
    // A valid code shows which user the old row belongs to. The row under the bare id goes, so that
    // the user with the same id in another source is no longer asked for this code.
    if row.is_anyones {
        tables.change().totp.remove(user.1.as_str())?;
    }
    Ok(true)
}

fn insert(
    tables: &mut Tables<'_>,
    (source, subject): TotpUser<'_>,
    totp: &TotpSecret,
    used: u64,
) -> Result<(), StoreFault> {
    let row = (totp.secret.expose().as_slice(), totp.made.millis(), used);
    tables.change().second_steps.insert((source, subject.as_str()), row)?;
    Ok(())
}

fn row(
    tables: &Tables<'_>,
    (source, subject): TotpUser<'_>,
) -> Result<Option<TotpRow>, StoreFault> {
    let read = |(secret, made, used): (&[u8], u64, u64), is_anyones| {
        let secret = Secret::new(secret.to_vec());
        let totp = TotpSecret { secret, made: Timestamp::from_millis(made) };
        TotpRow { totp, used, is_anyones }
    };
    // A row under the source wins; the row under the bare id is only read if there is none.
    if let Some(row) = tables.rows().second_steps.get((source, subject.as_str()))? {
        return Ok(Some(read(row.value(), false)));
    }
    let row = tables.rows().totp.get(subject.as_str())?;
    Ok(row.map(|row| read(row.value(), true)))
}
