//! The embedded store: a redb database file in the state folder, owned by one thread.
//!
//! `EmbeddedStore` is the handle: it queues operations for the `writer` and awaits the answers, so
//! that no runtime thread waits for a disk. The operations are in `sessions`, `codes`, `attempts`
//! and `sweep`, as functions over the tables of one write transaction. `file` makes and opens the
//! file; `memory` is the state kept beside it.

mod accounts;
mod attempts;
mod codes;
mod cutoffs;
mod effects;
mod export;
mod fault_injection;
mod file;
mod frozen;
mod import;
mod job;
mod known_users;
mod memory;
mod opaque_tokens;
mod rehashed_versions;
mod release;
mod second_steps;
mod seen;
mod session_rows;
mod sessions;
mod sweep;
mod tables;
mod time;
mod upgrade;
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

pub use self::fault_injection::InjectedFaults;
pub use self::file::StoreOpenError;
use self::file::{StoreFile, StoreIdentity};
use self::job::{WriteJob, WriterMessage, unavailable};
use self::memory::SharedMemory;
use self::rehashed_versions::VersionChange;
use self::sessions::SessionRenewal;
use self::tables::{StoreFault, Tables};
use self::writer::StoreWriter;
use super::{
    AttemptAdmission, AttemptStore, CodeGuess, CodeStore, CodeVerdict, LoginAttempt, LoginProgress,
    OneTimeCode, OpaqueToken, PutCode, RefreshRotation, RevocationTarget, Revocations,
    RotationOutcome, SealedCredential, Session, SessionPage, SessionStore, Store, StoreError,
    UserRef,
};
use tollhouse_core::clock::{Clock, Timestamp};
use tollhouse_core::identity::{IdRules, SessionId, Subject};
use tollhouse_core::secret::Digest;

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
    pub backend_faults: Option<Arc<InjectedFaults>>,
}

/// Bound on the operations that wait for the writer; further ones fail at once.
const QUEUE: usize = 4096;

/// A session store in a local file. Dropping the last handle ends the writer thread.
pub struct EmbeddedStore {
    path: PathBuf,
    birth: StoreIdentity,
    memory: Arc<SharedMemory>,
    queue: SyncSender<WriterMessage>,
    closing: Arc<AtomicBool>,
    closed: CancellationToken,
}

/// The reasons why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "this gateway's store is a shared database: back it up with the database's own tools, or \
         write its content to a file with `tollhouse store export`"
    )]
    Shared,
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
    pub fn open(options: EmbeddedOptions) -> Result<Arc<Self>, StoreOpenError> {
        let place = StoreFile {
            path: options.path.clone(),
            faults: options.backend_faults,
            ids: options.ids,
        };
        if !place.exists()? {
            if options.keys_exist && !options.new_state {
                return Err(place.missing());
            }
            place.create(options.clock.now())?;
        }
        let (mut db, birth) = place.open()?;
        file::compact(&mut db, &options.path).map_err(|fault| place.unusable(fault))?;
        let memory = SharedMemory::new(options.clock, options.leeway, options.longest_access);
        let memory = Arc::new(memory);
        file::load(&db, &memory, &place.path, birth).map_err(|fault| place.unusable(fault))?;

        let (queue, receiver) = sync_channel(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let closed = CancellationToken::new();
        let ended = closed.clone();
        let writer =
            StoreWriter::new(place.clone(), db, birth, memory.clone(), receiver, closing.clone());
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let _ended = ended.drop_guard();
                writer.run();
            })
            .map_err(|source| StoreOpenError::Io { path: options.path, source })?;
        Ok(Arc::new(Self { path: place.path, birth, memory, queue, closing, closed }))
    }

    /// Writes a consistent copy to a new file, while the store goes on.
    ///
    /// # Errors
    /// When the store is unavailable, or `to` exists or cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<(), BackupError> {
        let (sender, answer) = oneshot::channel();
        self.send(WriterMessage::Snapshot(sender))?;
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
        let looked = self.ask(move |tables| sweep::pass(tables, now)).await?;
        self.memory.revocations.sweep(now);
        Ok(looked)
    }

    async fn ask<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tables<'_>) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = WriteJob::new(run);
        self.send(WriterMessage::Job(job))?;
        answer.await.unwrap_or_else(|_| Err(unavailable("it is closed")))
    }

    fn send(&self, message: WriterMessage) -> Result<(), StoreError> {
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
        limit: NonZeroUsize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.ask(move |tables| sessions::put(tables, &session, limit, now)).await
    }

    async fn find(&self, id: SessionId, now: Timestamp) -> Result<Option<Session>, StoreError> {
        self.ask(move |tables| sessions::find(tables, id, now)).await
    }

    async fn find_by_token(
        &self,
        token: Digest,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        self.ask(move |tables| sessions::find_by_token(tables, &token, now)).await
    }

    async fn list(
        &self,
        subject: Option<&Subject>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        let subject = subject.cloned();
        self.ask(move |tables| sessions::list(tables, subject.as_ref(), limit, now)).await
    }

    async fn page(
        &self,
        after: Option<SessionId>,
        now: Timestamp,
    ) -> Result<SessionPage, StoreError> {
        self.ask(move |tables| sessions::page(tables, after, now)).await
    }

    async fn rotate(
        &self,
        id: SessionId,
        rotation: RefreshRotation,
        now: Timestamp,
    ) -> Result<RotationOutcome, StoreError> {
        self.ask(move |tables| sessions::rotate(tables, id, &rotation, now)).await
    }

    async fn renew(
        &self,
        id: SessionId,
        presented: Option<Digest>,
        access_until: Timestamp,
        issued: Option<OpaqueToken>,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let renewal = SessionRenewal { presented, access_until, issued };
        self.ask(move |tables| sessions::renew(tables, id, &renewal, now)).await
    }

    async fn revoke(
        &self,
        what: RevocationTarget,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let wanted = what.clone();
        let ended = self.ask(move |tables| sessions::revoke(tables, &wanted, now)).await;
        if ended.is_err() {
            self.memory.defer(what, now);
        }
        ended
    }

    async fn move_token(
        &self,
        id: SessionId,
        token: Digest,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        self.ask(move |tables| sessions::move_token(tables, id, &token, until, now)).await
    }

    async fn keep_credential(
        &self,
        id: SessionId,
        credential: SealedCredential,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.ask(move |tables| sessions::keep_credential(tables, id, &credential, now)).await
    }

    async fn rehashed(
        &self,
        user: UserRef<'_>,
        old: Digest,
        new: Digest,
    ) -> Result<(), StoreError> {
        let source = user.source.to_owned();
        let id = user.id.clone();
        let subject = user.subject.clone();
        let now = self.memory.clock.now();
        self.ask(move |tables| {
            let user = UserRef { source: &source, id: &id, subject: &subject };
            rehashed_versions::rehashed(tables, user, VersionChange { old, new }, now)
        })
        .await
    }
}

#[async_trait]
impl CodeStore for EmbeddedStore {
    async fn put_code(
        &self,
        code: OneTimeCode,
        per_hour: u32,
        now: Timestamp,
    ) -> Result<PutCode, StoreError> {
        self.ask(move |tables| codes::put(tables, &code, per_hour, now)).await
    }

    async fn find_code(
        &self,
        key: Digest,
        now: Timestamp,
    ) -> Result<Option<OneTimeCode>, StoreError> {
        self.ask(move |tables| codes::find(tables, key, now)).await
    }

    async fn use_code(&self, guess: CodeGuess, now: Timestamp) -> Result<CodeVerdict, StoreError> {
        self.ask(move |tables| codes::guess(tables, &guess, now)).await
    }
}

#[async_trait]
impl AttemptStore for EmbeddedStore {
    async fn count_attempt(
        &self,
        attempt: LoginAttempt,
        now: Timestamp,
    ) -> Result<AttemptAdmission, StoreError> {
        self.ask(move |tables| attempts::reserve(tables, &attempt, now)).await
    }

    async fn attempt_succeeded(
        &self,
        attempt: LoginAttempt,
        progress: LoginProgress,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.ask(move |tables| attempts::succeeded(tables, &attempt, progress, now)).await
    }

    async fn attempt_undecided(
        &self,
        attempt: LoginAttempt,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.ask(move |tables| attempts::undecided(tables, &attempt, now)).await
    }

    async fn lift_limits(&self, account: Digest, now: Timestamp) -> Result<bool, StoreError> {
        self.ask(move |tables| attempts::lift(tables, account, now)).await
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn revocations(&self) -> &Arc<Revocations> {
        &self.memory.revocations
    }

    fn secret(&self) -> [u8; 32] {
        self.birth.secret
    }

    fn healthy(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() {
            return Err(unavailable("it is closed"));
        }
        self.memory.healthy()
    }

    fn has_unwritten_end(&self, session: SessionId) -> bool {
        self.memory.owes(session)
    }

    fn notes(&self) -> Vec<String> {
        let now = self.memory.clock.now();
        let mut notes: Vec<String> = self.memory.time(|time| time.note()).into_iter().collect();
        notes.extend(self.memory.restored().and_then(|restored| restored.note(now)));
        if self.birth.created_at > now.plus(self.memory.leeway()) {
            notes.push(format!(
                "the store was made at {}, which is still to come: the clock was wrong then or is \
                 wrong now",
                self.birth.created_at
            ));
        }
        notes
    }

    fn set_lifetimes(&self, leeway: Duration, longest_access: Duration) {
        self.memory.set_lifetimes(leeway, longest_access);
    }

    async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        // If the queue is full, the writer is awake already and will see `closing`.
        let _ = self.queue.try_send(WriterMessage::Wake);
        self.closed.cancelled().await;
    }
}
