//! The queue in front of the hashing threads, in which clients take turns.
//!
//! `hash_pool` holds the lock of it, and decides who may enter.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::admission::GroupCounts;

#[derive(Default)]
pub(super) struct WaitQueue {
    /// The waiting jobs, the one with the lowest turn first.
    pub(super) jobs: VecDeque<HashJob>,
    /// The turn of the job that was taken last.
    pub(super) turn: u64,
    /// Number of waiting jobs of each client address group.
    pub(super) counts: GroupCounts,
    pub(super) busy: usize,
    pub(super) closed: bool,
    /// The number of threads that there should be, and the number that there are. They differ while
    /// threads end after a change of the configuration.
    pub(super) parallel: usize,
    pub(super) threads: usize,
    /// The number of threads of a size that is not in effect yet; else 0.
    pub(super) prepared: usize,
    /// The number of jobs that may wait, and the number of one client's jobs among them.
    pub(super) queue: usize,
    pub(super) share: usize,
}

pub(super) struct HashJob {
    /// The client whose share of the queue this job holds; `None` if it holds no share.
    pub(super) origin: Option<IpAddr>,
    /// Jobs of one turn are of different clients, so that the jobs of a client wait for one another
    /// and not all others for them (start-time fair queuing).
    pub(super) turn: u64,
    pub(super) run: Box<dyn FnOnce() + Send>,
}

impl WaitQueue {
    /// Number of jobs beyond those that a free thread is about to take.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.len().saturating_sub(self.parallel.saturating_sub(self.busy))
    }

    pub(super) fn take(&mut self) -> Option<HashJob> {
        let job = self.jobs.pop_front()?;
        self.turn = job.turn;
        if let Some(origin) = job.origin {
            self.counts.give_back(origin, 1);
        }
        self.busy += 1;
        Some(job)
    }

    /// Adds a job in its turn: the current one, or the one after its client's last waiting job.
    pub(super) fn add(&mut self, mut job: HashJob) {
        let of_client = self.jobs.iter().filter(|waiting| waiting.origin == job.origin);
        let last = of_client.map(|waiting| waiting.turn).max().filter(|_| job.origin.is_some());
        job.turn = last.map_or(self.turn, |last| last.saturating_add(1));
        let place = self.jobs.partition_point(|waiting| waiting.turn <= job.turn);
        self.jobs.insert(place, job);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn jobs_of_many_clients_take_turns_and_none_waits_for_ever() {
        let taken = RefCell::new(Vec::new());
        let mut line = WaitQueue::default();
        let add = |line: &mut WaitQueue, client: u8| {
            let origin = Some(IpAddr::from([192, 0, 2, client]));
            line.add(HashJob { origin, turn: 0, run: Box::new(|| ()) });
        };
        let take = |line: &mut WaitQueue| {
            let job = line.take().unwrap();
            taken.borrow_mut().push(job.origin.unwrap().to_string().pop().unwrap());
        };
        (0..4).for_each(|_| add(&mut line, 1));
        take(&mut line);
        add(&mut line, 2);
        add(&mut line, 2);
        take(&mut line);
        add(&mut line, 3);
        (0..2).for_each(|_| take(&mut line));
        // The second turn has begun: this client comes after those who are in it already.
        add(&mut line, 4);
        (0..4).for_each(|_| take(&mut line));

        assert_eq!(taken.into_inner().iter().collect::<String>(), "12312411");
    }
}
