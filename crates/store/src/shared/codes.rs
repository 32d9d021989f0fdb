//! One-time codes in the shared store: stored, guessed at, used up by one node only.

use std::time::Duration;

use super::SharedStore;
use super::database::{RecordKey, RecordKind};
use super::records::Change;
use crate::guess::{GuessStep, StoredCode};
use crate::window::{AttemptWindow, WindowRow};
use crate::{CodeGuess, CodeVerdict, OneTimeCode, PutCode, StoreError};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

const HOUR: Duration = Duration::from_secs(3600);

impl SharedStore {
    /// Stores a code, unless the account had all the codes of this hour.
    pub(super) async fn store_code(
        &self,
        code: OneTimeCode,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<PutCode, StoreError> {
        // Mails are counted before the code is stored. The count bounds both the mails to a user
        // and the number of fresh codes that an attacker can guess at.
        let mails = self.records.key(RecordKind::Attempt, &[b"mails", &code.key.0]);
        let counted = self.records.update(mails, now, |row: Option<WindowRow>, at| {
            let window = AttemptWindow::at(row, HOUR, at);
            match window.full(per_hour, at) {
                Some(retry_after) => (Some(retry_after), Change::Keep),
                None => (None, Change::Write(window.more().row(), Some(window.ends.since(at)))),
            }
        });
        if let Some(retry_after) = counted.await? {
            return Ok(PutCode::TooMany { retry_after });
        }
        let stored = self.records.update(code_key(code.key), now, |_: Option<StoredCode>, at| {
            let keep = Some(code.expires.since(at));
            ((), Change::Write(StoredCode::new(code.clone()), keep))
        });
        stored.await?;
        Ok(PutCode::Kept)
    }

    /// The code with this key, if it has not expired.
    pub(super) async fn read_code(
        &self,
        key: Digest,
        now: Timestamp,
    ) -> Result<Option<OneTimeCode>, StoreError> {
        let (stored, at): (Option<StoredCode>, _) = self.records.read(code_key(key), now).await?;
        Ok(stored.map(|stored| stored.code).filter(|code| code.expires > at))
    }

    /// Compares a guess with the code, counts a wrong one, and removes the code after a right one or
    /// after too many wrong ones.
    pub(super) async fn guess_code(
        &self,
        guess: &CodeGuess,
        now: Timestamp,
    ) -> Result<CodeVerdict, StoreError> {
        let compared = self.records.update(code_key(guess.key), now, |stored, at| {
            let Some(stored): Option<StoredCode> = stored else {
                return (CodeVerdict::Gone, Change::Keep);
            };
            let keep = Some(stored.code.expires.since(at));
            match stored.compare(guess, at) {
                GuessStep::Gone => (CodeVerdict::Gone, Change::Keep),
                GuessStep::Wrong(None) => (CodeVerdict::Wrong, Change::Remove),
                GuessStep::Wrong(Some(left)) => (CodeVerdict::Wrong, Change::Write(left, keep)),
                GuessStep::Right(code) => (CodeVerdict::Right(Box::new(code)), Change::Remove),
            }
        });
        let verdict = compared.await?;
        let CodeVerdict::Right(mut code) = verdict else { return Ok(verdict) };
        // The user's password may have been re-hashed while the code was on its way; the session
        // must begin with the version as it is now.
        code.user_version =
            self.latest_version(&code.source, &code.user_id, code.user_version, now).await?;
        Ok(CodeVerdict::Right(code))
    }
}

fn code_key(key: Digest) -> RecordKey {
    RecordKey { kind: RecordKind::Code, id: key.0.to_vec() }
}
