//! One-time codes: stored, guessed at, used up.
//!
//! With a ticket: the client that passed the password step got a ticket, and a guess without that
//! ticket is refused. Without one (the dialect has no field for it): the address that passed the
//! password step has its own number of guesses, and all other addresses share another. A stranger
//! who knows a login name can therefore neither guess for long nor use up the owner's guesses.

use std::time::Duration;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::rehashed_versions;
use super::tables::{ExpiryKind, StoreFault, Tables};
use super::window::AttemptWindow;
use crate::{CodeGuess, CodeVerdict, OneTimeCode, PutCode};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::{self, Digest};

/// Wrong guesses by the client that passed the password step; the last one removes the code.
const OWN_GUESSES: u32 = 5;
/// Wrong guesses from all other addresses together. After them these addresses are refused; the
/// code stays for its owner. With only one common count, a stranger could lock the owner out by
/// guessing.
const OTHERS_GUESSES: u32 = 15;
const HOUR: Duration = Duration::from_secs(3600);

/// A code and the number of wrong guesses at it: by the client that passed the password step, and
/// by all others together.
#[derive(Serialize, Deserialize)]
struct StoredCode {
    code: OneTimeCode,
    own: u32,
    others: u32,
}

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
    save(tables, &StoredCode { code: code.clone(), own: 0, others: 0 })?;
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
    let kept = kept(tables, &guess.key.0)?;
    let Some(mut kept) = kept.filter(|kept| kept.code.expires > now) else {
        return Ok(CodeVerdict::Gone);
    };
    // Without the ticket the answer is the same as for a code that does not exist. The guess is not
    // counted: else a stranger could use up the owner's guesses.
    if kept.code.ticket.is_some() && guess.ticket != kept.code.ticket {
        return Ok(CodeVerdict::Gone);
    }
    // An address that is not counted (`None`) never makes a guess the owner's own. Behind an
    // address that many clients share, each of them would be the owner. Such an address is
    // therefore passed here as `None`.
    let is_there = guess.address.is_some() && guess.address == kept.code.address;
    let own = kept.code.ticket.is_some() || is_there;
    if !own && kept.others >= OTHERS_GUESSES {
        return Ok(CodeVerdict::Gone);
    }
    // Compared in constant time, so that the time of the answer does not tell how many digits are
    // right.
    if secret::equal(&guess.code.0, &kept.code.code.0) {
        tables.change().codes.remove(&guess.key.0)?;
        let mut code = kept.code;
        // The user's password may have been re-hashed while the code was on its way; the session
        // must begin with the version as it is now.
        let version = code.user_version;
        code.user_version =
            rehashed_versions::latest(tables, &code.source, &code.user_id, version)?;
        return Ok(CodeVerdict::Right(Box::new(code)));
    }
    let guesses = if own { &mut kept.own } else { &mut kept.others };
    *guesses = guesses.saturating_add(1);
    if kept.own >= OWN_GUESSES {
        tables.change().codes.remove(&guess.key.0)?;
    } else {
        save(tables, &kept)?;
    }
    Ok(CodeVerdict::Wrong)
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
