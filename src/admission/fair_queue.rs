//! A bound on concurrent work with a fair queue: turns go round-robin by client.
//!
//! One client may have an eighth of the turns. A client with many waiting requests gets one turn
//! whenever a client with one waiting request gets one, so a flood waits behind itself. The number
//! of waiting requests is bounded as well, with an eighth for each client; more are refused at
//! once. Calls to remote issuers use it (`authn::opaque`).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::limits::{WorkLimit, WorkLimitError, WorkPermit};
use super::share_of;
use super::shares::GroupCounts;

/// The turns at one resource.
#[derive(Clone, Debug)]
pub struct FairQueue {
    line: Arc<Mutex<QueueState>>,
    /// The places of waiting requests.
    waiting: WorkLimit,
}

/// The queue, under a lock.
#[derive(Debug)]
struct QueueState {
    /// Turns that are free now.
    free: usize,
    /// The allowance of one client.
    share: usize,
    under_way: GroupCounts,
    /// Waiting requests by client. A client without any has no entry.
    waiting: HashMap<Option<IpAddr>, VecDeque<oneshot::Sender<QueueTurn>>>,
    /// The order in which clients get the next turns. Each waiting client is in it once.
    next: VecDeque<Option<IpAddr>>,
}

/// A turn. It ends when this is dropped. The next waiting requests then get their turns.
#[derive(Debug)]
pub struct QueueTurn {
    line: Arc<Mutex<QueueState>>,
    origin: Option<IpAddr>,
}

impl FairQueue {
    /// A bound of `most` concurrent turns; at most `waiting` requests wait.
    pub fn new(most: usize, waiting: usize) -> Self {
        let line = QueueState {
            free: most,
            share: share_of(most),
            under_way: GroupCounts::default(),
            waiting: HashMap::new(),
            next: VecDeque::new(),
        };
        Self { line: Arc::new(Mutex::new(line)), waiting: WorkLimit::new(waiting) }
    }

    /// Waits for a turn. All addresses that many clients share (`None`) count as one client, which
    /// may have all turns.
    ///
    /// # Errors
    /// Too many requests wait already, in total or of this client. The refusal comes at once.
    pub async fn take(&self, origin: Option<IpAddr>) -> Result<QueueTurn, WorkLimitError> {
        let (answer, _place): (_, WorkPermit) = {
            let mut line = self.line.lock();
            // A turn is dropped while the lock is free: its `drop` locks the queue again.
            if line.start(origin) {
                drop(line);
                return Ok(self.turn(origin));
            }
            let place = self.waiting.take(origin)?;
            (line.wait(origin), place)
        };
        // Invariant: the queue drops a sender only if its receiver is gone, so this error cannot
        // happen.
        answer.await.map_err(|_| WorkLimitError::Full { limit: 0 })
    }

    /// A turn for `origin`, which `start` has already counted.
    fn turn(&self, origin: Option<IpAddr>) -> QueueTurn {
        QueueTurn { line: self.line.clone(), origin }
    }
}

impl QueueState {
    /// Takes a turn for `origin` if one is free and the client's share allows it. Nobody is
    /// overtaken: if a turn is free, then every waiting client has used up its share. `call` uses
    /// the same check for waiting requests.
    fn start(&mut self, origin: Option<IpAddr>) -> bool {
        let share = self.share;
        let starts =
            self.free > 0 && origin.is_none_or(|address| self.under_way.take(address, 1, share));
        if starts {
            self.free -= 1;
        }
        starts
    }

    /// Ends a turn.
    fn end(&mut self, origin: Option<IpAddr>) {
        self.free += 1;
        if let Some(address) = origin {
            self.under_way.give_back(address, 1);
        }
    }

    /// Puts a request into its client's queue.
    fn wait(&mut self, origin: Option<IpAddr>) -> oneshot::Receiver<QueueTurn> {
        let (sender, receiver) = oneshot::channel();
        let queue = self.waiting.entry(origin).or_default();
        if queue.is_empty() {
            self.next.push_back(origin);
        }
        // Requests that were cancelled have given up their place. They are removed here as well, so
        // that the queue stays as short as the number of places. Otherwise a client could queue and
        // cancel without end.
        queue.retain(|waiter| !waiter.is_closed());
        queue.push_back(sender);
        receiver
    }

    /// The next waiting request that may have a turn. The turn is counted already. Cancelled
    /// requests are skipped and removed.
    fn call(&mut self) -> Option<(Option<IpAddr>, oneshot::Sender<QueueTurn>)> {
        if self.free == 0 {
            return None;
        }
        for _ in 0..self.next.len() {
            let origin = self.next.pop_front()?;
            let queue = self.waiting.entry(origin).or_default();
            queue.retain(|waiter| !waiter.is_closed());
            if queue.is_empty() {
                self.waiting.remove(&origin);
                continue;
            }
            // The client goes to the end of the order, whether it gets this turn or not. That makes
            // the order round-robin.
            self.next.push_back(origin);
            if !self.start(origin) {
                continue;
            }
            let queue = self.waiting.get_mut(&origin)?;
            let sender = queue.pop_front()?;
            if queue.is_empty() {
                self.waiting.remove(&origin);
                self.next.pop_back();
            }
            return Some((origin, sender));
        }
        None
    }
}

impl Drop for QueueTurn {
    fn drop(&mut self) {
        let called: Vec<_> = {
            let mut line = self.line.lock();
            line.end(self.origin);
            std::iter::from_fn(|| line.call()).collect()
        };
        for (origin, sender) in called {
            // If the waiting request was cancelled at this moment, then `send` returns the turn.
            // Dropping it runs this code again, which gives the turn to the next one. No lock is
            // held here, so that cannot block.
            let _ = sender.send(Self { line: self.line.clone(), origin });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures_util::FutureExt;

    use super::*;

    type WaitingTurn<'t> = Pin<Box<dyn Future<Output = Result<QueueTurn, WorkLimitError>> + 't>>;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::V4([192, 0, 2, last].into()))
    }

    /// The immediate answer to a client.
    fn at_once(turns: &FairQueue, last: u8) -> Result<QueueTurn, WorkLimitError> {
        turns.take(address(last)).now_or_never().expect("an answer at once")
    }

    /// A client that has to wait.
    fn waits(turns: &FairQueue, last: u8) -> WaitingTurn<'_> {
        let mut waiting: WaitingTurn<'_> = Box::pin(turns.take(address(last)));
        assert!((&mut waiting).now_or_never().is_none(), "{last} waits");
        waiting
    }

    fn is_ready(waiting: &mut WaitingTurn<'_>) -> Option<QueueTurn> {
        waiting.now_or_never().map(Result::unwrap)
    }

    #[test]
    fn a_client_has_an_eighth_of_the_turns_and_of_the_waiting() {
        let turns = FairQueue::new(16, 24);
        let waiter = [at_once(&turns, 1).unwrap(), at_once(&turns, 1).unwrap()];
        let waiting: Vec<_> = (0..3).map(|_| waits(&turns, 1)).collect();

        let refused = at_once(&turns, 1);
        assert_eq!(refused.unwrap_err(), WorkLimitError::Share { limit: 3 });
        assert!(at_once(&turns, 2).is_ok(), "another one has a turn at once");

        drop((waiter, waiting));
        let line = turns.line.lock();
        assert_eq!((line.free, line.under_way.is_empty()), (16, true));
    }

    #[test]
    fn turns_go_round_by_client() {
        // Each of two clients has one turn, and a third client has all others.
        let turns = FairQueue::new(2, 64);
        let one = at_once(&turns, 1).unwrap();
        let two = at_once(&turns, 2).unwrap();
        let mut flood: Vec<_> = (0..5).map(|_| waits(&turns, 3)).collect();
        let mut single = waits(&turns, 4);

        drop(one);
        let first = is_ready(&mut flood[0]).expect("the first who came");
        drop(two);
        let other = is_ready(&mut single).expect("not the second of the flood");

        assert!(flood.iter_mut().skip(1).all(|waiting| is_ready(waiting).is_none()));
        drop(first);
        assert!(is_ready(&mut flood[1]).is_some(), "it has its share again");
        drop(other);
    }

    #[test]
    fn who_goes_away_is_passed_over_and_leaves_nothing() {
        let turns = FairQueue::new(1, 64);
        let waiter = at_once(&turns, 1).unwrap();
        let gone: Vec<_> = (2..6).map(|last| waits(&turns, last)).collect();
        let mut stays = waits(&turns, 7);

        drop(gone);
        drop(waiter);
        let turn = is_ready(&mut stays).expect("the one who stayed");
        drop(turn);

        let line = turns.line.lock();
        assert!(line.waiting.is_empty() && line.next.is_empty() && line.under_way.is_empty());
        assert_eq!(line.free, 1);
    }

    #[test]
    fn a_turn_that_nobody_takes_is_handed_on() {
        let turns = FairQueue::new(1, 64);
        let waiter = at_once(&turns, 1).unwrap();
        let called = waits(&turns, 2);
        let mut next = waits(&turns, 3);

        drop(waiter);
        drop(called);

        assert!(is_ready(&mut next).is_some());
    }
}
