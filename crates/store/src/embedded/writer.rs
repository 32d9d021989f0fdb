//! The writer: the one thread that owns the database.
//!
//! Group commit: the queued operations are carried out in one transaction and answered after its
//! commit, so that many waiters share one fsync.
//!
//! After an I/O error redb accepts nothing more. Then all waiting operations get an error, the
//! database is dropped and opened again with back-off, and the file says what the failed commit did
//! or did not do. The writer never answers an operation before its result is durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::file::{self, META_UNTOLD, StoreFile, StoreIdentity};
use super::job::{WriteJob, WriterMessage, unavailable};
use super::memory::SharedMemory;
use super::tables::{StoreFault, Tables};
use super::{seen, sessions, sweep};
use crate::StoreError;
use tollhouse_core::clock::Timestamp;

/// Operations in one transaction. The bound limits how long the first of them waits.
const BATCH: usize = 1024;
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// The interval of the sweep while more expired rows are left than one pass removes.
const SWEEP_AGAIN: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How soon the writer notices work for which it gets no message, such as an owed revocation.
const IDLE_POLL: Duration = Duration::from_millis(500);

/// The place of a failure in a transaction. It decides whether one operation is refused or the
/// database is opened again. A panic counts for the operation that was running.
enum TransactionFailure {
    /// One operation failed, named by its index. The others are repeated without it.
    Job(usize, String),
    /// The database failed, and with it every operation of the transaction.
    Store(String),
}

impl<E: Into<StoreFault>> From<E> for TransactionFailure {
    fn from(error: E) -> Self {
        Self::Store(error.into().to_string())
    }
}

/// The state of the writer thread.
pub(super) struct StoreWriter {
    place: StoreFile,
    birth: StoreIdentity,
    memory: Arc<SharedMemory>,
    queue: Receiver<WriterMessage>,
    closing: Arc<AtomicBool>,
    db: Option<Database>,
    /// True while another process may have the file: it is not opened again by itself.
    is_released: bool,
    retry_at: Instant,
    retry_after: Duration,
    sweep_at: Instant,
    /// True if the file names sessions whose rotation may not have been answered.
    unacknowledged: bool,
    /// The time in the file `store.seen`, to write it only when it changes.
    seen: Timestamp,
    /// The index of the operation that runs now, so that a panic can be blamed on it.
    running: Option<usize>,
}

impl StoreWriter {
    pub(super) fn new(
        place: StoreFile,
        db: Database,
        birth: StoreIdentity,
        memory: Arc<SharedMemory>,
        queue: Receiver<WriterMessage>,
        closing: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            place,
            birth,
            memory,
            queue,
            closing,
            db: Some(db),
            is_released: false,
            retry_at: now,
            retry_after: FIRST_RETRY,
            sweep_at: now + SWEEP_EVERY,
            unacknowledged: false,
            seen: Timestamp::default(),
            running: None,
        }
    }

    /// Works until the store is closed or the last handle is dropped.
    pub(super) fn run(mut self) {
        loop {
            match self.queue.recv_timeout(self.nap()) {
                Ok(first) => self.take(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.maintain();
            if self.closing.load(Ordering::SeqCst) {
                // `send` refuses new operations once `closing` is set. What was accepted before is
                // still carried out, because its callers wait for an answer. Dropping them would
                // lose a login that the caller believes to be under way.
                while let Ok(next) = self.queue.try_recv() {
                    self.take(next);
                }
                break;
            }
        }
        self.finish();
    }

    /// Sleeps until the next duty, but never longer than `IDLE_POLL`: an owed revocation sends no
    /// message.
    fn nap(&self) -> Duration {
        if self.is_released {
            return IDLE_POLL;
        }
        let next = if self.db.is_some() { self.sweep_at } else { self.retry_at };
        next.saturating_duration_since(Instant::now()).min(IDLE_POLL)
    }

    /// Carries out `first` and the messages queued behind it, up to `BATCH`.
    fn take(&mut self, first: WriterMessage) {
        let mut jobs = Vec::new();
        let mut snapshots = Vec::new();
        let mut release = None;
        let mut is_reclaimed = false;
        for message in std::iter::once(first).chain(self.queue.try_iter()).take(BATCH) {
            match message {
                WriterMessage::Job(job) => jobs.push(job),
                WriterMessage::Snapshot(answer) => snapshots.push(answer),
                WriterMessage::Release(answer) => release = Some(answer),
                WriterMessage::Reclaim => {
                    // A release that nobody waited for any more is undone before it is done.
                    release = None;
                    is_reclaimed = true;
                }
                WriterMessage::Wake => {}
            }
        }
        if is_reclaimed {
            // Operations of the same batch may have come behind it: they must find the file open.
            self.reclaim();
            self.maintain();
        }
        if !jobs.is_empty() {
            self.carry_out(jobs);
        }
        // Snapshots come after the operations of the same batch, so that a backup contains
        // everything that was accepted before it was requested.
        for answer in snapshots {
            // The caller may have given up waiting.
            let _ = answer.send(self.snapshot());
        }
        // The file is closed last, so that everything that was accepted before is in it.
        if let Some(answer) = release {
            self.release();
            let _ = answer.send(());
        }
    }

    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        let db = self.db.as_ref().ok_or_else(|| self.trouble())?;
        db.begin_read().map_err(unavailable)
    }

    fn carry_out(&mut self, mut jobs: Vec<WriteJob>) {
        if self.db.is_none() {
            let trouble = self.trouble();
            return answer(jobs, &Err(trouble));
        }
        // The transaction is repeated until it succeeds. Each repetition has one operation less, so
        // the loop ends after at most as many rounds as there are operations. Operations that
        // succeeded before run again in the new transaction, which has none of their changes.
        loop {
            match self.attempt(&mut jobs) {
                Ok(()) => {
                    self.memory.note(None);
                    return answer(jobs, &Ok(()));
                }
                Err(TransactionFailure::Job(index, why)) => {
                    tracing::error!(why, "an operation of the session store failed");
                    if index < jobs.len() {
                        answer(vec![jobs.remove(index)], &Err(unavailable(why)));
                    }
                }
                Err(TransactionFailure::Store(why)) => {
                    let path = self.place.path.display();
                    tracing::error!(%path, why, "the session store failed and will be opened again");
                    let trouble = self.lose(&why);
                    return answer(jobs, &Err(trouble));
                }
            }
        }
    }

    /// A panic in an operation must not end the only thread that can write. The transaction is
    /// dropped, which aborts it, and the operation that ran is answered with an error. If no
    /// operation was running, the database itself is taken to be broken.
    fn attempt(&mut self, jobs: &mut [WriteJob]) -> Result<(), TransactionFailure> {
        self.running = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| self.transact(jobs)));
        outcome.unwrap_or_else(|_| {
            let why = "it panicked".to_owned();
            Err(self.running.map_or(TransactionFailure::Store(why.clone()), |job| {
                TransactionFailure::Job(job, why)
            }))
        })
    }

    /// One transaction: owed revocations first, then the operations, then the commit.
    fn transact(&mut self, jobs: &mut [WriteJob]) -> Result<(), TransactionFailure> {
        let closed = || TransactionFailure::Store("it is not open".to_owned());
        let txn = self.db.as_ref().ok_or_else(closed)?.begin_write()?;
        let mut tables = Tables::open(&txn, &self.memory.revocations, self.memory.leeway())?;
        // Owed revocations come first. Else an operation of this batch, for example a refresh,
        // could see a session as alive that was revoked before. Memory refuses such sessions
        // already; this makes the file agree with it.
        let owed = self.memory.owed();
        for (what, at) in &owed {
            match sessions::revoke(&mut tables, what, *at) {
                Err(StoreFault::Row(error)) => {
                    tracing::error!(%error, "a revocation is in memory only")
                }
                other => drop(other?),
            }
        }
        for (index, job) in jobs.iter_mut().enumerate() {
            self.running = Some(index);
            job.run(&mut tables).map_err(|fault| match fault {
                StoreFault::Row(_) => TransactionFailure::Job(index, fault.to_string()),
                StoreFault::Store(_) => fault.into(),
            })?;
        }
        self.running = None;
        let unacknowledged = self.name_unacknowledged(&mut tables)?;
        let dirty = tables.dirty();
        let effects = std::mem::take(&mut tables.effects);
        drop(tables);
        // The order matters: commit, then `unacknowledged`, then memory, then the answers (by the
        // caller). Memory must not show a change that a failed commit has lost, and an answered
        // client must find the change in memory.
        if dirty {
            txn.commit()?;
            self.unacknowledged = unacknowledged;
        } else {
            txn.abort()?;
        }
        self.memory.apply(effects);
        self.memory.mark_written(owed.len());
        Ok(())
    }

    /// Writes down which sessions were rotated, in the same transaction as the rotation. If the
    /// process dies between the commit and the answers, the next start begins the grace period of
    /// these sessions again.
    fn name_unacknowledged(&self, tables: &mut Tables<'_>) -> Result<bool, TransactionFailure> {
        let ids: Vec<u8> = tables.effects.rotated.iter().flat_map(|id| *id.0.as_bytes()).collect();
        if !ids.is_empty() {
            tables.change().meta.insert(META_UNTOLD, ids.as_slice()).map_err(StoreFault::from)?;
        } else if self.unacknowledged && tables.dirty() {
            // The note of an earlier commit is removed with the next commit that happens anyway:
            // its clients have their answers by then, and a commit only for this would cost an
            // fsync.
            tables.change().meta.remove(META_UNTOLD).map_err(StoreFault::from)?;
        }
        Ok(!ids.is_empty() || (self.unacknowledged && !tables.dirty()))
    }

    /// Drops a database that failed and sets the time of the next attempt to open it.
    fn lose(&mut self, why: &str) -> StoreError {
        let trouble = unavailable(why);
        self.db = None;
        self.retry_at = Instant::now() + self.retry_after;
        self.memory.note(Some(&trouble));
        trouble
    }

    fn trouble(&self) -> StoreError {
        self.memory.healthy().err().unwrap_or_else(|| unavailable("it is not open"))
    }

    /// Work that no message asks for: opening the database again, writing owed revocations,
    /// sweeping. Each is skipped while the database is not open, except opening it.
    fn maintain(&mut self) {
        if self.db.is_none() && !self.is_released && Instant::now() >= self.retry_at {
            self.reopen();
        }
        if self.db.is_some() && !self.memory.owed().is_empty() {
            self.carry_out(Vec::new());
        }
        if self.db.is_some() && Instant::now() >= self.sweep_at {
            self.sweep();
        }
    }

    fn reopen(&mut self) {
        match self.try_reopen() {
            Ok(db) => {
                tracing::info!("the session store works again");
                self.db = Some(db);
                self.unacknowledged = false;
                self.retry_after = FIRST_RETRY;
                self.memory.note(None);
            }
            Err(why) => {
                tracing::warn!(why, "the session store still fails");
                self.retry_after = (self.retry_after * 2).min(LAST_RETRY);
                self.lose(&why);
            }
        }
    }

    fn try_reopen(&self) -> Result<Database, String> {
        self.place.room().map_err(|error| error.to_string())?;
        let (db, birth) = self.place.open().map_err(|error| error.to_string())?;
        // The file was replaced while the gateway ran. Its secret differs, so derived `jti`s and
        // hashes of codes would not match; only a restart can take it over.
        if birth != self.birth {
            return Err("another store is in its place; restart the gateway".to_owned());
        }
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            file::load(&db, &self.memory, &self.place.path, birth)
        }));
        loaded.map_err(|_| "it panicked".to_owned())?.map_err(|fault| fault.to_string())?;
        Ok(db)
    }

    fn sweep(&mut self) {
        let now = self.memory.clock.now();
        let believed = self.memory.time(|time| time.is_believed());
        let memory = self.memory.clone();
        let (job, mut looked) = WriteJob::new(move |tables| {
            file::write_highest(tables, &memory)?;
            // While the clock is not believed, nothing is removed: if it is wrong, rows would be
            // gone that are needed once it is right again.
            if believed { sweep::pass(tables, now) } else { Ok(0) }
        });
        self.carry_out(vec![job]);
        let looked = looked.try_recv().ok().and_then(Result::ok);
        if looked.is_some() {
            self.write_seen();
        }
        let more = looked.is_some_and(|rows| rows >= sweep::PASS);
        // The memory is swept after the file has nothing left that is due: a revocation in memory
        // must not go before the session row that it refuses. In the other order the session would
        // seem alive for a moment.
        if believed && !more {
            self.memory.revocations.sweep(now);
        }
        self.sweep_at = Instant::now() + if more { SWEEP_AGAIN } else { SWEEP_EVERY };
    }

    /// Writes the file `store.seen`, after the store itself has the same time on its disk.
    fn write_seen(&mut self) {
        let seen = self.memory.time(|time| time.written());
        if seen != self.seen {
            seen::write(&self.place.path, &self.birth.secret, seen);
            self.seen = seen;
        }
    }

    /// Closes the file, so that another process can have it. Until it is reclaimed, operations fail,
    /// and revocations that are requested are owed.
    fn release(&mut self) {
        self.close_file();
        self.is_released = true;
        self.memory.note(Some(&unavailable("it is given to another process")));
    }

    /// Opens the released file as soon as the other process lets it go.
    fn reclaim(&mut self) {
        self.is_released = false;
        self.retry_at = Instant::now();
        self.retry_after = FIRST_RETRY;
    }

    /// Closes the file for good.
    fn finish(mut self) {
        self.close_file();
        let lost = self.memory.owed().len();
        if lost > 0 {
            tracing::error!(lost, "revocations could not be written and end with the process");
        }
    }

    /// Writes owed revocations, records a clean end, and closes the file.
    fn close_file(&mut self) {
        let owes = !self.memory.owed().is_empty();
        if self.db.is_none() && !self.is_released && owes {
            self.reopen();
        }
        if self.db.is_some() {
            let memory = self.memory.clone();
            let unacknowledged = owes || self.unacknowledged;
            let (job, mut written) = WriteJob::new(move |tables| {
                if unacknowledged {
                    // Every client has its answer by now, so no grace period needs to be restarted.
                    tables.change().meta.remove(META_UNTOLD)?;
                }
                file::write_highest(tables, &memory)
            });
            self.carry_out(vec![job]);
            if matches!(written.try_recv(), Ok(Ok(()))) {
                self.write_seen();
            }
        }
        if let Some(Err(error)) = self.db.take().map(Database::close) {
            tracing::warn!(%error, "the session store was not closed cleanly");
        }
    }
}

fn answer(jobs: Vec<WriteJob>, outcome: &Result<(), StoreError>) {
    for job in jobs {
        job.answer(outcome.clone());
    }
}
