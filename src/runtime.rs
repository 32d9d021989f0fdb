//! The threads: workers that serve requests, and a back room for everything that may take long.
//!
//! A worker is one thread with its own single-threaded runtime; it accepts, speaks TLS and HTTP,
//! verifies and forwards, and never blocks. Hashing, stores, mail, health checks and the admin
//! listener live in the back room, a multi-threaded runtime of their own, so that they cannot
//! hold up a proxied request. A worker asks the back room with `BackRoom::ask`, which is bounded
//! for each kind of work. This is the only module that spawns.

mod places;

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

pub use self::places::{BackRoomFull, Work};
use self::places::{Place, Places};
use crate::secret::Randomness;

/// One worker thread as its connections see it.
#[derive(Debug)]
pub struct Worker {
    /// Which worker: 0 up to the number of workers.
    pub index: usize,
    handle: Handle,
    tasks: TaskTracker,
    /// Connections this worker serves now.
    pub connections: AtomicUsize,
    /// For what is random in every request.
    pub randomness: Randomness,
    /// Rises at least once a second while the worker's runtime turns.
    beats: AtomicUsize,
}

impl Worker {
    /// Runs `task` on this worker until it ends; a drain waits for it.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle.spawn(self.tasks.track_future(task));
    }

    /// Runs `task` on this worker without a drain waiting for it: for what serves requests but is
    /// none itself, such as the driver of a kept-alive upstream connection.
    pub fn spawn_detached<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle.spawn(task);
    }

    /// How often the worker has shown that its runtime turns.
    pub fn beats(&self) -> usize {
        self.beats.load(Ordering::Relaxed)
    }

    /// Tasks that have not ended yet.
    pub fn open_tasks(&self) -> usize {
        self.tasks.len()
    }
}

/// The runtime for everything that is not the hot path.
#[derive(Clone, Debug)]
pub struct BackRoom {
    handle: Handle,
    /// What `ask` was given: a drain waits for it.
    asked: TaskTracker,
    places: Arc<Places>,
}

impl BackRoom {
    /// Runs `work` in the back room and awaits its answer. It is carried through even if the
    /// caller goes away: a half-made session helps nobody.
    ///
    /// # Errors
    /// `Ok(None)` if the work panicked; `BackRoomFull` at once, never a queue, when there are
    /// too many of its kind.
    pub async fn ask<T, F>(&self, kind: Work, work: F) -> Result<Option<T>, BackRoomFull>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let place = self.places.take(kind)?;
        Ok(self.carry_out(place, work).await.ok())
    }

    /// `ask` for a question about a credential that came from this group of addresses, which may
    /// hold an eighth of the places: made-up credentials of one client must not keep the good ones
    /// of others waiting.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn inquire<T, F>(
        &self,
        group: Option<IpAddr>,
        work: F,
    ) -> Result<Option<T>, BackRoomFull>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let place = self.places.take_for(group)?;
        Ok(self.carry_out(place, work).await.ok())
    }

    /// Not a future that holds the work: what is moved into one more would be as large again.
    fn carry_out<T, F>(&self, place: Place, work: F) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // The place goes with the work: callers who go away must not make room for more of it.
        let work = async move {
            let _place = place;
            work.await
        };
        self.handle.spawn(self.asked.track_future(work))
    }

    /// Runs a task that outlives any request; it has to end when the gateway drains.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle.spawn(task);
    }

    /// Runs a computation that blocks its thread.
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

    /// The runtime itself, for a caller that must wait from outside it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// All threads of one gateway.
#[derive(Debug)]
pub struct Threads {
    workers: Vec<Arc<Worker>>,
    joins: Vec<thread::JoinHandle<()>>,
    stop: CancellationToken,
    /// Cancelled when a worker's thread ends although nobody asked it to.
    lost: CancellationToken,
    back_room: BackRoom,
    runtime: Option<Runtime>,
}

const BEAT: Duration = Duration::from_secs(1);

impl Threads {
    /// Starts `workers` worker threads and a back room of `back_room_threads`.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(workers: usize, back_room_threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(back_room_threads.max(1))
            .thread_name("back-room")
            .enable_all()
            .build()?;
        let back_room = BackRoom {
            handle: runtime.handle().clone(),
            asked: TaskTracker::new(),
            places: Arc::new(Places::new()),
        };
        let mut threads = Self {
            workers: Vec::new(),
            joins: Vec::new(),
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
            back_room,
            runtime: Some(runtime),
        };
        for index in 0..workers.max(1) {
            threads.start_worker(index)?;
        }
        Ok(threads)
    }

    fn start_worker(&mut self, index: usize) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let worker = Arc::new(Worker {
            index,
            handle: runtime.handle().clone(),
            tasks: TaskTracker::new(),
            connections: AtomicUsize::new(0),
            randomness: Randomness::default(),
            beats: AtomicUsize::new(0),
        });
        let (stop, lost, beating) = (self.stop.clone(), self.lost.clone(), worker.clone());
        let join = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let lost = lost.drop_guard();
            runtime.block_on(async {
                while stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
                    beating.beats.fetch_add(1, Ordering::Relaxed);
                }
            });
            lost.disarm();
            // Tasks that a drain gave up on must not hold the process.
            runtime.shutdown_background();
        })?;
        self.workers.push(worker);
        self.joins.push(join);
        Ok(())
    }

    /// The workers, by index.
    pub fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    /// The back room.
    pub fn back_room(&self) -> &BackRoom {
        &self.back_room
    }

    /// Returns when a worker's thread has ended without being asked to.
    pub async fn worker_lost(&self) {
        self.lost.cancelled().await;
    }

    /// Waits until the workers' tasks (connections, tunnels) have ended, and what they asked the
    /// back room for, which goes on when a client leaves.
    pub async fn idle(&self) {
        for worker in &self.workers {
            worker.tasks.close();
            worker.tasks.wait().await;
        }
        self.back_room.asked.close();
        self.back_room.asked.wait().await;
    }

    /// Ends the workers, whatever they are doing, then the back room within `limit`.
    pub fn stop(mut self, limit: Duration) {
        self.stop_threads(limit);
    }

    fn stop_threads(&mut self, limit: Duration) {
        self.stop.cancel();
        for join in self.joins.drain(..) {
            if join.join().is_err() {
                tracing::error!("a worker thread ended by panic");
            }
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(limit);
        }
    }
}

impl Drop for Threads {
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
        let threads = Threads::start(1, 1).unwrap();
        let back_room = threads.back_room().clone();
        let release = CancellationToken::new();

        threads.back_room().handle().block_on(async {
            for _ in 0..places::ADMIN_LIMIT {
                let waiting = release.clone();
                let asked = back_room.ask(Work::Admin, async move { waiting.cancelled().await });
                // Polled once, then the caller leaves.
                assert!(tokio::time::timeout(Duration::ZERO, asked).await.is_err());
            }

            assert!(back_room.ask(Work::Admin, async {}).await.is_err());

            release.cancel();
            threads.idle().await;
            assert!(back_room.ask(Work::Admin, async {}).await.is_ok());
        });
    }
}
