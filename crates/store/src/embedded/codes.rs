//! One-time codes: stored, guessed at, used up. What a guess does to a code is in `crate::guess`.

use std::time::Duration;

use redb::ReadableTable;

use super::rehashed_versions;
use super::tables::{ExpiryKind, StoreFault, Tables};
use crate::guess::{GuessStep, StoredCode};
use crate::window::AttemptWindow;
use crate::{CodeGuess, CodeVerdict, OneTimeCode, PutCode};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

const HOUR: Duration = Duration::from_secs(3600);

/// Stores a code, unless the account had all the codes of this hour.
pub(super) fn put(
    tables: &mut Tables<'_>,
    code: &OneTimeCode,
    per_hour: u32,
    now: Timestamp,
) -> Result<PutCode, StoreFault> {
    let row = tables.rows().mails.get(&code.key.0)?.map(|row| row.value());
    let mails = AttemptWindow::at(row, HOUR, now);
    // Mails are counted before the code is stored, in the same transaction. The count bounds both
    // the mails to a user and the number of fresh codes that an attacker can guess at.
    if let Some(retry_after) = mails.full(per_hour, now) {
        return Ok(PutCode::TooMany { retry_after });
    }
    tables.change().mails.insert(&code.key.0, mails.more().row())?;
    tables.expire(ExpiryKind::Mails, mails.ends, &code.key.0)?;
    save(tables, &StoredCode::new(code.clone()))?;
    tables.expire(ExpiryKind::Code, code.expires, &code.key.0)?;
    Ok(PutCode::Kept)
}

/// The code with this key, if it has not expired.
pub(super) fn find(
    tables: &Tables<'_>,
    key: Digest,
    now: Timestamp,
) -> Result<Option<OneTimeCode>, StoreFault> {
    let kept = kept(tables, &key.0)?.filter(|kept| kept.code.expires > now);
    Ok(kept.map(|kept| kept.code))
}

/// Compares a guess with the code, counts a wrong one, and removes the code after a right one or
/// after too many wrong ones. A guess at a code that is missing or expired is not counted anywhere.
pub(super) fn guess(
    tables: &mut Tables<'_>,
    guess: &CodeGuess,
    now: Timestamp,
) -> Result<CodeVerdict, StoreFault> {
    let Some(kept) = kept(tables, &guess.key.0)? else { return Ok(CodeVerdict::Gone) };
    match kept.compare(guess, now) {
        GuessStep::Gone => Ok(CodeVerdict::Gone),
        GuessStep::Wrong(left) => {
            match left {
                Some(kept) => save(tables, &kept)?,
                None => {
                    tables.change().codes.remove(&guess.key.0)?;
                }
            }
            Ok(CodeVerdict::Wrong)
        }
        GuessStep::Right(mut code) => {
            tables.change().codes.remove(&guess.key.0)?;
            // The user's password may have been re-hashed while the code was on its way; the
            // session must begin with the version as it is now.
            let version = code.user_version;
            code.user_version =
                rehashed_versions::latest(tables, &code.source, &code.user_id, version)?;
            Ok(CodeVerdict::Right(Box::new(code)))
        }
    }
}

/// When the code with this key expires; `None` if there is none.
pub(super) fn expires(
    tables: &Tables<'_>,
    key: &[u8; 32],
) -> Result<Option<Timestamp>, StoreFault> {
    Ok(kept(tables, key)?.map(|kept| kept.code.expires))
}

fn kept(tables: &Tables<'_>, key: &[u8; 32]) -> Result<Option<StoredCode>, StoreFault> {
    let row = tables.rows().codes.get(key)?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

fn save(tables: &mut Tables<'_>, kept: &StoredCode) -> Result<(), StoreFault> {
    let row = serde_json::to_vec(kept)?;
    tables.change().codes.insert(&kept.code.key.0, row.as_slice())?;
    Ok(())
}
