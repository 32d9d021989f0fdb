//! The password pool: threads that hash passwords, and the queue in front of them.
//!
//! Hashing is expensive on purpose. It has threads of its own, a bounded queue, and a bound on the
//! part of the queue that one origin may hold. Clients take turns in it. The threads run at nice 10; on Linux that applies to
//! the single thread, so the kernel prefers the workers.
//!
//! Back-pressure: a full queue is reported at once, the caller never waits for a place. A panic in
//! one job costs that job only. The threads end when the pool is dropped.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::hash_queue::{HashWork, WaitQueue};
use super::hash_stats::{HashCounts, HashStats};
use super::{HashCost, HashError, StoredHash};
use crate::admission::share_of;
use crate::secret::SecretString;
use crate::settings::WeakScheme;

const NICE: i32 = 10;

/// The reasons why the pool has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HashPoolError {
    #[error("{waiting} passwords are already waiting to be hashed")]
    Busy { waiting: usize },

    #[error("hashing ended without an answer")]
    Lost,

    #[error(transparent)]
    Hash(#[from] HashError),
}

/// The threads that hash passwords. One pool serves all sources of a gateway, so its size bounds
/// the memory and the time that hashing may take.
#[derive(Debug)]
pub struct HashPool {
    shared: Arc<PoolState>,
}

struct PoolState {
    line: Mutex<WaitQueue>,
    arrived: Condvar,
    stats: HashStats,
}

impl fmt::Debug for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("parallel", &self.line.lock().parallel)
            .finish_non_exhaustive()
    }
}

/// Another size of the pool, with the threads that it needs. Dropping it ends those that the size
/// in effect does not need.
#[derive(Debug)]
pub struct PreparedSize {
    shared: Arc<PoolState>,
    parallel: usize,
    queue: usize,
}

impl PreparedSize {
    /// Puts the size into effect. Jobs that wait already stay, even if there are more than may
    /// wait. Threads beyond the number end after their current job.
    pub fn apply(self) {
        let mut line = self.shared.line.lock();
        line.parallel = self.parallel;
        line.queue = self.queue;
        line.share = share_of(self.queue);
    }
}

impl Drop for PreparedSize {
    fn drop(&mut self) {
        self.shared.line.lock().prepared = 0;
        self.shared.arrived.notify_all();
    }
}

impl HashPool {
    /// Starts `parallel` threads with room for `queue` waiting jobs; at least one of each.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub fn start(parallel: usize, queue: usize) -> io::Result<Arc<Self>> {
        let pool = Self {
            shared: Arc::new(PoolState {
                line: Mutex::default(),
                arrived: Condvar::new(),
                stats: HashStats::default(),
            }),
        };
        pool.prepare(parallel, queue)?.apply();
        Ok(Arc::new(pool))
    }

    /// Starts the threads that another size needs: `parallel` threads, and `queue` jobs that may
    /// wait; at least one of each. The size counts when the result is applied. One size is prepared
    /// at a time.
    ///
    /// # Errors
    /// If the system cannot start a thread. The pool then has its last size.
    pub fn prepare(&self, parallel: usize, queue: usize) -> io::Result<PreparedSize> {
        let parallel = parallel.max(1);
        let queue = queue.max(1);
        // Made before the first thread, so that a failure ends those that were started.
        let prepared = PreparedSize { shared: self.shared.clone(), parallel, queue };
        let mut line = self.shared.line.lock();
        line.prepared = parallel;
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
        Ok(prepared)
    }

    /// Runs `work` on one of the threads. `origin` is the client's address group; without one, only
    /// the bound of the whole queue applies.
    ///
    /// # Errors
    ///
    /// `Busy` at once if the queue, or the origin's share of it, is full; `Lost` if `work`
    /// panicked.
    pub async fn run<T, F>(&self, origin: Option<IpAddr>, work: F) -> Result<T, HashPoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move || {
            // The caller may have given up, for example because its client went away. Then the hash
            // would help nobody, and the thread is free for the next job.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        self.shared.join(origin, run)?;
        answered.await.map_err(|_| HashPoolError::Lost)
    }

    /// True if `stored` is a hash of `password`.
    ///
    /// # Errors
    ///
    /// As for `run`, and if the hash could not be computed.
    pub async fn verify(
        &self,
        password: SecretString,
        stored: Arc<StoredHash>,
        origin: Option<IpAddr>,
    ) -> Result<bool, HashPoolError> {
        let shared = self.shared.clone();
        let work = move || {
            shared.stats.note(stored.cost());
            let right = stored.verify(password.expose())?;
            if let Some(scheme) = stored.weak().filter(|_| right) {
                shared.stats.note_weak(scheme);
            }
            Ok::<_, HashError>(right)
        };
        Ok(self.run(origin, work).await??)
    }

    /// Makes a new hash of `password`, then calls `and_then` with it on the same thread.
    ///
    /// # Errors
    ///
    /// As for `run`, and if the hash could not be computed.
    pub async fn hash<T, F>(
        &self,
        password: SecretString,
        origin: Option<IpAddr>,
        and_then: F,
    ) -> Result<T, HashPoolError>
    where
        T: Send + 'static,
        F: FnOnce(StoredHash) -> T + Send + 'static,
    {
        let shared = self.shared.clone();
        let work = move || {
            shared.stats.note(HashCost::default());
            super::hash(password.expose()).map(and_then)
        };
        Ok(self.run(origin, work).await??)
    }

    /// Numbers of operations of this pool since it started.
    pub fn operations(&self) -> HashCounts {
        self.shared.stats.operations()
    }

    /// How often a password matched a weak hash, for each scheme.
    pub fn weak_logins(&self) -> Vec<(WeakScheme, u64)> {
        self.shared.stats.weak()
    }

    /// Number of jobs that wait for a thread now.
    pub fn waiting(&self) -> usize {
        self.shared.line.lock().waiting()
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.line.lock().closed = true;
        self.shared.arrived.notify_all();
    }
}

impl PoolState {
    fn join(&self, mut origin: Option<IpAddr>, run: HashWork) -> Result<(), HashPoolError> {
        let mut line = self.line.lock();
        if line.busy + line.jobs.len() < line.parallel {
            // A thread is free and takes the job at once, so the job holds no place in the queue
            // and no share of its origin.
            origin = None;
        } else {
            let waiting = line.waiting();
            let share = line.share;
            let is_full = waiting >= line.queue;
            // `take` counts the share only if it succeeds. The bound of the queue is tested first,
            // so a refusal by the queue takes no share. One client group can hold an eighth of the
            // queue at most.
            let has_share = |origin| line.counts.take(origin, 1, share);
            if is_full || !origin.is_none_or(has_share) {
                return Err(HashPoolError::Busy { waiting });
            }
        }
        line.add(origin, run);
        // The lock is released first, so that the woken thread does not wait for it.
        drop(line);
        self.arrived.notify_one();
        Ok(())
    }

    /// The loop of one thread: takes a job, runs it without the lock, and waits for the next.
    fn serve(&self) {
        let mut line = self.line.lock();
        loop {
            if line.closed {
                return;
            }
            if line.threads > line.parallel.max(line.prepared) {
                line.threads -= 1;
                return;
            }
            // Threads of a size that is not in effect yet take no jobs.
            let job = if line.busy < line.parallel { line.take() } else { None };
            let Some(job) = job else {
                self.arrived.wait(&mut line);
                continue;
            };
            drop(line);
            // A panic must not end the thread: the pool would silently shrink until no login is
            // possible. The caller gets `Lost`, because the job's sender is dropped, and its login
            // is answered with 503.
            if catch_unwind(AssertUnwindSafe(job.run)).is_err() {
                tracing::error!("a password job panicked; its login is answered as unavailable");
            }
            line = self.line.lock();
            line.busy -= 1;
        }
    }
}

/// Lowers the priority of the calling thread. On Linux, a priority that is set for a thread id
/// applies to that thread alone.
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

    /// Occupies the pool's only thread until the sender is dropped.
    async fn block(pool: &Arc<HashPool>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let (release, released) = mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let pool = pool.clone();
        #[allow(clippy::disallowed_methods)] // A test has no background runtime.
        let task = tokio::spawn(async move {
            let work = move || {
                let _ = started.send(());
                let _ = released.recv();
            };
            pool.run(None, work).await.unwrap();
        });
        running.await.unwrap();
        (release, task)
    }

    /// Puts a job into the queue and leaves it there.
    fn queue(pool: &HashPool, origin: Option<IpAddr>) -> Result<(), HashPoolError> {
        pool.shared.join(origin, Box::new(|| ()))
    }

    #[tokio::test]
    async fn one_origin_holds_an_eighth_of_the_queue_and_others_still_enter() {
        let pool = HashPool::start(1, 16).unwrap();
        let (release, task) = block(&pool).await;

        queue(&pool, ALICE).unwrap();
        queue(&pool, ALICE).unwrap();
        assert!(matches!(queue(&pool, ALICE), Err(HashPoolError::Busy { waiting: 2 })));
        queue(&pool, BOB).unwrap();
        for _ in 0..13 {
            queue(&pool, None).unwrap();
        }
        assert!(
            matches!(queue(&pool, BOB), Err(HashPoolError::Busy { waiting: 16 })),
            "all is full"
        );

        drop(release);
        task.await.unwrap();
        let small = HashPool::start(1, 4).unwrap();
        assert_eq!(small.run(ALICE, || 1).await.unwrap(), 1, "a share is never nothing");
    }

    #[tokio::test]
    async fn one_site_holds_half_of_the_queue_at_most() {
        let pool = HashPool::start(1, 64).unwrap();
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
        let pool = HashPool::start(1, 8).unwrap();

        let lost = pool.run(None, || panic!("on purpose")).await;

        assert!(matches!(lost, Err::<(), _>(HashPoolError::Lost)));
        assert_eq!(pool.run(ALICE, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_size_counts_when_it_is_applied_and_leaves_nothing_behind_otherwise() {
        let pool = HashPool::start(1, 16).unwrap();
        let size = |pool: &HashPool| {
            let line = pool.shared.line.lock();
            (line.threads, line.parallel, line.queue, line.share)
        };

        drop(pool.prepare(3, 64).unwrap());

        while size(&pool).0 > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(size(&pool), (1, 1, 16, share_of(16)));
        let prepared = pool.prepare(3, 64).unwrap();
        assert_eq!(size(&pool), (3, 1, 16, share_of(16)));
        let (release, task) = block(&pool).await;
        queue(&pool, None).unwrap();
        assert_eq!(pool.shared.line.lock().waiting(), 1, "one job at a time until then");
        prepared.apply();
        assert_eq!(size(&pool), (3, 3, 64, share_of(64)));
        assert_eq!(pool.run(None, || 7).await.unwrap(), 7, "beside the job that is held");
        drop(release);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn threads_end_with_the_pool() {
        let pool = HashPool::start(3, 8).unwrap();
        let shared = Arc::downgrade(&pool.shared);

        drop(pool);

        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
