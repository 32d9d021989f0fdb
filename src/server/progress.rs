//! Whether all threads of a gateway make progress, for the watchdog of a service manager.
//!
//! A process can be alive and useless: a thread that is stuck still holds its connections. Workers
//! count up once a second, and the check runs on the background runtime, so it sees both stop.

use std::time::{Duration, Instant};

/// A worker that has not counted up for so long is stuck. It counts once a second, and a busy one a
/// little later.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The last heartbeats of the workers.
#[derive(Debug)]
pub(super) struct WorkerProgress {
    last: Vec<LastHeartbeat>,
}

#[derive(Debug)]
struct LastHeartbeat {
    count: usize,
    changed: Instant,
}

impl WorkerProgress {
    /// Workers whose counts are `counts` at `now`.
    pub(super) fn new(counts: impl Iterator<Item = usize>, now: Instant) -> Self {
        Self { last: counts.map(|count| LastHeartbeat { count, changed: now }).collect() }
    }

    /// True if each worker has counted up lately. `counts` are those of the same workers at `now`.
    pub(super) fn is_made(&mut self, counts: impl Iterator<Item = usize>, now: Instant) -> bool {
        for (last, count) in self.last.iter_mut().zip(counts) {
            if last.count != count {
                *last = LastHeartbeat { count, changed: now };
            }
        }
        self.last.iter().all(|last| now.duration_since(last.changed) < STUCK_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_is_stuck_ends_the_progress_of_all() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut progress = WorkerProgress::new([1, 1].into_iter(), start);

        assert!(progress.is_made([1, 2].into_iter(), after(4)), "not for long enough");
        assert!(!progress.is_made([1, 6].into_iter(), after(5)), "the first is stuck");
        assert!(progress.is_made([2, 7].into_iter(), after(6)), "it goes on");
    }
}
