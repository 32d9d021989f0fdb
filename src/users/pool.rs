//! The threads that hash passwords, and the queue before them.
//!
//! Hashing is dear on purpose, so it has threads of its own (at nice 10: on Linux that holds for
//! the single thread, and the kernel then prefers the workers), a bounded queue, and a bound on
//! how much of the queue one origin may hold. A full queue is said at once, never waited for.
//! A panic in one job costs that job. The threads end when the pool is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::meter::{Meter, Operations};
use super::password::{self, Cost, HashError, StoredHash};
use crate::admission::{GroupCounts, share_of};
use crate::config::WeakScheme;
use crate::secret::SecretString;

const NICE: i32 = 10;

/// Why the pool has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PoolError {
    #[error("{waiting} passwords are already waiting to be hashed")]
    Busy { waiting: usize },

    #[error("hashing ended without an answer")]
    Lost,

    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Threads that hash passwords.
#[derive(Debug)]
pub struct PasswordPool {
    shared: Arc<Shared>,
}

struct Shared {
    line: Mutex<Line>,
    arrived: Condvar,
    meter: Meter,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("parallel", &self.lock().parallel).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    /// How many jobs of each client wait.
    held: GroupCounts,
    busy: usize,
    closed: bool,
    /// As many threads as there should be, and as there are.
    parallel: usize,
    threads: usize,
    /// How many jobs may wait, and how many of one client.
    queue: usize,
    share: usize,
}

struct Job {
    /// Whose share of the queue it holds.
    origin: Option<IpAddr>,
    run: Box<dyn FnOnce() + Send>,
}

impl PasswordPool {
    /// Starts `parallel` threads with room for `queue` waiting jobs; at least one of each.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(parallel: usize, queue: usize) -> io::Result<Arc<Self>> {
        let pool = Self {
            shared: Arc::new(Shared {
                line: Mutex::default(),
                arrived: Condvar::new(),
                meter: Meter::default(),
            }),
        };
        pool.resize(parallel, queue)?;
        Ok(Arc::new(pool))
    }

    /// Changes how many threads there are and how many jobs may wait; at least one of each. Jobs
    /// that wait stay, and threads over the number end after the job at hand.
    ///
    /// # Errors
    /// When the system gives no more threads; there are then fewer than asked for.
    pub fn resize(&self, parallel: usize, queue: usize) -> io::Result<()> {
        let (parallel, queue) = (parallel.max(1), queue.max(1));
        let mut line = self.shared.lock();
        line.queue = queue;
        line.share = share_of(queue);
        line.parallel = parallel;
        while line.threads < parallel {
            let shared = self.shared.clone();
            let name = format!("hash-{}", line.threads);
            thread::Builder::new().name(name).spawn(move || {
                lower_priority();
                shared.serve();
            })?;
            line.threads += 1;
        }
        drop(line);
        self.shared.arrived.notify_all();
        Ok(())
    }

    /// Runs `work` on one of the threads. `origin` is the client's address group; without one
    /// only the whole queue's bound holds.
    ///
    /// # Errors
    /// `Busy` at once if the queue, or the origin's share of it, is full; `Lost` if `work`
    /// panicked.
    pub async fn run<T, F>(&self, origin: Option<IpAddr>, work: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move || {
            // Whoever asked may have gone: then the work helps nobody.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        self.shared.join(Job { origin, run })?;
        answered.await.map_err(|_| PoolError::Lost)
    }

    /// True if `stored` is the hash of `password`.
    ///
    /// # Errors
    /// As `run`, and when the hash could not be computed.
    pub async fn verify(
        &self,
        password: SecretString,
        stored: Arc<StoredHash>,
        origin: Option<IpAddr>,
    ) -> Result<bool, PoolError> {
        let shared = self.shared.clone();
        let work = move || {
            shared.meter.note(stored.cost());
            let right = stored.verify(password.expose())?;
            if let Some(scheme) = stored.weak().filter(|_| right) {
                shared.meter.note_weak(scheme);
            }
            Ok::<_, HashError>(right)
        };
        Ok(self.run(origin, work).await??)
    }

    /// A new hash of `password`, then `and_then` with it on the same thread.
    ///
    /// # Errors
    /// As `run`, and when the hash could not be computed.
    pub async fn hash<T, F>(
        &self,
        password: SecretString,
        origin: Option<IpAddr>,
        and_then: F,
    ) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce(StoredHash) -> T + Send + 'static,
    {
        let shared = self.shared.clone();
        let work = move || {
            shared.meter.note(Cost::default());
            password::hash(password.expose()).map(and_then)
        };
        Ok(self.run(origin, work).await??)
    }

    /// What this pool has hashed since it started.
    pub fn operations(&self) -> Operations {
        self.shared.meter.operations()
    }

    /// How often a password was right by a weak hash, for each scheme.
    pub fn weak_logins(&self) -> Vec<(WeakScheme, u64)> {
        self.shared.meter.weak()
    }

    /// Jobs that wait for a thread now.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting()
    }
}

impl Drop for PasswordPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_all();
    }
}

impl Line {
    /// Jobs beyond those that a free thread is about to take.
    fn waiting(&self) -> usize {
        self.jobs.len().saturating_sub(self.parallel.saturating_sub(self.busy))
    }

    fn take(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        if let Some(origin) = job.origin {
            self.held.give_back(origin, 1);
        }
        self.busy += 1;
        Some(job)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing in the lock can be left half done by a panic, so a poisoned one is taken over.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, mut job: Job) -> Result<(), PoolError> {
        let mut line = self.lock();
        if line.busy + line.jobs.len() < line.parallel {
            // A thread is free: what it takes at once holds no place in the queue.
            job.origin = None;
        } else {
            let waiting = line.waiting();
            let share = line.share;
            let is_full = waiting >= line.queue;
            let has_share = |origin| line.held.take(origin, 1, share);
            if is_full || !job.origin.is_none_or(has_share) {
                return Err(PoolError::Busy { waiting });
            }
        }
        line.jobs.push_back(job);
        drop(line);
        self.arrived.notify_one();
        Ok(())
    }

    /// One thread's life.
    fn serve(&self) {
        let mut line = self.lock();
        loop {
            if line.closed {
                return;
            }
            if line.threads > line.parallel {
                line.threads -= 1;
                return;
            }
            let Some(job) = line.take() else {
                line = self.arrived.wait(line).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(line);
            if catch_unwind(AssertUnwindSafe(job.run)).is_err() {
                tracing::error!("a password job panicked; its login is answered as unavailable");
            }
            line = self.lock();
            line.busy -= 1;
        }
    }
}

/// On Linux a priority set for a thread id holds for that thread alone.
fn lower_priority() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        tracing::debug!(%error, "password threads keep the process's priority");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const ALICE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const BOB: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    /// Holds the pool's only thread until the sender is dropped.
    async fn block(pool: &Arc<PasswordPool>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (release, held) = mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let pool = pool.clone();
        #[allow(clippy::disallowed_methods)] // A test has no back room.
        let task = tokio::spawn(async move {
            let work = move || {
                let _ = started.send(());
                let _ = held.recv();
            };
            pool.run(None, work).await.unwrap();
        });
        running.await.unwrap();
        (release, task)
    }

    /// Puts a job in the queue and leaves it there.
    fn queue(pool: &PasswordPool, origin: Option<IpAddr>) -> Result<(), PoolError> {
        pool.shared.join(Job { origin, run: Box::new(|| ()) })
    }

    #[tokio::test]
    async fn one_origin_holds_an_eighth_of_the_queue_and_others_still_enter() {
        let pool = PasswordPool::start(1, 16).unwrap();
        let (release, task) = block(&pool).await;

        queue(&pool, ALICE).unwrap();
        queue(&pool, ALICE).unwrap();
        assert!(matches!(queue(&pool, ALICE), Err(PoolError::Busy { waiting: 2 })));
        queue(&pool, BOB).unwrap();
        for _ in 0..13 {
            queue(&pool, None).unwrap();
        }
        assert!(matches!(queue(&pool, BOB), Err(PoolError::Busy { waiting: 16 })), "all is full");

        drop(release);
        task.await.unwrap();
        let small = PasswordPool::start(1, 4).unwrap();
        assert_eq!(small.run(ALICE, || 1).await.unwrap(), 1, "a share is never nothing");
    }

    #[tokio::test]
    async fn one_site_holds_half_of_the_queue_at_most() {
        let pool = PasswordPool::start(1, 64).unwrap();
        let (release, task) = block(&pool).await;

        let from = |subnet: u16| {
            Some(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, subnet, 0, 0, 0, 0).into())
        };
        let queued = (0..64).filter(|number| queue(&pool, from(number << 8)).is_ok()).count();

        assert_eq!(queued, 32, "a /64 has eight places, and its /48 four times as many");
        queue(&pool, BOB).unwrap();
        drop(release);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_costs_one_job_only() {
        let pool = PasswordPool::start(1, 8).unwrap();

        let lost = pool.run(None, || panic!("on purpose")).await;

        assert!(matches!(lost, Err::<(), _>(PoolError::Lost)));
        assert_eq!(pool.run(ALICE, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let pool = PasswordPool::start(3, 8).unwrap();
        let shared = Arc::downgrade(&pool.shared);

        drop(pool);

        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
