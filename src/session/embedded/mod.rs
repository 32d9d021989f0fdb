//! The embedded store: a redb database file in the state folder, owned by one thread.
//!
//! `EmbeddedStore` is the handle: it queues operations for the `writer` and awaits the answers, so
//! that no runtime thread waits for a disk. The operations are in `sessions`, `codes`, `attempts`
//! and `sweep`, as functions over the tables of one write transaction. `file` makes and opens the
//! file; `memory` is the state kept beside it.

mod attempts;
mod codes;
mod cutoffs;
mod faults;
mod file;
mod job;
mod known_users;
mod memory;
mod second_steps;
mod seen;
mod sessions;
mod sweep;
mod tables;
mod time;
mod upgrade;
mod versions;
mod window;
mod writer;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::faults::Faults;
pub use self::file::OpenError;
use self::file::{Birth, Place};
use self::job::{Job, Message, unavailable};
use self::memory::Memory;
use self::tables::{Fault, Tables};
use self::writer::Writer;
use super::{
    Account, AccountCounts, AccountKey, Admission, Attempt, Code, CodeGuess, CodeVerdict,
    LoginProgress, PutCode, Revocations, Revoke, Rotated, Rotation, Session, SessionPage,
    SessionStore, StoreError, Totp, UserRef,
};
use crate::clock::{Clock, Timestamp};
use crate::identity::{IdRules, SessionId, Subject, UserId};
use crate::secret::Digest;

/// The settings for opening an embedded store.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The file, `store.redb` in the state folder. The folder must exist.
    pub path: PathBuf,
    /// The clock for work that no request causes: sweeping, and grace periods after a failure.
    pub clock: Clock,
    /// How much clocks may differ. Revocations and ended sessions are kept longer by this time.
    pub leeway: Duration,
    /// The longest lifetime of an access token. A clock that jumped ahead must hold its new time
    /// for so long before anything is forgotten.
    pub longest_access: Duration,
    /// How subjects are made of source ids, for sessions written before schema 4.
    pub ids: IdRules,
    /// True if signing keys exist: then a missing store file is an error.
    pub keys_exist: bool,
    /// Make a missing file although keys exist (`--new-state`). An existing file is kept.
    pub new_state: bool,
    /// Lets a test make the disk fail.
    pub backend_faults: Option<Arc<Faults>>,
}

/// Bound on the operations that wait for the writer; further ones fail at once.
const QUEUE: usize = 4096;

/// A session store in a local file. Dropping the last handle ends the writer thread.
pub struct EmbeddedStore {
    path: PathBuf,
    birth: Birth,
    memory: Arc<Memory>,
    queue: SyncSender<Message>,
    closing: Arc<AtomicBool>,
    closed: CancellationToken,
}

/// The reasons why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{}` cannot be written", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl EmbeddedStore {
    /// Opens the store, or makes one where a new one is allowed, and loads its revocations. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// When the file is missing, damaged, too new, in use or unreadable; each says what to do.
    pub fn open(options: EmbeddedOptions) -> Result<Arc<Self>, OpenError> {
        let place =
            Place { path: options.path.clone(), faults: options.backend_faults, ids: options.ids };
        if !place.exists()? {
            if options.keys_exist && !options.new_state {
                return Err(place.missing());
            }
            place.create(options.clock.now())?;
        }
        let (mut db, birth) = place.open()?;
        file::compact(&mut db, &options.path).map_err(|fault| place.unusable(fault))?;
        let memory = Memory::new(options.clock, options.leeway, options.longest_access);
        let memory = Arc::new(memory);
        file::load(&db, &memory, (&place.path, birth)).map_err(|fault| place.unusable(fault))?;

        let (queue, receiver) = sync_channel(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let closed = CancellationToken::new();
        let ended = closed.clone();
        let writer =
            Writer::new(place.clone(), (db, birth), memory.clone(), receiver, closing.clone());
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let _ended = ended.drop_guard();
                writer.run();
            })
            .map_err(|source| OpenError::Io { path: options.path, source })?;
        Ok(Arc::new(Self { path: place.path, birth, memory, queue, closing, closed }))
    }

    /// Writes a consistent copy to a new file, while the store goes on.
    ///
    /// # Errors
    /// When the store is unavailable, or `to` exists or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), BackupError> {
        let (sender, answer) = oneshot::channel();
        self.send(Message::Snapshot(sender))?;
        let snapshot = answer.await.unwrap_or_else(|_| Err(unavailable("it is closed")))?;
        let (sender, copied) = oneshot::channel();
        let path = to.to_owned();
        let io = |source| BackupError::Io { path: to.to_owned(), source };
        // The copy runs in a thread of its own: the writer goes on, and no runtime thread waits.
        thread::Builder::new()
            .name("backup".to_owned())
            .spawn(move || sender.send(file::copy(&snapshot, &path)))
            .map_err(io)?;
        copied.await.unwrap_or_else(|_| Err(io::Error::other("the copy panicked"))).map_err(io)
    }

    /// Removes some hundreds of rows that expired before `now`; returns how many were looked at.
    /// None while the clock is not believed. The writer sweeps by itself; tests call this.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        if !self.memory.time(|time| time.is_believed()) {
            return Ok(0);
        }
        let looked = self.ask(move |t| sweep::pass(t, now)).await?;
        self.memory.revocations.sweep(now);
        Ok(looked)
    }

    /// Notes about the store for an operator, one sentence each.
    pub fn notes(&self) -> Vec<String> {
        let now = self.memory.clock.now();
        let mut notes: Vec<String> = self.memory.time(|time| time.note()).into_iter().collect();
        notes.extend(self.memory.restored().and_then(|restored| restored.note(now)));
        if self.birth.made > now.plus(self.memory.leeway()) {
            notes.push(format!(
                "the store was made at {}, which is still to come: the clock was wrong then or is \
                 wrong now",
                self.birth.made
            ));
        }
        notes
    }

    async fn ask<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tables<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = Job::new(run);
        self.send(Message::Job(job))?;
        answer.await.unwrap_or_else(|_| Err(unavailable("it is closed")))
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        if self.closing.load(Ordering::SeqCst) {
            return Err(unavailable("it is closed"));
        }
        self.queue.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(_) => unavailable("its queue is full"),
            TrySendError::Disconnected(_) => unavailable("it is closed"),
        })
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionStore for EmbeddedStore {
    async fn put(
        &self,
        session: Session,
        most: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.ask(move |t| sessions::put(t, &session, most, now)).await
    }

    async fn find(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
        self.ask(move |t| sessions::find(t, id, now)).await
    }

    async fn list(
        &self,
        subject: Option<&Subject>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        let subject = subject.cloned();
        self.ask(move |t| sessions::list(t, subject.as_ref(), most, now)).await
    }

    async fn page(
        &self,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<SessionPage, StoreError> {
        self.ask(move |t| sessions::page(t, after, now)).await
    }

    async fn rotate(
        &self,
        id: SessionId,
        rotation: Rotation,
        now: Timestamp,
    ) -> Result<Rotated, StoreError> {
        self.ask(move |t| sessions::rotate(t, id, &rotation, now)).await
    }

    async fn renew(
        &self,
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        self.ask(move |t| sessions::renew(t, id, presented, access_until, now)).await
    }

    async fn revoke(&self, what: Revoke, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let wanted = what.clone();
        let ended = self.ask(move |t| sessions::revoke(t, &wanted, now)).await;
        if ended.is_err() {
            self.memory.owe(what, now);
        }
        ended
    }

    async fn put_code(
        &self,
        code: Code,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<PutCode, StoreError> {
        self.ask(move |t| codes::put(t, &code, per_hour, now)).await
    }

    async fn find_code(&self, key: Digest, now: Timestamp) -> Result<Option<Code>, StoreError> {
        self.ask(move |t| codes::find(t, key, now)).await
    }

    async fn use_code(&self, guess: CodeGuess, now: Timestamp) -> Result<CodeVerdict, StoreError> {
        self.ask(move |t| codes::guess(t, &guess, now)).await
    }

    async fn count_attempt(
        &self,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<Admission, StoreError> {
        self.ask(move |t| attempts::reserve(t, &attempt, now)).await
    }

    async fn attempt_succeeded(
        &self,
        attempt: Attempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.ask(move |t| attempts::succeeded(t, &attempt, progress, now)).await
    }

    async fn attempt_undecided(&self, attempt: Attempt, now: Timestamp) -> Result<(), StoreError> {
        self.ask(move |t| attempts::undecided(t, &attempt, now)).await
    }

    async fn lift_limits(&self, account: Digest, _now: Timestamp) -> Result<bool, StoreError> {
        self.ask(move |t| attempts::lift(t, account)).await
    }

    async fn rehashed(
        &self,
        user: UserRef<'_>,
        old: Digest,
        new: Digest,
    ) -> Result<(), StoreError> {
        let (source, id) = (user.source.to_owned(), user.id.clone());
        let (subject, now) = (user.subject.clone(), self.memory.clock.now());
        self.ask(move |t| {
            let user = UserRef { source: &source, id: &id, subject: &subject };
            versions::rehashed(t, user, (old, new), now)
        })
        .await
    }

    async fn put_account(&self, account: Account) -> Result<(), StoreError> {
        self.ask(move |t| known_users::put(t, &account)).await
    }

    async fn find_account(
        &self,
        source: &str,
        by: AccountKey<'_>,
    ) -> Result<Option<Account>, StoreError> {
        let source = source.to_owned();
        match by {
            AccountKey::Subject(subject) => {
                let subject = subject.clone();
                self.ask(move |t| known_users::find(t, &source, AccountKey::Subject(&subject)))
                    .await
            }
            AccountKey::Name(name) => {
                let name = name.to_owned();
                self.ask(move |t| known_users::find(t, &source, AccountKey::Name(&name))).await
            }
        }
    }

    async fn remove_account(&self, source: &str, subject: &UserId) -> Result<(), StoreError> {
        let (source, subject) = (source.to_owned(), subject.clone());
        self.ask(move |t| known_users::remove(t, &source, &subject)).await
    }

    async fn account_counts(&self, source: &str) -> Result<AccountCounts, StoreError> {
        let source = source.to_owned();
        self.ask(move |t| known_users::counts(t, &source)).await
    }

    async fn put_totp(
        &self,
        source: &str,
        id: &UserId,
        totp: Option<Totp>,
    ) -> Result<(), StoreError> {
        let (source, id) = (source.to_owned(), id.clone());
        self.ask(move |t| second_steps::put(t, (&source, &id), totp.as_ref())).await
    }

    async fn find_totp(&self, source: &str, id: &UserId) -> Result<Option<Totp>, StoreError> {
        let (source, id) = (source.to_owned(), id.clone());
        self.ask(move |t| second_steps::find(t, (&source, &id))).await
    }

    async fn use_totp_step(
        &self,
        source: &str,
        id: &UserId,
        step: u64,
    ) -> Result<bool, StoreError> {
        let (source, id) = (source.to_owned(), id.clone());
        self.ask(move |t| second_steps::use_step(t, (&source, &id), step)).await
    }

    fn revocations(&self) -> &Arc<Revocations> {
        &self.memory.revocations
    }

    fn made(&self) -> Timestamp {
        self.birth.made
    }

    fn secret(&self) -> &[u8; 32] {
        &self.birth.secret
    }

    fn healthy(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() {
            return Err(unavailable("it is closed"));
        }
        self.memory.healthy()
    }

    async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // If the queue is full, the writer is awake already and will see `closing`.
        let _ = self.queue.try_send(Message::Wake);
        self.closed.cancelled().await;
    }
}
