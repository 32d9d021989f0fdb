//! The place of one session's credential in memory, and the credential itself.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, Semaphore};

use super::LegacySessionError;
use crate::clock::Timestamp;
use crate::dialect::Dialect;
use crate::dialect::client::{CallCredential, RemoteTokens};

/// How long before their end tokens are renewed: longer than a request needs to arrive.
const AHEAD: Duration = Duration::from_secs(10);
/// Most requests of a session that wait for its credential together.
const MOST_WAITING: usize = 256;
/// How long new tokens count as good, whatever an upstream answers.
const YOUNG: Duration = Duration::from_secs(1);

/// The credential of one session, and the lock under which it is renewed.
#[derive(Debug)]
pub(super) struct SessionCell {
    current: ArcSwapOption<KeptSession>,
    /// The places of requests that wait for the lock.
    pub(super) waiting: Arc<Semaphore>,
    /// Held while the credential is read or renewed. Whoever waited for it finds the result.
    pub(super) flight: Mutex<RenewalFlight>,
}

/// The last renewal, if it failed: until when nobody tries again, and why.
#[derive(Debug, Default)]
pub(super) struct RenewalFlight {
    failed: Option<FailedRenewal>,
}

#[derive(Debug)]
struct FailedRenewal {
    error: LegacySessionError,
    until: Timestamp,
}

impl Default for SessionCell {
    fn default() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            flight: Mutex::default(),
        }
    }
}

/// The credential of a session at a legacy system, ready to be sent.
#[derive(Debug)]
pub struct KeptSession {
    source: String,
    /// The dialect that `credential` was made for. After a reload the source may speak another one.
    dialect: Arc<Dialect>,
    tokens: RemoteTokens,
    credential: CallCredential,
    made: Timestamp,
    /// False if the store could not write these tokens: then those in the store are older.
    is_stored: bool,
}

impl SessionCell {
    /// The credential, if it is good at `now`.
    pub(super) fn usable(&self, now: Timestamp) -> Option<Arc<KeptSession>> {
        self.current.load_full().filter(|kept| kept.is_good(now))
    }

    /// Tokens of `source` that are newer than those in the store.
    pub(super) fn unstored(&self, source: &str) -> Option<RemoteTokens> {
        let current = self.current.load_full()?;
        (!current.is_stored && current.source == source).then(|| current.tokens.clone())
    }

    /// Puts tokens into the cell; `None` if no call of the dialect can carry them.
    pub(super) fn put(
        &self,
        dialect: &Arc<Dialect>,
        source: &str,
        tokens: RemoteTokens,
        is_stored: bool,
        now: Timestamp,
    ) -> Option<Arc<KeptSession>> {
        if let Some(current) = self.current.load_full()
            && current.tokens == tokens
            && current.is_of(source, dialect)
        {
            return Some(current);
        }
        let credential = tokens.call(dialect)?;
        let kept = Arc::new(KeptSession {
            source: source.to_owned(),
            dialect: dialect.clone(),
            tokens,
            credential,
            made: now,
            is_stored,
        });
        self.current.store(Some(kept.clone()));
        Some(kept)
    }
}

impl RenewalFlight {
    /// The failure for which a renewal is not tried at `now`.
    pub(super) fn last_failure(&self, now: Timestamp) -> Option<LegacySessionError> {
        let failed = self.failed.as_ref().filter(|failed| now < failed.until)?;
        Some(failed.error.clone())
    }

    pub(super) fn pause(&mut self, error: LegacySessionError, until: Timestamp) {
        self.failed = Some(FailedRenewal { error, until });
    }
}

impl KeptSession {
    /// The parts of a request that carry it.
    pub fn credential(&self) -> &CallCredential {
        &self.credential
    }

    /// True if it is of this source, and made for this dialect.
    pub(super) fn is_of(&self, source: &str, dialect: &Arc<Dialect>) -> bool {
        self.source == source && Arc::ptr_eq(&self.dialect, dialect)
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn tokens(&self) -> &RemoteTokens {
        &self.tokens
    }

    /// True if a refusal by the upstream may mean that it has ended. A refusal of tokens of this
    /// moment has another reason.
    pub(super) fn may_have_ended(&self, now: Timestamp) -> bool {
        self.made.plus(YOUNG) <= now
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.tokens.access == other.tokens.access
    }

    /// True if it stays valid long enough for a request. Tokens without a known end are used until
    /// the upstream refuses them.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.tokens.expires.is_none_or(|expires| {
            // Tokens with a very short life are renewed in its last quarter.
            let ahead = AHEAD.min(expires.since(self.made) / 4);
            now.plus(ahead) < expires
        })
    }

    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.tokens.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_counts_only_for_the_dialect_that_it_was_made_for() {
        let (one, other) = (Dialect::builtin("native"), Dialect::builtin("datarhei"));
        let (one, other) = (one.unwrap(), other.unwrap());
        let now = Timestamp::from_secs(1_800_000_000);
        let tokens = RemoteTokens {
            access: "a.b.c".into(),
            key: None,
            refresh: None,
            session: None,
            expires: None,
            refresh_expires: None,
        };
        let cell = SessionCell::default();

        let first = cell.put(&one, "old", tokens.clone(), true, now).unwrap();
        let second = cell.put(&other, "old", tokens.clone(), true, now).unwrap();
        let third = cell.put(&other, "old", tokens, true, now).unwrap();

        assert!(first.is_of("old", &one) && !first.is_of("old", &other));
        assert!(second.is_of("old", &other) && !second.is_of("older", &other));
        assert!(Arc::ptr_eq(&second, &third), "the same stays the same value");
    }
}
