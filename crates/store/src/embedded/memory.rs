//! State that the store keeps in memory beside its file: revocations, an index of live sessions,
//! and revocations that could not be written yet.
//!
//! Every request reads the revocations. The index of live sessions is needed when the disk fails: a
//! revocation must still find the sessions that it ends. A revocation that could not be written is
//! owed, and it is written before anything else as soon as the disk allows.
//!
//! The handle and the writer thread share this state; nothing here waits for the disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::effects::{CommitEffects, LiveSession, RestoredStore};
use super::time::TimeGuard;
use crate::{RevocationTarget, Revocations, StoreError};
use tollhouse_core::clock::{Clock, Timestamp};
use tollhouse_core::identity::SessionId;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A revocation that is not written yet, and the time at which it was requested. The time matters
/// for cut-offs, which refuse the tokens issued before it.
pub(super) type DeferredRevocation = (RevocationTarget, Timestamp);

/// State that the handle and the writer thread share. Each changing field is atomic or has a lock
/// of its own, which is held for some statements and never across a disk access.
#[derive(Debug)]
pub(super) struct SharedMemory {
    pub(super) clock: Clock,
    /// How much clocks may differ, in milliseconds. A reload of the configuration may change it.
    leeway: AtomicU64,
    pub(super) revocations: Arc<Revocations>,
    /// Decides whether the clock is believed; rows are forgotten only by a believed clock.
    time: Mutex<TimeGuard>,
    live: Mutex<HashMap<SessionId, LiveSession>>,
    owed: Mutex<Vec<DeferredRevocation>>,
    trouble: Mutex<Option<Arc<str>>>,
    restored: Mutex<Option<RestoredStore>>,
}

impl SharedMemory {
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

    /// How much the clocks of other machines may differ from ours. Revocations and ended sessions
    /// are kept for longer by this time.
    pub(super) fn leeway(&self) -> Duration {
        Duration::from_millis(self.leeway.load(Ordering::Relaxed))
    }

    /// Takes over the lifetimes of a changed configuration. A revocation that is stored already
    /// keeps its time.
    pub(super) fn set_lifetimes(&self, leeway: Duration, longest_access: Duration) {
        self.leeway.store(millis(leeway), Ordering::Relaxed);
        self.time.lock().set_patience(longest_access, &self.clock);
    }

    /// Takes over the effects of a transaction.
    ///
    /// The writer calls it after the commit and before it answers the operations. If an operation
    /// were answered first, its client could see a revoked token accepted.
    pub(super) fn apply(&self, effects: CommitEffects) {
        for (id, until) in effects.revoked {
            self.revocations.revoke_session(id, until);
        }
        for (digest, until) in effects.outlawed {
            self.revocations.revoke_token(digest, until);
        }
        for (owner, at) in effects.cutoffs {
            let _ = self.revocations.cutoffs.keep(&owner, at);
        }
        if let Some(restored) = effects.restored {
            *self.restored.lock() = restored;
        }
        let mut live = self.live.lock();
        for (id, change) in effects.live {
            match change {
                Some(session) => live.insert(id, session),
                None => live.remove(&id),
            };
        }
    }

    /// Replaces the index of live sessions by the content of the file.
    pub(super) fn reload(&self, live: HashMap<SessionId, LiveSession>) {
        *self.live.lock() = live;
    }

    /// Makes a revocation effective at once although it could not be written, and remembers that it
    /// must be written. Requests refuse the sessions from now on; a revocation that is owed is lost
    /// only if the process ends before the disk works again.
    pub(super) fn defer(&self, what: RevocationTarget, now: Timestamp) {
        {
            let live = self.live.lock();
            let revoke = |id: &SessionId, it: &LiveSession| {
                self.revocations.revoke_session(*id, it.revoked_until)
            };
            match &what {
                RevocationTarget::Session(id) => {
                    live.get_key_value(id).into_iter().for_each(|(id, it)| revoke(id, it));
                }
                RevocationTarget::Siblings(id) => {
                    let of = live.get(id).map(|it| (&it.subject, it.realm.as_str()));
                    let is_theirs = |it: &LiveSession| {
                        of.is_some_and(|(subject, realm)| it.is_of(subject, Some(realm)))
                    };
                    let theirs = live.iter().filter(|(_, it)| is_theirs(it));
                    theirs.for_each(|(id, it)| revoke(id, it));
                }
                RevocationTarget::Subject { subject, realm } => {
                    let is_theirs = |it: &LiveSession| it.is_of(subject, realm.as_deref());
                    let theirs = live.iter().filter(|(_, it)| is_theirs(it));
                    theirs.for_each(|(id, it)| revoke(id, it));
                }
                RevocationTarget::All => live.iter().for_each(|(id, it)| revoke(id, it)),
                RevocationTarget::Tokens { of } => {
                    for owner in of {
                        let _ = self.revocations.cutoffs.keep(owner, now);
                    }
                }
                RevocationTarget::Token { digest, until } => {
                    self.revocations.revoke_token(*digest, *until);
                    let traded = live.iter().filter(|(_, it)| it.traded == Some(*digest));
                    traded.for_each(|(id, it)| revoke(id, it));
                }
            }
        }
        let mut owed = self.owed.lock();
        // A client that repeats its logout while the disk fails must not make the list grow without
        // bound. The same revocation is therefore listed once.
        if !owed.iter().any(|(deferred, _)| *deferred == what) {
            owed.push((what, now));
        }
    }

    /// The revocations that are not written yet, in the order in which they were requested.
    pub(super) fn owed(&self) -> Vec<DeferredRevocation> {
        self.owed.lock().clone()
    }

    /// True if the end of this session is not written yet.
    pub(super) fn owes(&self, session: SessionId) -> bool {
        self.owed.lock().iter().any(|(what, _)| what.names(session))
    }

    /// Removes the first `count` owed revocations, which are written now.
    pub(super) fn mark_written(&self, count: usize) {
        // Only the writer removes from this list, and new revocations are added at its end: the
        // first `count` are still the ones that the writer has read.
        self.owed.lock().drain(..count);
    }

    /// Compares the clock with the time guard, then lets `look` read the guard.
    pub(super) fn time<T>(&self, look: impl FnOnce(&mut TimeGuard) -> T) -> T {
        let mut guard = self.time.lock();
        guard.look(&self.clock);
        look(&mut guard)
    }

    /// The note that the store was replaced by an older copy, if it was.
    pub(super) fn restored(&self) -> Option<RestoredStore> {
        *self.restored.lock()
    }

    /// Records whether the last operation could be carried out, for `healthy`.
    pub(super) fn note(&self, trouble: Option<&StoreError>) {
        *self.trouble.lock() = trouble.map(|StoreError::Unavailable(why)| why.clone());
    }

    pub(super) fn healthy(&self) -> Result<(), StoreError> {
        self.trouble.lock().clone().map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
    }
}
