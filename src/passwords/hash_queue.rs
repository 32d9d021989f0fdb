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
    turn: u64,
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

/// The work of a job. It must not assume that its caller still waits.
pub(super) type HashWork = Box<dyn FnOnce() + Send>;

pub(super) struct HashJob {
    /// The client whose share of the queue this job holds; `None` if it holds no share.
    pub(super) origin: Option<IpAddr>,
    /// Jobs of one turn are of different clients, so that the jobs of a client wait for one another
    /// and not all others for them (start-time fair queuing).
    turn: u64,
    pub(super) run: HashWork,
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

    /// Adds a job in the current turn, or in the one after its client's last waiting job. A job
    /// without an origin is counted for no client, so it waits behind no job of its own.
    pub(super) fn add(&mut self, origin: Option<IpAddr>, run: HashWork) {
        let of_client = |job: &&HashJob| origin.is_some() && job.origin == origin;
        let last = self.jobs.iter().rev().find(of_client);
        let turn = last.map_or(self.turn, |last| last.turn.saturating_add(1));
        let place = self.jobs.partition_point(|waiting| waiting.turn <= turn);
        self.jobs.insert(place, HashJob { origin, turn, run });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_many_clients_take_turns_and_none_waits_for_ever() {
        let client = |number| Some(IpAddr::from([192, 0, 2, number]));
        let mut line = WaitQueue::default();
        let add = |line: &mut WaitQueue, number| line.add(client(number), Box::new(|| ()));
        let take = |line: &mut WaitQueue| line.take().unwrap().origin;
        (0..4).for_each(|_| add(&mut line, 1));

        assert_eq!(take(&mut line), client(1));
        add(&mut line, 2);
        add(&mut line, 2);
        assert_eq!(take(&mut line), client(2));
        add(&mut line, 3);
        assert_eq!(take(&mut line), client(3));
        assert_eq!(take(&mut line), client(1));
        // The second turn has begun: this client comes after those who are in it already.
        add(&mut line, 4);
        let rest: Vec<_> = (0..4).map(|_| take(&mut line)).collect();
        assert_eq!(rest, [2, 4, 1, 1].map(client));
    }
}
