//! The one thread that owns the database.
//!
//! What is queued is carried out in one transaction and answered after its commit: many waiters
//! share an fsync. After an I/O error redb takes nothing more; then everybody is told so, the
//! database is dropped and opened anew with back-off, and what the failed commit may or may not
//! have done is read from the file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::file::{self, Birth, META_UNTOLD, Place};
use super::job::{Job, Message, unavailable};
use super::memory::Memory;
use super::tables::{Fault, Tables};
use super::{seen, sessions, sweep};
use crate::clock::Timestamp;
use crate::session::StoreError;

/// Operations in one transaction: a bound on how long the first of them waits.
const BATCH: usize = 1024;
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// While rows are left that have expired.
const SWEEP_AGAIN: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How soon the writer notices what nobody tells it, such as an owed revocation.
const NAP: Duration = Duration::from_millis(500);

/// What went wrong in a transaction.
enum Failure {
    /// One operation, by index: the others can do without it.
    Job(usize, String),
    /// The database.
    Store(String),
}

impl<E: Into<Fault>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Store(error.into().to_string())
    }
}

/// The writer's own state.
pub(super) struct Writer {
    place: Place,
    birth: Birth,
    memory: Arc<Memory>,
    queue: Receiver<Message>,
    closing: Arc<AtomicBool>,
    db: Option<Database>,
    retry_at: Instant,
    retry_after: Duration,
    sweep_at: Instant,
    /// The file names sessions whose rotation may not have been answered.
    untold: bool,
    /// What `store.seen` says.
    seen: Timestamp,
    /// The operation that runs now, in case it panics.
    running: Option<usize>,
}

impl Writer {
    pub(super) fn new(
        place: Place,
        (db, birth): (Database, Birth),
        memory: Arc<Memory>,
        queue: Receiver<Message>,
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
            retry_at: now,
            retry_after: FIRST_RETRY,
            sweep_at: now + SWEEP_EVERY,
            untold: false,
            seen: Timestamp::default(),
            running: None,
        }
    }

    /// Works until the store is closed or let go of.
    pub(super) fn run(mut self) {
        loop {
            match self.queue.recv_timeout(self.nap()) {
                Ok(first) => self.take(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.duties();
            if self.closing.load(Ordering::SeqCst) {
                // Nothing is accepted any more; what was accepted is carried out.
                while let Ok(next) = self.queue.try_recv() {
                    self.take(next);
                }
                break;
            }
        }
        self.finish();
    }

    fn nap(&self) -> Duration {
        let next = if self.db.is_some() { self.sweep_at } else { self.retry_at };
        next.saturating_duration_since(Instant::now()).min(NAP)
    }

    /// Carries out `first` and what is queued behind it.
    fn take(&mut self, first: Message) {
        let mut jobs = Vec::new();
        let mut snapshots = Vec::new();
        for message in std::iter::once(first).chain(self.queue.try_iter()).take(BATCH) {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Snapshot(answer) => snapshots.push(answer),
                Message::Wake => {}
            }
        }
        if !jobs.is_empty() {
            self.carry_out(jobs);
        }
        for answer in snapshots {
            // Whoever asked may have gone away.
            let _ = answer.send(self.snapshot());
        }
    }

    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        let db = self.db.as_ref().ok_or_else(|| self.trouble())?;
        db.begin_read().map_err(unavailable)
    }

    fn carry_out(&mut self, mut jobs: Vec<Job>) {
        if self.db.is_none() {
            let trouble = self.trouble();
            return answer(jobs, &Err(trouble));
        }
        loop {
            match self.attempt(&mut jobs) {
                Ok(()) => {
                    self.memory.note(None);
                    return answer(jobs, &Ok(()));
                }
                Err(Failure::Job(index, why)) => {
                    tracing::error!(why, "an operation of the session store failed");
                    if index < jobs.len() {
                        answer(vec![jobs.remove(index)], &Err(unavailable(why)));
                    }
                }
                Err(Failure::Store(why)) => {
                    let path = self.place.path.display();
                    tracing::error!(%path, why, "the session store failed and is opened anew");
                    let trouble = self.lose(&why);
                    return answer(jobs, &Err(trouble));
                }
            }
        }
    }

    fn attempt(&mut self, jobs: &mut [Job]) -> Result<(), Failure> {
        self.running = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| self.transact(jobs)));
        outcome.unwrap_or_else(|_| {
            let why = "it panicked".to_owned();
            Err(self.running.map_or(Failure::Store(why.clone()), |job| Failure::Job(job, why)))
        })
    }

    /// One transaction: what is owed, then the jobs, then the commit.
    fn transact(&mut self, jobs: &mut [Job]) -> Result<(), Failure> {
        let closed = || Failure::Store("it is not open".to_owned());
        let txn = self.db.as_ref().ok_or_else(closed)?.begin_write()?;
        let mut t = Tables::open(&txn, &self.memory.revocations, self.memory.leeway())?;
        let owed = self.memory.owed();
        for (what, at) in &owed {
            match sessions::revoke(&mut t, what, *at) {
                Err(Fault::Row(error)) => tracing::error!(%error, "a revocation is in memory only"),
                other => drop(other?),
            }
        }
        for (index, job) in jobs.iter_mut().enumerate() {
            self.running = Some(index);
            job.run(&mut t).map_err(|fault| match fault {
                Fault::Row(_) => Failure::Job(index, fault.to_string()),
                Fault::Store(_) => fault.into(),
            })?;
        }
        self.running = None;
        let untold = self.name_untold(&mut t)?;
        let (dirty, effects) = (t.dirty(), std::mem::take(&mut t.effects));
        drop(t);
        if dirty {
            txn.commit()?;
            self.untold = untold;
        } else {
            txn.abort()?;
        }
        self.memory.apply(effects);
        self.memory.settle(owed.len());
        Ok(())
    }

    /// Writes down whose rotation becomes durable before anyone is told of it: if we die in
    /// between, their grace begins when we are back.
    fn name_untold(&self, t: &mut Tables<'_>) -> Result<bool, Failure> {
        let ids: Vec<u8> = t.effects.rotated.iter().flat_map(|id| *id.0.as_bytes()).collect();
        if !ids.is_empty() {
            t.change().meta.insert(META_UNTOLD, ids.as_slice()).map_err(Fault::from)?;
        } else if self.untold && t.dirty() {
            t.change().meta.remove(META_UNTOLD).map_err(Fault::from)?;
        }
        Ok(!ids.is_empty() || (self.untold && !t.dirty()))
    }

    /// Lets go of a database that failed.
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

    /// What is done without being asked.
    fn duties(&mut self) {
        if self.db.is_none() && Instant::now() >= self.retry_at {
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
                self.untold = false;
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
        if birth != self.birth {
            return Err("another store is in its place; restart the gateway".to_owned());
        }
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            file::load(&db, &self.memory, (&self.place.path, birth))
        }));
        loaded.map_err(|_| "it panicked".to_owned())?.map_err(|fault| fault.to_string())?;
        Ok(db)
    }

    fn sweep(&mut self) {
        let now = self.memory.clock.now();
        let believed = self.memory.time(|time| time.is_believed());
        let memory = self.memory.clone();
        let (job, mut looked) = Job::new(move |t| {
            file::write_highest(t, &memory)?;
            if believed { sweep::pass(t, now) } else { Ok(0) }
        });
        self.carry_out(vec![job]);
        let looked = looked.try_recv().ok().and_then(Result::ok);
        if looked.is_some() {
            self.write_seen();
        }
        let more = looked.is_some_and(|rows| rows >= sweep::PASS);
        if believed && !more {
            self.memory.revocations.sweep(now);
        }
        self.sweep_at = Instant::now() + if more { SWEEP_AGAIN } else { SWEEP_EVERY };
    }

    /// The store has it on its disk what it has seen.
    fn write_seen(&mut self) {
        let seen = self.memory.time(|time| time.written());
        if seen != self.seen {
            seen::write(&self.place.path, &self.birth.secret, seen);
            self.seen = seen;
        }
    }

    /// Writes what is still owed and lets go of the file.
    fn finish(mut self) {
        let owes = !self.memory.owed().is_empty();
        if self.db.is_none() && owes {
            self.reopen();
        }
        if self.db.is_some() {
            let (memory, untold) = (self.memory.clone(), owes || self.untold);
            let (job, mut written) = Job::new(move |t| {
                if untold {
                    // Everybody has been told by now.
                    t.change().meta.remove(META_UNTOLD)?;
                }
                file::write_highest(t, &memory)
            });
            self.carry_out(vec![job]);
            if matches!(written.try_recv(), Ok(Ok(()))) {
                self.write_seen();
            }
        }
        let lost = self.memory.owed().len();
        if lost > 0 {
            tracing::error!(lost, "revocations could not be written and end with the process");
        }
        if let Some(Err(error)) = self.db.take().map(Database::close) {
            tracing::warn!(%error, "the session store was not closed cleanly");
        }
    }
}

fn answer(jobs: Vec<Job>, outcome: &Result<(), StoreError>) {
    for job in jobs {
        job.answer(outcome.clone());
    }
}
