//! One question for a token, however many wait for its answer; so many questions at once.
//!
//! Each of those who wait holds a place in the back room: one question, or one token that many
//! bring, must not hold them all. A flight lives for as long as somebody waits for it: where the one who asks is given up, the
//! next one asks in his place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

use crate::secret::Digest;

/// Whether there is an answer now.
type Flight = OnceCell<bool>;

/// Those who wait for one answer.
const WAITING: usize = 512;

/// Questions that are under way.
#[derive(Debug)]
pub(super) struct Flights {
    most: usize,
    under_way: Mutex<HashMap<Digest, Weak<Flight>>>,
}

impl Flights {
    /// Takes so many at once.
    pub(super) fn new(most: usize) -> Self {
        Self { most, under_way: Mutex::default() }
    }

    /// Waits for the question of this name, put by `ask` unless it is under way; `None` where there
    /// are too many, or too many wait for this one.
    pub(super) async fn join(&self, name: Digest, ask: impl Future<Output = bool>) -> Option<bool> {
        let flight = self.board(name)?;
        let is_answered = *flight.get_or_init(|| ask).await;
        self.land(&name, &flight);
        Some(is_answered)
    }

    fn board(&self, name: Digest) -> Option<Arc<Flight>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&name).and_then(Weak::upgrade) {
            // This one is counted too.
            return (Arc::strong_count(&flight) <= WAITING).then_some(flight);
        }
        if under_way.len() >= self.most {
            // Those that were given up.
            under_way.retain(|_, flight| flight.strong_count() > 0);
        }
        if under_way.len() >= self.most {
            return None;
        }
        let flight = Arc::new(Flight::new());
        under_way.insert(name, Arc::downgrade(&flight));
        Some(flight)
    }

    /// Not another one of the same name, which may have begun meanwhile.
    fn land(&self, name: &Digest, flight: &Arc<Flight>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(name).is_some_and(|held| held.as_ptr() == Arc::as_ptr(flight)) {
            under_way.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_so_many_questions_are_under_way_and_those_given_up_do_not_count() {
        let flights = Flights::new(2);
        let name = |number: u8| Digest::of(&[number]);
        let (first, second) = (flights.board(name(1)).unwrap(), flights.board(name(2)).unwrap());

        assert!(flights.board(name(3)).is_none(), "too many");
        assert!(Arc::ptr_eq(&flights.board(name(1)).unwrap(), &first), "the same question");

        drop(second);
        assert_eq!(flights.join(name(3), async { true }).await, Some(true));
        assert_eq!(flights.join(name(4), async { false }).await, Some(false), "the third landed");
        assert_eq!(flights.under_way.lock().unwrap().len(), 1);
    }
    #[tokio::test]
    async fn only_so_many_wait_for_one_answer() {
        let flights = Flights::new(2);
        let name = Digest::of(b"one");
        let mut waiting: Vec<_> = (0..WAITING).map(|_| flights.board(name).unwrap()).collect();

        assert!(flights.board(name).is_none());
        assert!(flights.board(Digest::of(b"other")).is_some());

        waiting.pop();
        assert!(flights.board(name).is_some());
    }
}
