//! The threads: workers that serve requests, and a back room for everything that may take long.
//!
//! A worker is one thread with its own single-threaded runtime; it accepts, speaks TLS and HTTP,
//! verifies and forwards, and never blocks. Hashing, stores, mail, health checks and the admin
//! listener live in the back room, a multi-threaded runtime of their own, so that they cannot
//! hold up a proxied request. A worker asks the back room with `BackRoom::reserve` and `carry_out`:
//! each kind of work has its own places, and each client its share of them. This is the only module that spawns.

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

use crate::admission::{NoPlace, Place, Places};
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

/// What kind of work the back room is asked for; each kind has its own places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A step of a login that looks at a password or a code: reading users, hashing, mail.
    Password,
    /// A step that needs only a token of ours and the store, so that it never waits for the others.
    Token,
    /// A question to whoever issued a credential.
    Inquiry,
    /// What the gateway itself needs to call an upstream: a signature, a login there. Nobody who
    /// was not let in takes its places.
    Calling,
    /// An operator's request.
    Admin,
}

/// A login waits for a hash or a disk, so this many are a queue of seconds, not of minutes.
const LOGIN_LIMIT: usize = 1024;
/// An issuer answers within seconds or not at all; requests wait for it in memory. A login at an
/// upstream is one for all who wait for it.
const WAITING_LIMIT: usize = 4096;
const ADMIN_LIMIT: usize = 64;

/// The places of every kind.
#[derive(Debug)]
struct AllPlaces {
    password: Places,
    token: Places,
    inquiry: Places,
    calling: Places,
    admin: Places,
}

impl AllPlaces {
    fn new() -> Self {
        Self {
            password: Places::new(LOGIN_LIMIT),
            token: Places::new(LOGIN_LIMIT),
            inquiry: Places::new(WAITING_LIMIT),
            calling: Places::new(WAITING_LIMIT),
            admin: Places::new(ADMIN_LIMIT),
        }
    }

    fn of(&self, kind: Work) -> &Places {
        match kind {
            Work::Password => &self.password,
            Work::Token => &self.token,
            Work::Inquiry => &self.inquiry,
            Work::Calling => &self.calling,
            Work::Admin => &self.admin,
        }
    }
}

/// The runtime for everything that is not the hot path.
#[derive(Clone, Debug)]
pub struct BackRoom {
    handle: Handle,
    /// What `ask` was given: a drain waits for it.
    asked: TaskTracker,
    places: Arc<AllPlaces>,
}

impl BackRoom {
    /// A place for work that `origin` asks for, to be carried out with `carry_out`.
    ///
    /// # Errors
    /// At once, never a queue, when there is none of its kind, or `origin` has its share of them.
    pub fn reserve(&self, kind: Work, origin: Option<IpAddr>) -> Result<Place, NoPlace> {
        self.places.of(kind).take(origin)
    }

    /// Runs `work`, for which a place was reserved, and awaits its answer. It is carried through
    /// even if the caller goes away: a half-made session helps nobody. `None` if it panicked.
    pub async fn carry_out<T, F>(&self, place: Place, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.start(place, work).await.ok()
    }

    /// `reserve` and `carry_out`, for work that no client asks for.
    ///
    /// # Errors
    /// As `reserve`.
    pub async fn ask<T, F>(&self, kind: Work, work: F) -> Result<Option<T>, NoPlace>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let place = self.reserve(kind, None)?;
        Ok(self.start(place, work).await.ok())
    }

    /// Not a future that holds the work: what is moved into one more would be as large again.
    fn start<T, F>(&self, place: Place, work: F) -> JoinHandle<T>
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
            places: Arc::new(AllPlaces::new()),
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
            for _ in 0..ADMIN_LIMIT {
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

    #[test]
    fn one_kind_of_work_does_not_take_the_places_of_another() {
        let places = AllPlaces::new();
        let one: Option<IpAddr> = "192.0.2.1".parse().ok();
        let kinds = [Work::Password, Work::Token, Work::Inquiry, Work::Calling];
        for full in kinds {
            let mut held = Vec::new();
            while let Ok(place) = places.of(full).take(None) {
                held.push(place);
            }

            for kind in kinds {
                assert_eq!(
                    places.of(kind).take(one).is_ok(),
                    kind != full,
                    "{kind:?} and {full:?}"
                );
            }
        }
    }
}
