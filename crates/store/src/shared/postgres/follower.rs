//! A node's place in the feed of revocations.
//!
//! A look asks for all numbers above the highest one seen, and for the gaps below (`feed_window`).
//! Looks are a quarter of a second apart, or follow a notification. A look reads a bounded number of
//! rows; if there are more, the next look follows at once.
//!
//! After a load, the numbers below its end are read once more: an entry may have been published
//! while the load was passing its number.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::fault::StepFault;
use super::feed_window::FeedWindow;
use super::pool::{ConnectionPool, StatementAnswer, column};
use super::statements::{PAGE, Statements, parse_bytes};
use super::wakeup::Wakeup;
use crate::shared::{DatabaseError, DatabaseResult, Follower, News};

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Notifications cause looks at most this often.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(20);
/// How long a gap is looked for at least; how long a follower may be without a look that succeeded
/// before it loads everything again. The database may have been put back to an earlier state
/// meanwhile, so that numbers are given a second time.
const SHORTEST_OVERLAP: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct FeedFollower {
    reader: FeedReader,
    wakeup: Wakeup,
    last_look: Option<Instant>,
    has_more: bool,
    /// `None` before the first load, and after something was missed.
    place: Option<FeedPlace>,
}

/// Reads parts of the feed.
#[derive(Debug)]
pub(super) struct FeedReader {
    pub(super) pool: ConnectionPool,
    pub(super) statements: Statements,
    /// The server is PostgreSQL itself, which knows when it was started.
    pub(super) has_start: bool,
    pub(super) step_limit: Duration,
}

/// Where a follower is.
#[derive(Debug)]
struct FeedPlace {
    window: FeedWindow,
    /// When the server was started. If it differs, another server may have taken over, which may
    /// give numbers again that were seen here.
    server_start: i64,
    last_success: Instant,
    second_reading: Option<SecondReading>,
}

/// The numbers of a load, which are read again once publications that were under way have ended.
#[derive(Clone, Copy, Debug)]
struct SecondReading {
    due: Instant,
    next: i64,
    last: i64,
}

/// The answer of the statement that every look begins with.
struct FeedState {
    last_number: i64,
    server_start: i64,
}

/// The cause of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookCause {
    Time,
    Notification,
    /// The look before did not read everything, or there was none.
    Backlog,
}

/// The result of a look.
enum Look {
    Missed,
    Entries {
        entries: Vec<Vec<u8>>,
        has_more: bool,
        /// An entry was there that had not been passed over before.
        is_new: bool,
    },
}

/// The rows of a part of the feed, by their numbers.
type FeedPage = Vec<(i64, Vec<u8>)>;

impl FeedReader {
    /// How long a gap is looked for. A publication that was answered took its number at most one
    /// step limit before it committed; other nodes may have other limits.
    fn overlap(&self) -> Duration {
        SHORTEST_OVERLAP.max(4 * self.step_limit)
    }

    async fn run(&self, script: &str) -> DatabaseResult<(FeedState, Vec<FeedPage>)> {
        let mut answers = self.pool.run(script).await?;
        // The first answer is to the setting that every script begins with.
        let rows = answers.drain(..answers.len().min(2)).next_back().unwrap_or_default().rows;
        let row = rows.first().ok_or_else(|| self.fault("the feed has no state"))?;
        if column::<String>(row, 1)? == "on" {
            return Err(self.pool.read_only());
        }
        let state = FeedState { last_number: column(row, 0)?, server_start: column(row, 2)? };
        let pages = answers.iter().map(|answer| self.page(answer)).collect::<Result<_, _>>()?;
        Ok((state, pages))
    }

    fn page(&self, answer: &StatementAnswer) -> DatabaseResult<FeedPage> {
        let rows = answer.rows.iter().map(|row| {
            let value = parse_bytes(column(row, 1)?);
            let value = value.ok_or_else(|| self.fault("an entry of the feed is no bytes"))?;
            Ok((column(row, 0)?, value))
        });
        rows.collect()
    }

    fn fault(&self, text: &str) -> DatabaseError {
        self.pool.error(&StepFault::of(text))
    }

    /// One look from `place`. Nothing is changed if it fails, or is given up.
    async fn look(&self, place: &mut FeedPlace) -> DatabaseResult<Look> {
        let begun = Instant::now();
        let mut script = self.statements.feed_state(self.has_start);
        for (first, last) in place.window.ranges() {
            script += &self.statements.feed_part(first, last, false);
        }
        let second = place.second_reading.filter(|second| second.due <= begun);
        if let Some(second) = second {
            script += &self.statements.feed_part(second.next, second.last, true);
        }

        let (state, mut pages) = self.run(&script).await?;

        let was_away = begun.duration_since(place.last_success) > self.overlap();
        let went_back = state.last_number < place.window.seen();
        if was_away || went_back || state.server_start != place.server_start {
            return Ok(Look::Missed);
        }
        let mut has_more = pages.iter().any(|page| page.len() == PAGE);
        let second_page = second.and_then(|_| pages.pop()).unwrap_or_default();
        let mut entries = Vec::new();
        let mut is_new = false;
        for (seq, value) in pages.into_iter().flatten() {
            is_new |= place.window.record(seq, begun);
            entries.push(value);
        }
        // While there is more, some gaps may not have been looked at to their ends.
        if !has_more {
            place.window.forget_gaps(begun, self.overlap());
        }
        place.window.merge_gaps();
        if let Some(second) = second {
            let rest = second_page.last().filter(|_| second_page.len() == PAGE);
            place.second_reading = rest.map(|(seq, _)| SecondReading { next: seq + 1, ..second });
            has_more |= place.second_reading.is_some();
            entries.extend(second_page.into_iter().map(|(_, value)| value));
        }
        place.last_success = begun;
        Ok(Look::Entries { entries, has_more, is_new })
    }
}

impl FeedFollower {
    pub(super) fn new(reader: FeedReader, wakeup: Wakeup) -> Self {
        Self { reader, wakeup, last_look: None, has_more: false, place: None }
    }

    /// Waits until a look is due.
    async fn wait(&mut self) -> LookCause {
        let Some(last_look) = self.last_look.filter(|_| !self.has_more) else {
            return LookCause::Backlog;
        };
        let cause = tokio::select! {
            () = self.wakeup.woken() => LookCause::Notification,
            () = tokio::time::sleep_until(last_look + LOOK_EVERY) => LookCause::Time,
        };
        if cause == LookCause::Notification {
            tokio::time::sleep_until(last_look + LOOK_AT_MOST_EVERY).await;
        }
        cause
    }
}

#[async_trait]
impl Follower for FeedFollower {
    async fn load(&mut self, piece: &mut (dyn FnMut(Vec<Vec<u8>>) + Send)) -> DatabaseResult<()> {
        self.place = None;
        let reader = &self.reader;
        let mut server_start = None;
        let mut seen = 0;
        loop {
            let mut script = reader.statements.feed_state(reader.has_start);
            script += &reader.statements.feed_part(seen + 1, i64::MAX, true);
            let (state, mut pages) = reader.run(&script).await?;
            // Another server may lack what a page of the first one has made us pass over.
            if *server_start.get_or_insert(state.server_start) != state.server_start {
                return Err(reader.fault("the server was started anew during a load"));
            }
            let page = pages.pop().unwrap_or_default();
            let is_last = page.len() < PAGE;
            seen = page.last().map_or(seen, |(seq, _)| *seq);
            if !page.is_empty() {
                piece(page.into_iter().map(|(_, value)| value).collect());
            }
            if is_last {
                break;
            }
        }
        let now = Instant::now();
        // By then a publication that was under way when its number was passed has been answered,
        // or has failed.
        let due = now + reader.step_limit + LOOK_EVERY;
        self.place = Some(FeedPlace {
            window: FeedWindow::after(seen),
            server_start: server_start.unwrap_or_default(),
            last_success: now,
            second_reading: Some(SecondReading { due, next: 1, last: seen }).filter(|_| seen > 0),
        });
        self.has_more = false;
        self.last_look = None;
        Ok(())
    }

    async fn next(&mut self) -> DatabaseResult<News> {
        let cause = self.wait().await;
        self.last_look = Some(Instant::now());
        self.has_more = false;
        let Some(place) = &mut self.place else { return Ok(News::Missed) };
        match self.reader.look(place).await? {
            Look::Missed => {
                self.place = None;
                Ok(News::Missed)
            }
            Look::Entries { entries, has_more, is_new } => {
                self.has_more = has_more;
                if is_new && cause == LookCause::Time {
                    self.wakeup.record_missed();
                }
                Ok(News::Entries(entries))
            }
        }
    }
}
