//! What the store keeps in memory beside its file.
//!
//! Revocations are looked at by every request. The index of live sessions exists for one case:
//! when the disk fails, a revocation still has to find the sessions it ends. What could not be
//! written then is owed, and written before anything else once the disk allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::tables::Effects;
use crate::clock::{Clock, Timestamp};
use crate::identity::{SessionId, Subject};
use crate::session::{Revocations, Revoke, StoreError};

/// A session as far as a revocation needs to know it.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) subject: Subject,
    pub(super) revoked_until: Timestamp,
}

/// A revocation and when it was asked for.
pub(super) type Owed = (Revoke, Timestamp);

/// What the handle and the writer share.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) clock: Clock,
    pub(super) leeway: Duration,
    pub(super) revocations: Arc<Revocations>,
    live: Mutex<HashMap<SessionId, Live>>,
    owed: Mutex<Vec<Owed>>,
    trouble: Mutex<Option<Arc<str>>>,
}

impl Memory {
    pub(super) fn new(clock: Clock, leeway: Duration) -> Self {
        Self {
            clock,
            leeway,
            revocations: Arc::default(),
            live: Mutex::default(),
            owed: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Takes in what a transaction changed; called after its commit and before its answers.
    pub(super) fn apply(&self, effects: Effects) {
        for (id, until) in effects.revoked {
            self.revocations.revoke_session(id, until);
        }
        for (digest, until) in effects.outlawed {
            self.revocations.revoke_token(digest, until);
        }
        let mut live = lock(&self.live);
        for (id, change) in effects.live {
            match change {
                Some(session) => live.insert(id, session),
                None => live.remove(&id),
            };
        }
    }

    /// Replaces the index of live sessions by what was read from the file.
    pub(super) fn reload(&self, live: HashMap<SessionId, Live>) {
        *lock(&self.live) = live;
    }

    /// Makes a revocation effective although it could not be written, and owes the writing.
    pub(super) fn owe(&self, what: Revoke, now: Timestamp) {
        {
            let live = lock(&self.live);
            let revoke =
                |id: &SessionId, it: &Live| self.revocations.revoke_session(*id, it.revoked_until);
            match &what {
                Revoke::Session(id) => {
                    live.get_key_value(id).into_iter().for_each(|(id, it)| revoke(id, it));
                }
                Revoke::Subject(subject) => {
                    let theirs = live.iter().filter(|(_, it)| it.subject == *subject);
                    theirs.for_each(|(id, it)| revoke(id, it));
                }
                Revoke::All => live.iter().for_each(|(id, it)| revoke(id, it)),
                Revoke::Token { digest, until } => self.revocations.revoke_token(*digest, *until),
            }
        }
        let mut owed = lock(&self.owed);
        // A client that repeats its logout must not make the list grow.
        if !owed.iter().any(|(held, _)| *held == what) {
            owed.push((what, now));
        }
    }

    /// Revocations that are not written yet.
    pub(super) fn owed(&self) -> Vec<Owed> {
        lock(&self.owed).clone()
    }

    /// The first `count` of those are written now.
    pub(super) fn settle(&self, count: usize) {
        lock(&self.owed).drain(..count);
    }

    /// Notes whether the last operation could be carried out.
    pub(super) fn note(&self, trouble: Option<&StoreError>) {
        *lock(&self.trouble) = trouble.map(|StoreError::Unavailable(why)| why.clone());
    }

    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        lock(&self.trouble).clone().map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
    }
}

/// A poisoned lock is taken over: each guarded value is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
