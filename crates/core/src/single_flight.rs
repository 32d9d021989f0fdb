//! Single flight: of all callers that want the same result at once, one computes it.
//!
//! The others wait and get a copy. The number of keys at once and the number of callers for one key
//! are bounded, because each caller occupies memory and a place in a runtime. Results are not
//! remembered: the next caller after the end starts anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// The computations that are under way, by key.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    keys: usize,
    callers: usize,
    under_way: Mutex<HashMap<K, SharedResult<V>>>,
}

/// One computation, and the number of callers that take part in it.
#[derive(Debug)]
struct SharedResult<V> {
    cell: Arc<OnceCell<V>>,
    callers: usize,
}

impl<K: Copy + Eq + Hash, V: Clone> SingleFlight<K, V> {
    /// At most `keys` computations at once, and at most `callers` for each of them.
    pub fn new(keys: usize, callers: usize) -> Self {
        Self { keys, callers, under_way: Mutex::default() }
    }

    /// The result for `key`: that of the computation under way, else that of `compute`. `None` if
    /// there are too many computations, or too many callers for this one.
    ///
    /// A failure is a result like any other and goes to all callers. If the computing caller is
    /// dropped or panics, then the next caller computes in its place, so no caller waits for ever.
    pub async fn run(&self, key: K, compute: impl Future<Output = V>) -> Option<V> {
        let seat = self.join(key)?;
        Some(seat.cell.get_or_init(|| compute).await.clone())
    }

    fn join(&self, key: K) -> Option<FlightSeat<'_, K, V>> {
        let mut under_way = self.under_way.lock();
        if !under_way.contains_key(&key) && under_way.len() >= self.keys {
            return None;
        }
        let shared = under_way
            .entry(key)
            .or_insert_with(|| SharedResult { cell: Arc::new(OnceCell::new()), callers: 0 });
        if shared.callers >= self.callers {
            return None;
        }
        shared.callers += 1;
        Some(FlightSeat { flights: self, key, cell: shared.cell.clone() })
    }

    fn leave(&self, key: &K, cell: &Arc<OnceCell<V>>) {
        let mut under_way = self.under_way.lock();
        // If this computation has ended and another one of the same key has begun, then the
        // pointers differ, and the new one stays.
        let Some(shared) = under_way.get_mut(key).filter(|now| Arc::ptr_eq(&now.cell, cell)) else {
            return;
        };
        shared.callers -= 1;
        if shared.callers == 0 || cell.initialized() {
            under_way.remove(key);
        }
    }
}

/// A caller's part in a computation. It ends when the caller has the result or is dropped.
struct FlightSeat<'a, K: Copy + Eq + Hash, V: Clone> {
    flights: &'a SingleFlight<K, V>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Copy + Eq + Hash, V: Clone> Drop for FlightSeat<'_, K, V> {
    fn drop(&mut self) {
        self.flights.leave(&self.key, &self.cell);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn callers_share_one_result_and_a_failure_too() {
        let flights = SingleFlight::new(1, 9);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let mut first = pin!(flights.run(1, async { answered.await.unwrap() }));
        let mut second = pin!(flights.run(1, async { Ok("computed twice") }));

        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        answer.send(Err("failed")).unwrap();

        assert_eq!(first.await, Some(Err("failed")));
        assert_eq!(second.await, Some(Err("failed")));
        assert_eq!(flights.run(1, ready(Ok("anew"))).await, Some(Ok("anew")));
        assert!(flights.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn another_caller_computes_when_the_first_is_dropped() {
        let flights = SingleFlight::new(1, 9);
        let mut first = Box::pin(flights.run(1, pending()));
        let mut second = Box::pin(flights.run(1, ready("second")));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());

        drop(first);

        assert_eq!(second.await, Some("second"));
        assert!(flights.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn keys_and_callers_are_bounded_and_those_who_gave_up_do_not_count() {
        let flights = SingleFlight::new(2, 2);
        let mut waiting: Vec<_> =
            [1, 1, 2].map(|key| Box::pin(flights.run(key, pending()))).into_iter().collect();
        for caller in &mut waiting {
            assert!(poll(caller.as_mut()).is_pending());
        }

        assert_eq!(flights.run(1, ready(())).await, None, "too many callers for this key");
        assert_eq!(flights.run(3, ready(())).await, None, "too many keys");

        waiting.pop();
        assert_eq!(flights.run(3, ready(())).await, Some(()));
        waiting.clear();
        assert!(flights.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn a_computation_that_began_later_stays() {
        let flights = SingleFlight::new(9, 9);
        let late = flights.join(1).unwrap();
        assert_eq!(flights.run(1, ready(())).await, Some(()));

        let _next = flights.join(1).unwrap();
        drop(late);

        assert_eq!(flights.under_way.lock().len(), 1);
    }
}
