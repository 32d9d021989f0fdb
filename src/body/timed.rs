//! The end of a body whose sender takes too long.
//!
//! Only the time in which a frame is waited for counts; the time that the receiver takes is not the
//! sender's fault. Each pause has a limit. Where a least rate is configured, all pauses together
//! have one as well: otherwise a byte now and then could occupy a connection of an upstream as long
//! as its sender likes (a slow-body attack).
//!
//! A frame that is there at once costs one addition. The clock is read only when the body has to
//! wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{Body, BodyError};
use crate::client::LeastRate;

const NANOS: u64 = 1_000_000_000;

pub(super) struct TimedBody {
    body: Body,
    /// The longest pause between two frames.
    limit: Duration,
    pace: Option<BodyPace>,
    /// The running pause. It is made when the body first has to wait, which most bodies never do.
    wait: Option<BodyWait>,
}

struct BodyWait {
    since: Instant,
    sleep: Pin<Box<Sleep>>,
}

/// The time that a body with a least rate may still be waited for.
struct BodyPace {
    least: LeastRate,
    left: Duration,
    /// Bytes that have come since `left` was last computed.
    bytes: u64,
}

impl TimedBody {
    pub(super) fn new(body: Body, limit: Duration, least: Option<LeastRate>) -> Self {
        let pace = least.map(|least| BodyPace { least, left: least.grace, bytes: 0 });
        Self { body, limit, pace, wait: None }
    }

    fn came(&mut self, frame: Option<&Frame<Bytes>>) {
        let wait = self.wait.take();
        let Some(pace) = &mut self.pace else { return };
        // The frame ended a pause: its length is taken from the time that is left.
        if let Some(wait) = wait {
            pace.left = pace.left.saturating_sub(wait.since.elapsed());
        }
        let bytes = frame.and_then(|frame| frame.data_ref()).map_or(0, Bytes::len);
        pace.bytes = pace.bytes.saturating_add(bytes as u64);
    }

    fn begin(&mut self) -> BodyWait {
        let since = Instant::now();
        let patience = match &mut self.pace {
            Some(pace) => pace.left(self.limit).min(self.limit),
            None => self.limit,
        };
        BodyWait { since, sleep: Box::pin(tokio::time::sleep_until(since + patience)) }
    }

    fn error(&self) -> BodyError {
        match &self.pace {
            Some(pace) if pace.left < self.limit => BodyError::Slow { rate: pace.least.bytes },
            _ => BodyError::Stalled { limit: self.limit },
        }
    }
}

impl BodyPace {
    /// Adds the time that the received bytes are worth at the least rate, and returns the time that
    /// is left.
    ///
    /// No more than one pause (or the grace) is saved up. Otherwise a fast beginning would pay for
    /// hours of single bytes.
    fn left(&mut self, pause: Duration) -> Duration {
        let bytes = std::mem::take(&mut self.bytes);
        let nanos = bytes.saturating_mul(NANOS).checked_div(self.least.bytes).unwrap_or(u64::MAX);
        let left = self.left.saturating_add(Duration::from_nanos(nanos));
        self.left = left.min(pause.max(self.least.grace));
        self.left
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        // A frame that is ready is taken before the timer is looked at. A body that is not waiting
        // can therefore never be timed out, however long its receiver has paused.
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.came(frame.as_ref().and_then(|frame| frame.as_ref().ok()));
            return Poll::Ready(frame);
        }
        let mut wait = this.wait.take().unwrap_or_else(|| this.begin());
        let sleep = wait.sleep.as_mut().poll(cx);
        this.wait = Some(wait);
        ready!(sleep);
        Poll::Ready(Some(Err(this.error())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);
    const LEAST: LeastRate = LeastRate { bytes: 100, grace: Duration::from_secs(10) };

    /// How many pauses of `gap` are accepted in a body that brings `first` bytes at once and `each`
    /// after every pause. At most a thousand pauses are tried.
    fn borne(first: u64, each: u64, gap: Duration) -> usize {
        let mut pace = BodyPace { least: LEAST, left: LEAST.grace, bytes: first };
        let pauses = (0..1000).take_while(|_| {
            let is_borne = gap < pace.left(PAUSE).min(PAUSE);
            pace.left = pace.left.saturating_sub(gap);
            pace.bytes += each;
            is_borne
        });
        pauses.count()
    }

    #[test]
    fn a_body_that_trickles_has_the_grace_and_what_its_bytes_are_worth() {
        let second = Duration::from_secs(1);

        assert_eq!(borne(0, 0, second), 9);
        assert_eq!(borne(500, 0, second), 14, "5 s more");
        assert_eq!(borne(1 << 20, 0, second), 29, "no more than one pause is saved");
        assert_eq!(borne(0, 50, second), 18, "half of the rate is twice the time");
        assert_eq!(borne(0, 100, second), 1000, "the rate itself");
    }

    #[test]
    fn a_pause_after_a_quick_beginning_is_as_long_as_any() {
        assert_eq!(borne(1 << 20, 1 << 20, PAUSE - Duration::from_secs(1)), 1000);
        assert_eq!(borne(1 << 20, 1 << 20, PAUSE), 0);
    }
}
