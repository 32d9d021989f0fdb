//! One-time codes: kept, guessed at, used up.
//!
//! Where whoever passed the password step was given a ticket, nobody else may guess at all. Where
//! the dialect has no place for one, the address that passed it has its own guesses, and everybody
//! else shares others: a stranger who knows a name can neither guess for long nor use up the
//! owner's guesses.

use std::time::Duration;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::tables::{Fault, Kind, Tables};
use super::versions;
use super::window::Window;
use crate::clock::Timestamp;
use crate::secret::{self, Digest};
use crate::session::{Code, CodeGuess, CodeVerdict, PutCode};

/// Wrong guesses from the address that passed the password step; the last one kills the code.
const OWN_GUESSES: u32 = 5;
/// Wrong guesses from all other addresses together; after them they get no more.
const OTHERS_GUESSES: u32 = 15;
const HOUR: Duration = Duration::from_secs(3600);

/// A code and the wrong guesses at it.
#[derive(Serialize, Deserialize)]
struct Kept {
    code: Code,
    own: u32,
    others: u32,
}

/// Keeps a code unless the account had all of this hour.
pub(super) fn put(
    t: &mut Tables<'_>,
    code: &Code,
    per_hour: u32,
    now: Timestamp,
) -> Result<PutCode, Fault> {
    let row = t.rows().mails.get(&code.key.0)?.map(|row| row.value());
    let mails = Window::at(row, HOUR, now);
    if let Some(retry_after) = mails.full(per_hour, now) {
        return Ok(PutCode::TooMany { retry_after });
    }
    t.change().mails.insert(&code.key.0, mails.more().row())?;
    t.expire(Kind::Mails, mails.ends, &code.key.0)?;
    save(t, &Kept { code: code.clone(), own: 0, others: 0 })?;
    t.expire(Kind::Code, code.expires, &code.key.0)?;
    Ok(PutCode::Kept)
}

/// The code that waits.
pub(super) fn find(t: &Tables<'_>, key: Digest, now: Timestamp) -> Result<Option<Code>, Fault> {
    let kept = kept(t, &key.0)?.filter(|kept| kept.code.expires > now);
    Ok(kept.map(|kept| kept.code))
}

/// Tries a guess.
pub(super) fn guess(
    t: &mut Tables<'_>,
    guess: &CodeGuess,
    now: Timestamp,
) -> Result<CodeVerdict, Fault> {
    let kept = kept(t, &guess.key.0)?;
    let Some(mut kept) = kept.filter(|kept| kept.code.expires > now) else {
        return Ok(CodeVerdict::Gone);
    };
    if kept.code.ticket.is_some() && guess.ticket != kept.code.ticket {
        return Ok(CodeVerdict::Gone);
    }
    // Behind a shared address everybody would be the owner.
    let is_there = guess.address.is_some() && guess.address == kept.code.address;
    let own = kept.code.ticket.is_some() || is_there;
    if !own && kept.others >= OTHERS_GUESSES {
        return Ok(CodeVerdict::Gone);
    }
    if secret::equal(&guess.code.0, &kept.code.code.0) {
        t.change().codes.remove(&guess.key.0)?;
        let mut code = kept.code;
        let user = (code.source.as_str(), &code.user_id);
        code.user_version = versions::latest(t, user, code.user_version)?;
        return Ok(CodeVerdict::Right(Box::new(code)));
    }
    let guesses = if own { &mut kept.own } else { &mut kept.others };
    *guesses = guesses.saturating_add(1);
    if kept.own >= OWN_GUESSES {
        t.change().codes.remove(&guess.key.0)?;
    } else {
        save(t, &kept)?;
    }
    Ok(CodeVerdict::Wrong)
}

/// When the code of this key expires.
pub(super) fn expires(t: &Tables<'_>, key: &[u8; 32]) -> Result<Option<Timestamp>, Fault> {
    Ok(kept(t, key)?.map(|kept| kept.code.expires))
}

fn kept(t: &Tables<'_>, key: &[u8; 32]) -> Result<Option<Kept>, Fault> {
    let row = t.rows().codes.get(key)?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

fn save(t: &mut Tables<'_>, kept: &Kept) -> Result<(), Fault> {
    let row = serde_json::to_vec(kept)?;
    t.change().codes.insert(&kept.code.key.0, row.as_slice())?;
    Ok(())
}
