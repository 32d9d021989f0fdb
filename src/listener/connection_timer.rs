//! The state of a connection, and how long it may stay in that state.
//!
//! The socket, the requests and the connection's own task record here what happens; the task asks
//! when it has to act. One timer for each connection serves all states, and a change of state costs
//! a few stores. Hyper's own timer for request heads is not used: it allocates for every request,
//! and it cannot distinguish an idle connection from a slow head.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::ListenerTimeouts;

/// The state of a connection. Only one worker touches it; the fields are atomics because tasks must
/// be `Send`. Relaxed ordering is therefore enough. A connection is served by one worker from its
/// first byte to its last.
#[derive(Debug)]
pub(super) struct ConnectionTimer {
    start: Instant,
    phase: AtomicU8,
    /// When the state began, in milliseconds since `start`.
    since: AtomicU64,
    /// One more than the time at which the socket first refused to take more bytes, in the same
    /// unit. 0 means that the socket takes bytes. The offset keeps time 0 apart from "takes bytes".
    /// Only then does the deadline for a stalled client apply.
    blocked: AtomicU64,
    /// The number of requests that are being answered.
    open: AtomicUsize,
    begun: AtomicBool,
    /// With HTTP/2, bytes between requests need not be the beginning of a head: the protocol has
    /// frames of its own, such as pings.
    has_frames: AtomicBool,
}

/// No request is being answered. The head of the first or of the next one is arriving.
const HEAD: u8 = 0;
/// No request is being answered, and nothing has arrived since the last one.
const IDLE: u8 = 1;
/// At least one request is being answered.
const BUSY: u8 = 2;
/// The gateway has closed its side. Bytes that the client still sends are thrown away.
const LINGERING: u8 = 3;

/// How long a closed connection waits for the client to read the last answer.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection without a request may take to end after it was notified.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a connection waits, during a drain, for its first request, which may be on its way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// How long an idle HTTP/1 connection waits, during a drain, for its next request, which may be on
/// its way. RFC 9112, section 9.3.1 lets a client repeat only an idempotent request when its
/// connection was closed instead of answered.
const NEXT_REQUEST: Duration = Duration::from_secs(1);

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionEnd {
    /// Nobody wants the connection to end.
    None,
    /// It should end since this time, after one more request. It was not notified yet.
    Wanted(Instant),
    /// It was notified at this time that it must end, and takes no further request.
    Told(Instant),
}

/// The action to take when a deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerAction {
    /// Cut the connection: the head of a request did not arrive in time.
    SlowHead,
    /// Cut the connection: the client does not take its answer.
    Stalled,
    /// Close the connection: it was notified of its end, and nothing is left to do.
    Over,
    /// Tell the connection to end: it is not used, or has waited long enough for its next request.
    Idle,
}

impl ConnectionTimer {
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

    /// Milliseconds since the connection was made.
    fn elapsed(&self) -> u64 {
        millis(self.start.elapsed())
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
        self.since.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The handshake is complete. From now on the head of a request is awaited.
    pub(super) fn connected(&self, is_http2: bool) {
        self.has_frames.store(is_http2, Ordering::Relaxed);
        self.enter(HEAD);
    }

    /// Bytes have arrived. On an idle HTTP/1 connection they are the beginning of a head, so the
    /// deadline for heads begins. Bytes during a request belong to its body, whose time is limited
    /// elsewhere.
    pub(super) fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == IDLE && !self.has_frames.load(Ordering::Relaxed) {
            self.enter(HEAD);
        }
    }

    /// The socket has taken bytes.
    pub(super) fn sent(&self) {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.blocked.store(0, Ordering::Relaxed);
            // An idle time that began while the answer was still being sent starts again. Otherwise
            // a slow client would lose its connection as soon as the answer had arrived. The
            // deadline of an idle connection is counted from the end of the answer.
            self.since.store(self.elapsed(), Ordering::Relaxed);
        }
    }

    /// The socket takes no more bytes for now. Only the first refusal counts, until bytes are taken
    /// again. Otherwise each further attempt would move the deadline. The deadline is that of
    /// `body_idle`.
    pub(super) fn blocked(&self) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            self.blocked.store(self.elapsed() + 1, Ordering::Relaxed);
        }
    }

    /// The gateway has closed its side of the connection.
    pub(super) fn lingering(&self) {
        self.enter(LINGERING);
    }

    /// True once the first request has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// True while a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == BUSY
    }

    /// A request has arrived. It counts as being answered until the guard is dropped. Several
    /// requests can be answered at once on an HTTP/2 connection; the connection is idle when the
    /// last guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenRequest {
        self.begun.store(true, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    /// The next deadline and the action to take then. `end` says how far the end of the connection
    /// has come. `None`: there is no deadline, because the time of an answer is limited elsewhere.
    pub(super) fn due(
        &self,
        limits: &ListenerTimeouts,
        end: ConnectionEnd,
    ) -> Option<(Instant, TimerAction)> {
        let at = |millis: u64| self.start + Duration::from_millis(millis);
        let blocked = self.blocked.load(Ordering::Relaxed);
        // A client that takes no bytes is looked at first: it can hold up a connection in any
        // state.
        if blocked != 0 {
            return Some((at(blocked - 1) + limits.body_idle, TimerAction::Stalled));
        }
        let since = at(self.since.load(Ordering::Relaxed));
        use ConnectionEnd::{None as Open, Told, Wanted};
        match (self.phase.load(Ordering::Relaxed), end) {
            (LINGERING, _) => Some((since + LINGER, TimerAction::Over)),
            (BUSY, _) => None,
            (HEAD, Wanted(at)) if !self.has_begun() => {
                // HTTP/2 has a message for it, and HTTP/1 has none.
                let has_frames = self.has_frames.load(Ordering::Relaxed);
                let action = if has_frames { TimerAction::Idle } else { TimerAction::Over };
                Some((at.max(since) + FIRST_REQUEST, action))
            }
            (HEAD, Told(at)) if !self.has_begun() => {
                Some((at.max(since) + FIRST_REQUEST, TimerAction::Over))
            }
            (HEAD, _) => Some((since + limits.header, TimerAction::SlowHead)),
            (_, Wanted(at)) => Some((at + NEXT_REQUEST, TimerAction::Idle)),
            (_, Told(at)) => Some((at.max(since) + LAST_WORDS, TimerAction::Over)),
            (_, Open) => Some((since + limits.keep_alive, TimerAction::Idle)),
        }
    }
}

/// A request that is being answered; dropping it ends the count.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<ConnectionTimer>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let others = self.0.open.fetch_sub(1, Ordering::Relaxed) > 1;
        // An answer that is dropped because the connection is closing must not turn the state back
        // to idle. Such a connection is in the state `LINGERING` already.
        if !others && self.0.phase.load(Ordering::Relaxed) == BUSY {
            self.0.enter(IDLE);
        }
    }
}

/// Whether one HTTP/2 answer waits for its client: a piece of it was handed to the connection, and
/// the connection has not requested the next one since. HTTP/2 streams share a socket, so the
/// socket does not show which of them is stalled.
#[derive(Debug)]
pub(super) struct BodyProgress {
    start: Instant,
    /// One more than the time at which the piece was handed over, in milliseconds since `start`; 0:
    /// it was taken.
    since: AtomicU64,
}

impl BodyProgress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), since: AtomicU64::new(0) })
    }

    /// The connection has requested more.
    pub(super) fn taken(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// The connection has a piece to send.
    pub(super) fn handed_over(&self) {
        self.since.store(millis(self.start.elapsed()) + 1, Ordering::Relaxed);
    }

    /// The time since which the client has not taken the piece; `None` if it has taken all.
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
        let activity = ConnectionTimer::new();
        let due = || activity.due(&LIMITS, ConnectionEnd::None).map(|(_, due)| due);
        assert_eq!(due(), Some(TimerAction::SlowHead), "the first head is on the way");

        let first = activity.begin();
        let second = activity.begin();
        assert_eq!(due(), None, "how long an answer takes is the handler's business");

        drop(first);
        assert_eq!(due(), None, "another stream is still open");
        activity.blocked();
        assert_eq!(due(), Some(TimerAction::Stalled), "the client does not read");
        activity.sent();
        drop(second);
        assert_eq!(due(), Some(TimerAction::Idle), "kept alive");

        activity.received();
        assert_eq!(due(), Some(TimerAction::SlowHead), "the next head has begun");
    }

    #[test]
    fn a_connection_that_was_told_to_end_has_little_time() {
        let activity = ConnectionTimer::new();
        let now = Instant::now();
        let left = |end| {
            let (at, due) = activity.due(&LIMITS, end).unwrap();
            (at - activity.start < Duration::from_secs(10), due)
        };
        let wanted = ConnectionEnd::Wanted(now);
        let notified = ConnectionEnd::Told(now);

        assert_eq!(left(wanted), (true, TimerAction::Over), "its first request may still come");
        drop(activity.begin());
        assert_eq!(left(wanted), (true, TimerAction::Idle), "its next request may still come");
        assert_eq!(left(notified), (true, TimerAction::Over), "nothing is left to say");
        activity.received();
        assert_eq!(left(wanted), (false, TimerAction::SlowHead), "its next request has begun");
        activity.lingering();
        assert_eq!(left(notified), (true, TimerAction::Over), "the client need only read");
    }
}
