//! The orderly end of listeners and their connections.
//!
//! A drain is a flag and a wake-up. Accept loops empty their sockets' queues and close them;
//! each connection finishes what it is answering and ends. How long that may take is the
//! caller's decision: it waits for `Threads::idle` as long as it likes and then stops them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// A handle to drain what `listener::serve` started; clones are the same drain.
///
/// A drain has children, which begin with it or by themselves: one for each listener, and below it
/// one for the connections that were accepted under the same settings.
#[derive(Clone, Debug)]
pub struct Drain(Arc<State>);

#[derive(Debug)]
struct State {
    started: AtomicBool,
    token: CancellationToken,
    /// Shared with all children: the accept loops of every listener.
    accepting: TaskTracker,
    children: Mutex<Vec<Weak<Self>>>,
}

impl State {
    fn mark(&self) {
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        self.started.store(true, Ordering::Release);
        for child in children.iter().filter_map(Weak::upgrade) {
            child.mark();
        }
    }
}

impl Drain {
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            started: AtomicBool::new(false),
            token: CancellationToken::new(),
            accepting: TaskTracker::new(),
            children: Mutex::default(),
        }))
    }

    /// A drain that begins with this one, or before it.
    pub(super) fn child(&self) -> Self {
        let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|child| child.strong_count() > 0);
        let child = Arc::new(State {
            // Read under the lock that `mark` takes: a child made while its parent begins is
            // either in the list by then, or begins marked.
            started: AtomicBool::new(self.is_started()),
            token: self.0.token.child_token(),
            accepting: self.0.accepting.clone(),
            children: Mutex::default(),
        });
        children.push(Arc::downgrade(&child));
        Self(child)
    }

    /// Begins the drain and those of all children; again is no matter.
    pub fn start(&self) {
        // Flags before the wake-up, which reaches the children too: a watcher that is woken looks
        // at its own flag only.
        self.0.mark();
        self.0.token.cancel();
        self.0.accepting.close();
    }

    /// True once the drain has begun.
    pub fn is_started(&self) -> bool {
        self.0.started.load(Ordering::Acquire)
    }

    /// Returns when the drain has begun and every listening socket is closed.
    pub async fn stopped_accepting(&self) {
        self.0.accepting.wait().await;
    }

    /// A future that ends when the drain begins.
    pub(super) fn watch(&self) -> Watch {
        Watch {
            drain: self.clone(),
            woken: Box::pin(self.0.token.clone().cancelled_owned()),
            waker: None,
        }
    }

    /// Waits for `pause` at most; true if the drain has begun.
    pub(super) async fn starts_within(&self, pause: Duration) -> bool {
        self.0.token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none()
    }

    /// `accept_loop`, counted as accepting until it ends.
    pub(super) fn accepting<F>(&self, accept_loop: F) -> impl Future<Output = F::Output> + use<F>
    where
        F: Future,
    {
        self.0.accepting.track_future(accept_loop)
    }
}

/// Ends when the drain begins. Every connection polls one each time it is woken, so all but the
/// first poll only look at the flag: the wake-up's lock is shared by all workers.
pub(super) struct Watch {
    drain: Drain,
    woken: Pin<Box<WaitForCancellationFutureOwned>>,
    waker: Option<Waker>,
}

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.drain.is_started() {
            return Poll::Ready(());
        }
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        self.woken.as_mut().poll(cx)
    }
}
