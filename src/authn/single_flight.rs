//! Single flight per token, with a bound on concurrent lookups and on waiters per lookup.
//!
//! Every waiter occupies a place in the background runtime. Without the bounds, one slow issuer or
//! one token that many clients present could occupy all places. If the task that makes the call is
//! cancelled, then the next waiter makes the call in its place. `opaque` is the only caller.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::secret::Digest;

/// One lookup. The value says whether the issuer answered.
type LookupFlight = OnceCell<bool>;

/// Upper bound of waiters for one lookup.
const WAITING: usize = 512;

/// The lookups that are under way, by digest.
#[derive(Debug)]
pub(super) struct SingleFlight {
    limit: usize,
    under_way: Mutex<HashMap<Digest, Weak<LookupFlight>>>,
}

impl SingleFlight {
    /// A registry for at most `limit` lookups at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, under_way: Mutex::default() }
    }

    /// Waits for the lookup called `name`; runs `ask` if no such lookup is under way. `None` if
    /// there are too many lookups, or too many waiters for this one. The result is the value of
    /// `ask`: true if the issuer answered. The answer itself is with the verdicts.
    pub(super) async fn run(&self, name: Digest, ask: impl Future<Output = bool>) -> Option<bool> {
        let flight = self.enter(name)?;
        // `get_or_init` runs the future of one waiter and wakes the others with its result. If that
        // waiter is dropped, then another waiter's future runs, so a cancelled request leaves no
        // other one waiting for ever.
        let is_answered = *flight.get_or_init(|| ask).await;
        self.leave(&name, &flight);
        Some(is_answered)
    }

    /// Joins the lookup of this name or registers a new one. The registry has only weak references,
    /// so a lookup disappears with its last waiter.
    fn enter(&self, name: Digest) -> Option<Arc<LookupFlight>> {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(&name).and_then(Weak::upgrade) {
            // The count includes the reference that was just taken.
            return (Arc::strong_count(&flight) <= WAITING).then_some(flight);
        }
        if under_way.len() >= self.limit {
            // Lookups whose waiters were all cancelled are still registered. They are removed only
            // when the registry is full, so that a usual call does not scan it.
            under_way.retain(|_, flight| flight.strong_count() > 0);
        }
        if under_way.len() >= self.limit {
            return None;
        }
        let flight = Arc::new(LookupFlight::new());
        under_way.insert(name, Arc::downgrade(&flight));
        Some(flight)
    }

    /// Removes a finished lookup. If a new lookup of the same name began after this one finished,
    /// then the new one stays, because the pointers differ.
    fn leave(&self, name: &Digest, flight: &Arc<LookupFlight>) {
        let mut under_way = self.under_way.lock();
        if under_way.get(name).is_some_and(|current| current.as_ptr() == Arc::as_ptr(flight)) {
            under_way.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_so_many_questions_are_under_way_and_those_given_up_do_not_count() {
        let flights = SingleFlight::new(2);
        let name = |number: u8| Digest::of(&[number]);
        let first = flights.enter(name(1)).unwrap();
        let second = flights.enter(name(2)).unwrap();

        assert!(flights.enter(name(3)).is_none(), "too many");
        assert!(Arc::ptr_eq(&flights.enter(name(1)).unwrap(), &first), "the same question");

        drop(second);
        assert_eq!(flights.run(name(3), async { true }).await, Some(true));
        assert_eq!(flights.run(name(4), async { false }).await, Some(false), "the third landed");
        assert_eq!(flights.under_way.lock().len(), 1);
    }
    #[tokio::test]
    async fn only_so_many_wait_for_one_answer() {
        let flights = SingleFlight::new(2);
        let name = Digest::of(b"one");
        let mut waiting: Vec<_> = (0..WAITING).map(|_| flights.enter(name).unwrap()).collect();

        assert!(flights.enter(name).is_none());
        assert!(flights.enter(Digest::of(b"other")).is_some());

        waiting.pop();
        assert!(flights.enter(name).is_some());
    }
}
