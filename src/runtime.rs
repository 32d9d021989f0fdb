//! The threads of a gateway: workers that serve requests, and the background runtime
//! (`BackgroundRuntime`) for everything that may take long.
//!
//! A worker is one thread with a single-threaded runtime of its own. It accepts, speaks TLS and
//! HTTP, verifies and forwards, and never blocks. Hashing, stores, mail, health checks and the
//! admin listener run on the background runtime, so that they cannot hold up a proxied request. A
//! worker asks for such work with `BackgroundRuntime::reserve` and `run_reserved`: each kind of
//! work has a bounded number of places, and each client a share of them. No other module spawns
//! tasks.

mod progress;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{WorkLimit, WorkLimitError, WorkPermit};
use crate::secret::RandomPool;

pub use self::progress::WorkerProgress;

/// One worker thread, as its connections see it.
#[derive(Debug)]
pub struct Worker {
    /// The number of the worker, from 0.
    pub index: usize,
    handle: Handle,
    tasks: TaskTracker,
    /// The number of connections that this worker serves at present.
    pub connections: AtomicUsize,
    /// The source of random numbers for the requests of this worker.
    pub randomness: RandomPool,
    /// A heartbeat: it rises at least once a second while the worker's runtime makes progress.
    heartbeats: AtomicUsize,
}

impl Worker {
    /// Runs `task` on this worker until it ends. A drain waits for it.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle.spawn(self.tasks.track_future(task));
    }

    /// Runs `task` on this worker, and no drain waits for it. For tasks that serve requests but are
    /// none themselves, such as the driver of a kept-alive connection to an upstream.
    pub fn spawn_detached<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle.spawn(task);
    }

    /// The heartbeat of the worker, which counts up.
    pub fn heartbeats(&self) -> usize {
        self.heartbeats.load(Ordering::Relaxed)
    }

    /// The number of tasks that have not ended yet.
    pub fn open_tasks(&self) -> usize {
        self.tasks.len()
    }
}

/// The kinds of work for the background runtime. Each kind has places of its own, so that a flood
/// of one kind cannot stop another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A step of a login that verifies a password or a code: reading users, hashing, mail.
    Password,
    /// A step that needs only a token of the gateway and the store. It never waits for passwords to
    /// be hashed.
    Token,
    /// A question to the issuer of a credential.
    Lookup,
    /// Work that the gateway itself needs to call an upstream: a signature, or a login there. Only
    /// requests that were let in ask for it.
    Calling,
    /// A request of an operator.
    Admin,
}

/// Upper bound. A login waits for a hash or for the disk, so this many are a queue of seconds and
/// not of minutes.
const LOGIN_LIMIT: usize = 1024;
/// Upper bound. An issuer answers within seconds or not at all, and the requests that wait for it
/// cost memory only. A login at an upstream is made once for all requests that wait for it.
const WAITING_LIMIT: usize = 4096;
const ADMIN_LIMIT: usize = 64;

/// The places of every kind of work.
#[derive(Debug)]
struct AllWorkLimits {
    password: WorkLimit,
    token: WorkLimit,
    lookup: WorkLimit,
    calling: WorkLimit,
    admin: WorkLimit,
}

impl AllWorkLimits {
    fn new() -> Self {
        Self {
            password: WorkLimit::new(LOGIN_LIMIT),
            token: WorkLimit::new(LOGIN_LIMIT),
            lookup: WorkLimit::new(WAITING_LIMIT),
            calling: WorkLimit::new(WAITING_LIMIT),
            admin: WorkLimit::new(ADMIN_LIMIT),
        }
    }

    fn of(&self, kind: WorkKind) -> &WorkLimit {
        match kind {
            WorkKind::Password => &self.password,
            WorkKind::Token => &self.token,
            WorkKind::Lookup => &self.lookup,
            WorkKind::Calling => &self.calling,
            WorkKind::Admin => &self.admin,
        }
    }
}

/// A handle to the background runtime, for everything that is not on the path of every request.
#[derive(Clone, Debug)]
pub struct BackgroundRuntime {
    handle: Handle,
    /// The work that `run` and `run_reserved` have started: a drain waits for it.
    tracked: TaskTracker,
    limits: Arc<AllWorkLimits>,
}

impl BackgroundRuntime {
    /// Reserves a place for work that `origin` asks for. The work is then run with `run_reserved`.
    ///
    /// # Errors
    /// If there is no place of this kind, or `origin` has used up its share. The error comes at
    /// once; nothing is queued.
    pub fn reserve(
        &self,
        kind: WorkKind,
        origin: Option<IpAddr>,
    ) -> Result<WorkPermit, WorkLimitError> {
        self.limits.of(kind).take(origin)
    }

    /// Runs `work`, for which a place was reserved, and awaits its answer. The work is completed
    /// even if the caller goes away: a half-made session would help nobody. `None` if it panicked.
    pub async fn run_reserved<T, F>(&self, place: WorkPermit, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.start(place, work).await.ok()
    }

    /// Reserves a place and runs `work`, for work that no client asks for.
    ///
    /// # Errors
    /// See `reserve`.
    pub async fn run<T, F>(&self, kind: WorkKind, work: F) -> Result<Option<T>, WorkLimitError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // Work of the gateway itself has no origin, so it has no share that could be used up; it
        // competes for the places of its kind only.
        let place = self.reserve(kind, None)?;
        Ok(self.start(place, work).await.ok())
    }

    /// Starts the work. This is no `async fn`: its future would contain the work once more, and be
    /// as large again.
    fn start<T, F>(&self, place: WorkPermit, work: F) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // The place goes with the work. If it stayed with the caller, callers who go away could
        // start more work than there are places. The bound would then hold for waiting callers and
        // not for the work itself.
        let work = async move {
            let _place = place;
            work.await
        };
        self.handle.spawn(self.tracked.track_future(work))
    }

    /// Waits until the work that `run` and `run_reserved` have started has ended, for at most `limit`.
    /// Further work may be started meanwhile and afterwards.
    pub async fn finish_work(&self, limit: Duration) {
        // A tracker that is closed tracks on; closing it only lets `wait` return.
        self.tracked.close();
        let _ = tokio::time::timeout(limit, self.tracked.wait()).await;
    }

    /// Runs a task that outlives any request. The task has to end when the gateway drains.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle.spawn(task);
    }

    /// Runs a computation that blocks its thread, on a thread for such computations.
    ///
    /// # Errors
    /// `None` if it panicked.
    pub async fn block_on_thread<T, F>(&self, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.handle.spawn_blocking(work).await.ok()
    }

    /// A worker for a request that no connection has brought (a dry run). Its tasks would run on this
    /// runtime.
    pub fn as_worker(&self) -> Arc<Worker> {
        Arc::new(Worker {
            index: 0,
            handle: self.handle.clone(),
            tasks: TaskTracker::new(),
            connections: AtomicUsize::new(0),
            randomness: RandomPool::default(),
            heartbeats: AtomicUsize::new(0),
        })
    }

    /// The handle of the runtime, for a caller outside of it that must wait for a future.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// All threads of one gateway. Dropping it stops them without waiting.
#[derive(Debug)]
pub struct GatewayThreads {
    workers: Vec<Arc<Worker>>,
    joins: Vec<thread::JoinHandle<()>>,
    stop: CancellationToken,
    /// Cancelled when a worker's thread ends although nobody asked it to.
    lost: CancellationToken,
    background: BackgroundRuntime,
    runtime: Option<Runtime>,
}

const BEAT: Duration = Duration::from_secs(1);

impl GatewayThreads {
    /// Starts `workers` worker threads, and a background runtime with `background_threads` threads.
    ///
    /// # Errors
    /// If the system provides no more threads.
    pub fn start(workers: usize, background_threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(background_threads.max(1))
            .thread_name("back-room")
            .enable_all()
            .build()?;
        let background = BackgroundRuntime {
            handle: runtime.handle().clone(),
            tracked: TaskTracker::new(),
            limits: Arc::new(AllWorkLimits::new()),
        };
        let mut threads = Self {
            workers: Vec::new(),
            joins: Vec::new(),
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
            background,
            runtime: Some(runtime),
        };
        for index in 0..workers.max(1) {
            threads.start_worker(index)?;
        }
        Ok(threads)
    }

    /// Starts one worker: a thread whose runtime runs until `stop`. The heartbeat is the only task
    /// of its own.
    fn start_worker(&mut self, index: usize) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let worker = Arc::new(Worker {
            index,
            handle: runtime.handle().clone(),
            tasks: TaskTracker::new(),
            connections: AtomicUsize::new(0),
            randomness: RandomPool::default(),
            heartbeats: AtomicUsize::new(0),
        });
        let stop = self.stop.clone();
        let lost = self.lost.clone();
        let beating = worker.clone();
        let join = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            // If the thread panics, the guard is dropped during unwinding, and `worker_lost`
            // returns. After an orderly end it is disarmed.
            let lost = lost.drop_guard();
            runtime.block_on(async {
                while stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
                    beating.heartbeats.fetch_add(1, Ordering::Relaxed);
                }
            });
            lost.disarm();
            // Tasks that a drain did not wait for must not keep the process alive.
            runtime.shutdown_background();
        })?;
        self.workers.push(worker);
        self.joins.push(join);
        Ok(())
    }

    /// The workers, by their number.
    pub fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    /// The background runtime.
    pub fn background(&self) -> &BackgroundRuntime {
        &self.background
    }

    /// Returns when a worker's thread has ended without being asked to.
    pub async fn worker_lost(&self) {
        self.lost.cancelled().await;
    }

    /// Waits until all tasks of the workers (connections, tunnels) have ended, and then the work
    /// that they have started on the background runtime, which goes on when a client leaves.
    pub async fn idle(&self) {
        for worker in &self.workers {
            // Waiting for a tracker ends only when the tracker is closed and has no task left.
            // Tasks may still be added after closing, and they are waited for as well.
            worker.tasks.close();
            worker.tasks.wait().await;
        }
        // This comes after the workers, because their tasks may still ask for work until they end.
        self.background.tracked.close();
        self.background.tracked.wait().await;
    }

    /// Ends the workers, whatever they are doing, and then the background runtime within `limit`.
    pub fn stop(mut self, limit: Duration) {
        self.stop_threads(limit);
    }

    fn stop_threads(&mut self, limit: Duration) {
        self.stop.cancel();
        for join in self.joins.drain(..) {
            // The workers are joined first: their tasks may need the background runtime until the
            // end.
            if join.join().is_err() {
                tracing::error!("a worker thread ended by panic");
            }
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(limit);
        }
    }
}

impl Drop for GatewayThreads {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_who_leave_do_not_make_room_for_more_work() {
        let threads = GatewayThreads::start(1, 1).unwrap();
        let background = threads.background().clone();
        let release = CancellationToken::new();

        threads.background().handle().block_on(async {
            for _ in 0..ADMIN_LIMIT {
                let waiting = release.clone();
                let tracked =
                    background.run(WorkKind::Admin, async move { waiting.cancelled().await });
                // Polled once, then the caller leaves.
                assert!(tokio::time::timeout(Duration::ZERO, tracked).await.is_err());
            }

            assert!(background.run(WorkKind::Admin, async {}).await.is_err());

            release.cancel();
            threads.idle().await;
            assert!(background.run(WorkKind::Admin, async {}).await.is_ok());
        });
    }

    #[test]
    fn one_kind_of_work_does_not_take_the_places_of_another() {
        let limits = AllWorkLimits::new();
        let one: Option<IpAddr> = "192.0.2.1".parse().ok();
        let kinds = [WorkKind::Password, WorkKind::Token, WorkKind::Lookup, WorkKind::Calling];
        for full in kinds {
            let mut taken = Vec::new();
            while let Ok(place) = limits.of(full).take(None) {
                taken.push(place);
            }

            for kind in kinds {
                assert_eq!(
                    limits.of(kind).take(one).is_ok(),
                    kind != full,
                    "{kind:?} and {full:?}"
                );
            }
        }
    }
}
