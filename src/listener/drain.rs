//! The orderly end of listeners and their connections.
//!
//! A drain is a flag and a wake-up. Accept loops empty their sockets' queues and close the sockets;
//! each connection finishes its current requests and ends. This file sets no time limit: the caller
//! waits for `GatewayThreads::idle` as long as it likes and then stops the threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// A handle to the drain of the listeners that `listener::serve` started. Clones are the same
/// drain.
///
/// A drain has children. A child begins together with its parent, or earlier by itself. Each
/// listener is a child, and below it there is one child for the connections under the same
/// settings.
#[derive(Clone, Debug)]
pub struct Drain(Arc<DrainState>);

#[derive(Debug)]
struct DrainState {
    started: AtomicBool,
    urgent: AtomicBool,
    token: CancellationToken,
    /// Counts the accept loops of all listeners; shared with all children.
    accepting: TaskTracker,
    children: Mutex<Vec<Weak<Self>>>,
}

impl DrainState {
    /// Sets the flag of this drain and of all its children, without waking anybody.
    fn mark(&self) {
        let children = self.children.lock();
        self.started.store(true, Ordering::Release);
        for child in children.iter().filter_map(Weak::upgrade) {
            child.mark();
        }
    }
}

impl Drain {
    pub(super) fn new() -> Self {
        Self(Arc::new(DrainState {
            started: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            token: CancellationToken::new(),
            accepting: TaskTracker::new(),
            children: Mutex::default(),
        }))
    }

    /// A new child of this drain.
    pub(super) fn child(&self) -> Self {
        let mut children = self.0.children.lock();
        children.retain(|child| child.strong_count() > 0);
        let child = Arc::new(DrainState {
            // Read under the lock that `mark` takes. A child that is made while its parent begins
            // is then either in the list before the list is walked, or begins with the flag set.
            // Without the lock a child could be missed, and its connections would never end.
            started: AtomicBool::new(self.is_started()),
            urgent: AtomicBool::new(self.is_urgent()),
            token: self.0.token.child_token(),
            accepting: self.0.accepting.clone(),
            children: Mutex::default(),
        });
        children.push(Arc::downgrade(&child));
        Self(child)
    }

    /// Begins the drain, with all children. Calling it again has no effect.
    pub fn start(&self) {
        // The flags are set before the wake-up, which reaches the children too. A watcher that is
        // woken looks only at its own flag: if the flag came later, the watcher would go to sleep
        // again and miss the drain.
        self.0.mark();
        self.0.token.cancel();
        self.0.accepting.close();
    }

    /// Begins the drain of connections whose clients were let in by settings that count no more. An
    /// idle connection ends at once, and does not wait for its next request.
    pub(super) fn start_urgently(&self) {
        self.0.urgent.store(true, Ordering::Release);
        self.start();
    }

    /// True if an idle connection is not to wait for its next request.
    pub(super) fn is_urgent(&self) -> bool {
        self.0.urgent.load(Ordering::Acquire)
    }

    /// True once the drain has begun.
    pub fn is_started(&self) -> bool {
        self.0.started.load(Ordering::Acquire)
    }

    /// Returns when the drain has begun and every listening socket is closed.
    pub async fn stopped_accepting(&self) {
        self.0.accepting.wait().await;
    }

    /// A future that completes when the drain begins.
    pub(super) fn watch(&self) -> DrainSignal {
        DrainSignal {
            drain: self.clone(),
            woken: Box::pin(self.0.token.clone().cancelled_owned()),
            waker: None,
        }
    }

    /// Waits for at most `pause`; true if the drain has begun.
    pub(super) async fn starts_within(&self, pause: Duration) -> bool {
        self.0.token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none()
    }

    /// Wraps `accept_loop`, so that it counts as accepting until it ends.
    pub(super) fn accepting<F>(&self, accept_loop: F) -> impl Future<Output = F::Output> + use<F>
    where
        F: Future,
    {
        self.0.accepting.track_future(accept_loop)
    }
}

/// Completes when the drain begins. Every connection polls one each time it is woken. All polls
/// except the first look only at the flag, because all workers share the lock of the wake-up.
/// Thousands of connections would otherwise contend for that lock with every packet.
pub(super) struct DrainSignal {
    drain: Drain,
    woken: Pin<Box<WaitForCancellationFutureOwned>>,
    waker: Option<Waker>,
}

impl Future for DrainSignal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.drain.is_started() {
            return Poll::Ready(());
        }
        // The waker has been registered by an earlier poll, and the task has not changed since.
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        self.woken.as_mut().poll(cx)
    }
}
