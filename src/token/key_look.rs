//! Looks at the shared document that a token causes whose key is not known here.
//!
//! Another gateway may have signed it with a key that it made a moment ago, for example because the
//! last one was revoked. All who wait share one look, and after a look there is none for a second, so
//! that invented keys cost nothing. `authn` asks, `signing_keys` looks.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;

/// Shortest time between two looks that tokens cause.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a token waits. A step of the store takes less.
const WITHIN: Duration = Duration::from_secs(1);

/// The looks of one gateway.
#[derive(Debug)]
pub(super) struct KeyLooks {
    clock: Clock,
    state: Mutex<LookState>,
    request: Notify,
    /// Number of looks that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct LookState {
    is_under_way: bool,
    /// When the last look ended, by the monotonic clock.
    last: Option<Duration>,
}

/// The question whether the document has newer keys than the ring.
#[derive(Clone, Debug)]
pub struct KeyLook(Arc<KeyLooks>);

impl KeyLooks {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            request: Notify::new(),
            ended: watch::Sender::default(),
        }
    }

    /// The question, unless the answer is known from a moment ago.
    pub(super) fn question(self: &Arc<Self>) -> Option<KeyLook> {
        let state = self.state.lock();
        let now = self.clock.monotonic();
        let is_recent = state.last.is_some_and(|last| now.saturating_sub(last) < PAUSE);
        (state.is_under_way || !is_recent).then(|| KeyLook(self.clone()))
    }

    /// Returns when a token requests a look.
    pub(super) async fn requested(&self) {
        self.request.notified().await;
    }

    /// True if somebody waits for the look that begins now. The answer is given back to `end`.
    pub(super) fn begin(&self) -> bool {
        self.state.lock().is_under_way
    }

    /// Notes that a look has ended. A look that had begun before the request answers nobody: it may
    /// have missed the key that the token needs.
    pub(super) fn end(&self, is_awaited: bool) {
        if !is_awaited {
            return;
        }
        let mut state = self.state.lock();
        state.is_under_way = false;
        state.last = Some(self.clock.monotonic());
        drop(state);
        self.ended.send_modify(|ended| *ended += 1);
    }
}

impl KeyLook {
    /// Has the document looked at, and waits until that is done, for a second at most.
    pub async fn run(&self) {
        // Subscribed before the question: a look that ends at once must not be missed.
        let mut ended = self.0.ended.subscribe();
        let seen = *ended.borrow_and_update();
        let is_first = !std::mem::replace(&mut self.0.state.lock().is_under_way, true);
        if is_first {
            self.0.request.notify_one();
        }
        // It ends without a look if the gateway gives up its store; then the token stays unknown.
        let _ = tokio::time::timeout(WITHIN, ended.wait_for(|ended| *ended > seen)).await;
    }
}
