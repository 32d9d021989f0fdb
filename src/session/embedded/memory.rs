//! What the store keeps in memory beside its file.
//!
//! Revocations are looked at by every request. The index of live sessions exists for one case:
//! when the disk fails, a revocation still has to find the sessions it ends. What could not be
//! written then is owed, and written before anything else once the disk allows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::seen::RestoredStore;
use super::tables::Effects;
use super::time::TimeGuard;
use crate::clock::{Clock, Timestamp};
use crate::identity::{SessionId, Subject};
use crate::secret::Digest;
use crate::session::{Revocations, Revoke, Session, StoreError};

/// A session as far as a revocation needs to know it.
#[derive(Clone, Debug)]
pub(super) struct Live {
    subject: Subject,
    realm: String,
    traded: Option<Digest>,
    revoked_until: Timestamp,
}

impl Live {
    pub(super) fn of(session: &Session, revoked_until: Timestamp) -> Self {
        Self {
            subject: session.subject.clone(),
            realm: session.realm.clone(),
            traded: session.traded,
            revoked_until,
        }
    }

    fn is_of(&self, subject: &Subject, realm: Option<&str>) -> bool {
        self.subject == *subject && realm.is_none_or(|realm| self.realm == realm)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A revocation and when it was asked for.
pub(super) type Owed = (Revoke, Timestamp);

/// What the handle and the writer share.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) clock: Clock,
    /// In milliseconds.
    leeway: AtomicU64,
    pub(super) revocations: Arc<Revocations>,
    /// By which anything is forgotten.
    time: Mutex<TimeGuard>,
    live: Mutex<HashMap<SessionId, Live>>,
    owed: Mutex<Vec<Owed>>,
    trouble: Mutex<Option<Arc<str>>>,
    restored: Mutex<Option<RestoredStore>>,
}

impl Memory {
    pub(super) fn new(clock: Clock, leeway: Duration, longest_access: Duration) -> Self {
        Self {
            time: Mutex::new(TimeGuard::new(&clock, longest_access)),
            clock,
            leeway: AtomicU64::new(millis(leeway)),
            revocations: Arc::default(),
            live: Mutex::default(),
            owed: Mutex::default(),
            trouble: Mutex::default(),
            restored: Mutex::default(),
        }
    }

    /// How far other machines' clocks may be from ours.
    pub(super) fn leeway(&self) -> Duration {
        Duration::from_millis(self.leeway.load(Ordering::Relaxed))
    }

    /// Goes on with the lifetimes of another configuration.
    pub(super) fn set_lifetimes(&self, leeway: Duration, longest_access: Duration) {
        self.leeway.store(millis(leeway), Ordering::Relaxed);
        lock(&self.time).set_patience(longest_access);
    }

    /// Takes in what a transaction changed; called after its commit and before its answers.
    pub(super) fn apply(&self, effects: Effects) {
        for (id, until) in effects.revoked {
            self.revocations.revoke_session(id, until);
        }
        for (digest, until) in effects.outlawed {
            self.revocations.revoke_token(digest, until);
        }
        for (owner, at) in effects.cutoffs {
            self.revocations.cutoffs.keep(&owner, at);
        }
        if let Some(restored) = effects.restored {
            *lock(&self.restored) = restored;
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
                Revoke::Siblings(id) => {
                    let of = live.get(id).map(|it| (&it.subject, it.realm.as_str()));
                    let is_theirs = |it: &Live| {
                        of.is_some_and(|(subject, realm)| it.is_of(subject, Some(realm)))
                    };
                    let theirs = live.iter().filter(|(_, it)| is_theirs(it));
                    theirs.for_each(|(id, it)| revoke(id, it));
                }
                Revoke::Subject { subject, realm } => {
                    let is_theirs = |it: &Live| it.is_of(subject, realm.as_deref());
                    let theirs = live.iter().filter(|(_, it)| is_theirs(it));
                    theirs.for_each(|(id, it)| revoke(id, it));
                }
                Revoke::All => live.iter().for_each(|(id, it)| revoke(id, it)),
                Revoke::Tokens { of } => {
                    of.iter().for_each(|owner| self.revocations.cutoffs.keep(owner, now));
                }
                Revoke::Token { digest, until } => {
                    self.revocations.revoke_token(*digest, *until);
                    let traded = live.iter().filter(|(_, it)| it.traded == Some(*digest));
                    traded.for_each(|(id, it)| revoke(id, it));
                }
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

    /// Looks at the clock; the guard says what may be forgotten by it.
    pub(super) fn time<T>(&self, look: impl FnOnce(&mut TimeGuard) -> T) -> T {
        let mut guard = lock(&self.time);
        guard.look(&self.clock);
        look(&mut guard)
    }

    /// What the store was put in the place of, if it was.
    pub(super) fn restored(&self) -> Option<RestoredStore> {
        *lock(&self.restored)
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

impl super::EmbeddedStore {
    /// Goes on with the lifetimes of another configuration: how long revocations are kept depends
    /// on them.
    pub fn set_lifetimes(&self, leeway: Duration, longest_access: Duration) {
        self.memory.set_lifetimes(leeway, longest_access);
    }
}
