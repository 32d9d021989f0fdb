//! What a connection is doing, and how long it may go on doing that.
//!
//! The socket, the requests and the connection's own task note here what happens; the task asks
//! when it has to act. One timer per connection serves all phases, and a phase costs a few
//! stores: hyper's own head timer allocates for every request and cannot tell an idle
//! connection from a slow head.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ListenerTimeouts;

/// A connection's state, touched by one worker only; atomics because tasks must be `Send`.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds since `start`.
    since: AtomicU64,
    /// One more than when the socket first refused to take more, in the same unit; 0: it takes.
    blocked: AtomicU64,
    /// Requests being answered.
    open: AtomicUsize,
    begun: AtomicBool,
    /// Bytes between requests are not the beginning of a head: HTTP/2 has frames of its own.
    has_frames: AtomicBool,
}

/// No request is being answered; its head, or the first one, is on the way.
const HEAD: u8 = 0;
/// No request is being answered and nothing has come since the last one.
const IDLE: u8 = 1;
/// Requests are being answered.
const BUSY: u8 = 2;
/// Our side is closed; what the client still sends is thrown away.
const LINGERING: u8 = 3;

/// How long a closed connection waits for the client to have read our last answer.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection that has no request may take to end once it was told to.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a draining connection waits for its first request, which may be on its way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// What there is to do when a deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Cut it: a head was not finished in time.
    SlowHead,
    /// Cut it: the client does not take its answer.
    Stalled,
    /// Cut it: it was told to end and everything is said.
    Over,
    /// Tell it to end: nobody uses it.
    Idle,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            phase: AtomicU8::new(HEAD),
            since: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            has_frames: AtomicBool::new(false),
        })
    }

    fn elapsed(&self) -> u64 {
        millis(self.start.elapsed())
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
        self.since.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The handshake is over: from now on a request's head is waited for.
    pub(super) fn connected(&self, is_http2: bool) {
        self.has_frames.store(is_http2, Ordering::Relaxed);
        self.enter(HEAD);
    }

    /// Bytes have arrived.
    pub(super) fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == IDLE && !self.has_frames.load(Ordering::Relaxed) {
            self.enter(HEAD);
        }
    }

    /// The socket has taken bytes.
    pub(super) fn sent(&self) {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.blocked.store(0, Ordering::Relaxed);
            // An idle time that began while the answer was still leaving starts anew.
            self.since.store(self.elapsed(), Ordering::Relaxed);
        }
    }

    /// The socket takes no more for now.
    pub(super) fn blocked(&self) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            self.blocked.store(self.elapsed() + 1, Ordering::Relaxed);
        }
    }

    /// Our side of the socket is closed.
    pub(super) fn lingering(&self) {
        self.enter(LINGERING);
    }

    /// True once the first request has come.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// A request has come; it is being answered until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.begun.store(true, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// The next deadline, and what to do then. `ending` is when the connection was told to end.
    pub(super) fn due(
        &self,
        limits: &ListenerTimeouts,
        ending: Option<Instant>,
    ) -> Option<(Instant, Due)> {
        let at = |millis: u64| self.start + Duration::from_millis(millis);
        let blocked = self.blocked.load(Ordering::Relaxed);
        if blocked != 0 {
            return Some((at(blocked - 1) + limits.body_idle, Due::Stalled));
        }
        let since = at(self.since.load(Ordering::Relaxed));
        match (self.phase.load(Ordering::Relaxed), ending) {
            (LINGERING, _) => Some((since + LINGER, Due::Over)),
            (BUSY, _) => None,
            (HEAD, Some(ending)) if !self.has_begun() => {
                Some((ending.max(since) + FIRST_REQUEST, Due::Over))
            }
            (HEAD, _) => Some((since + limits.header, Due::SlowHead)),
            (_, Some(ending)) => Some((ending.max(since) + LAST_WORDS, Due::Over)),
            (_, None) => Some((since + limits.keep_alive, Due::Idle)),
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        let others = self.0.open.fetch_sub(1, Ordering::Relaxed) > 1;
        // An answer that is dropped because the connection is closing changes nothing.
        if !others && self.0.phase.load(Ordering::Relaxed) == BUSY {
            self.0.enter(IDLE);
        }
    }
}

/// Whether the ball of one HTTP/2 answer is in the client's court: a piece of it was handed to
/// the connection, which has not asked for the next one since.
#[derive(Debug)]
pub(super) struct Taking {
    start: Instant,
    /// One more than when it was handed over, in milliseconds since `start`; 0: it was taken.
    since: AtomicU64,
}

impl Taking {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), since: AtomicU64::new(0) })
    }

    /// The connection has asked for more.
    pub(super) fn taken(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// The connection has a piece to send.
    pub(super) fn handed_over(&self) {
        self.since.store(millis(self.start.elapsed()) + 1, Ordering::Relaxed);
    }

    /// Since when the client has left it untaken.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start + Duration::from_millis(since))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ListenerTimeouts = ListenerTimeouts {
        handshake: Duration::from_secs(1),
        header: Duration::from_secs(10),
        body_idle: Duration::from_secs(30),
        body_rate: 512,
        body_grace: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
    };

    #[test]
    fn each_phase_has_its_own_deadline() {
        let activity = Activity::new();
        let due = || activity.due(&LIMITS, None).map(|(_, due)| due);
        assert_eq!(due(), Some(Due::SlowHead), "the first head is on the way");

        let (first, second) = (activity.begin(), activity.begin());
        assert_eq!(due(), None, "how long an answer takes is the handler's business");

        drop(first);
        assert_eq!(due(), None, "another stream is still open");
        activity.blocked();
        assert_eq!(due(), Some(Due::Stalled), "the client does not read");
        activity.sent();
        drop(second);
        assert_eq!(due(), Some(Due::Idle), "kept alive");

        activity.received();
        assert_eq!(due(), Some(Due::SlowHead), "the next head has begun");
    }

    #[test]
    fn a_connection_that_was_told_to_end_has_little_time() {
        let activity = Activity::new();
        let ending = Some(Instant::now());
        let left = || {
            let (at, due) = activity.due(&LIMITS, ending).unwrap();
            (at - activity.start < Duration::from_secs(10), due)
        };

        assert_eq!(left(), (true, Due::Over), "its first request may still come");
        drop(activity.begin());
        assert_eq!(left(), (true, Due::Over), "nothing is left to say");
        activity.lingering();
        assert_eq!(left(), (true, Due::Over), "the client need only read");
    }
}
