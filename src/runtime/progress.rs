//! Whether all workers of a gateway make progress, for liveness probes and for the watchdog of a
//! service manager.
//!
//! A process can be alive and useless: a thread that is stuck still holds its connections. Workers
//! count up once a second, and whoever asks runs on the background runtime, so an answer says that
//! both work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Worker;

/// A worker that has not counted up for so long is stuck. It counts once a second, and a busy one a
/// little later.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The progress of a gateway's workers, as far as it was asked for: a worker counts as stuck when
/// two questions, `STUCK_AFTER` or more apart, find the same count.
#[derive(Debug)]
pub struct WorkerProgress {
    workers: Vec<Arc<Worker>>,
    last: Mutex<LastHeartbeats>,
}

impl WorkerProgress {
    /// The progress of `workers` from now on.
    pub fn new(workers: &[Arc<Worker>]) -> Self {
        let workers = workers.to_vec();
        let last = LastHeartbeats::new(counts(&workers), Instant::now());
        Self { workers, last: Mutex::new(last) }
    }

    /// True if each worker has counted up lately.
    pub fn is_made(&self) -> bool {
        self.last.lock().is_progress(counts(&self.workers), Instant::now())
    }
}

fn counts(workers: &[Arc<Worker>]) -> impl Iterator<Item = usize> {
    workers.iter().map(|worker| worker.heartbeats())
}

/// The heartbeats that were seen last, with the time at which each was new.
#[derive(Debug)]
struct LastHeartbeats(Vec<LastHeartbeat>);

#[derive(Debug)]
struct LastHeartbeat {
    count: usize,
    changed: Instant,
}

impl LastHeartbeats {
    /// Workers whose counts are `counts` at `now`.
    fn new(counts: impl Iterator<Item = usize>, now: Instant) -> Self {
        Self(counts.map(|count| LastHeartbeat { count, changed: now }).collect())
    }

    /// True if no count has stood still for too long. `counts` are those of the same workers at
    /// `now`.
    fn is_progress(&mut self, counts: impl Iterator<Item = usize>, now: Instant) -> bool {
        for (last, count) in self.0.iter_mut().zip(counts) {
            if last.count != count {
                *last = LastHeartbeat { count, changed: now };
            }
        }
        self.0.iter().all(|last| now.duration_since(last.changed) < STUCK_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_is_stuck_ends_the_progress_of_all() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut last = LastHeartbeats::new([1, 1].into_iter(), start);

        assert!(last.is_progress([1, 2].into_iter(), after(4)), "not for long enough");
        assert!(!last.is_progress([1, 6].into_iter(), after(5)), "the first is stuck");
        assert!(last.is_progress([2, 7].into_iter(), after(6)), "it goes on");
    }
}
