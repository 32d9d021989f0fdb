//! One node's way to the shared database: requests and answers take time, and some are lost.
//!
//! A request that its sender has given up on may still be carried out, as with a real server.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tollhouse_core::secret::Digest;
use tollhouse_store::shared::{
    DatabaseError, DatabaseResult, FeedEntry, Follower, MemoryDatabase, NewRecord, News, Reading,
    Record, RecordKey, RecordKind, RecordVersion, SharedDatabase, Swap,
};

use super::PlantedFault;
use super::draws::Draws;

/// After this time a step has failed, as with the real databases, but later than there: the store's
/// own limits count.
const STEP_LIMIT: Duration = Duration::from_secs(2);

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Everything arrives within a few milliseconds.
    Good,
    /// Requests and answers take long, some longer than a node waits.
    Slow,
    /// Some requests, and some answers, are lost.
    Lossy,
    /// Every step fails at once.
    Refused,
    /// Nothing comes back.
    Silent,
}

/// What becomes of one request.
struct Trip {
    there: Duration,
    back: Duration,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
    Refused,
    Silent,
}

/// One node's link to the shared database.
#[derive(Debug)]
pub(super) struct Link {
    database: MemoryDatabase,
    state: Mutex<LinkState>,
    /// When the last trouble ended.
    calm_since: Mutex<Instant>,
    draws: Mutex<Draws>,
    fault: Option<PlantedFault>,
}

impl Link {
    pub(super) fn new(
        database: MemoryDatabase,
        draws: Draws,
        fault: Option<PlantedFault>,
    ) -> Arc<Self> {
        Arc::new(Self {
            database,
            state: Mutex::new(LinkState::Good),
            calm_since: Mutex::new(Instant::now()),
            draws: Mutex::new(draws),
            fault,
        })
    }

    pub(super) fn set(&self, state: LinkState) {
        *self.state.lock() = state;
        self.disturb();
    }

    /// Notes trouble that is not the link's own.
    pub(super) fn disturb(&self) {
        *self.calm_since.lock() = Instant::now();
    }

    /// Since when nothing has been wrong; `None` while something is.
    pub(super) fn calm_since(&self) -> Option<Instant> {
        (*self.state.lock() == LinkState::Good).then(|| *self.calm_since.lock())
    }

    fn draw_trip(&self) -> Trip {
        let state = *self.state.lock();
        let mut draws = self.draws.lock();
        let (most, lost) = match state {
            LinkState::Good => (3, 0),
            LinkState::Slow => (700, 0),
            LinkState::Lossy => (40, 20),
            LinkState::Refused | LinkState::Silent => (1, 0),
        };
        let there = draws.millis(0, most);
        let back = draws.millis(0, most);
        let fate = match state {
            LinkState::Refused => Fate::Refused,
            LinkState::Silent => Fate::Silent,
            _ if draws.percent(lost) => Fate::RequestLost,
            _ if draws.percent(lost) => Fate::AnswerLost,
            _ => Fate::Answered,
        };
        // A request may wait in a queue long after its sender has given up.
        let is_late = fate == Fate::AnswerLost && draws.percent(50);
        let there = if is_late { draws.millis(600, 3000) } else { there };
        Trip { there, back, fate }
    }

    /// Carries a request to the database, and its answer back. The request goes on when its sender
    /// no longer waits.
    async fn carry<T: Send + 'static>(
        self: &Arc<Self>,
        run: impl Future<Output = DatabaseResult<T>> + Send + 'static,
    ) -> DatabaseResult<T> {
        let trip = self.draw_trip();
        if trip.fate == Fate::Refused {
            return Err(DatabaseError("refused".to_owned()));
        }
        let (sender, receiver) = oneshot::channel();
        let link = self.clone();
        tokio::spawn(async move {
            sleep(trip.there).await;
            if matches!(trip.fate, Fate::Silent | Fate::RequestLost) {
                return;
            }
            let answer = run.await;
            sleep(trip.back).await;
            let is_cut = *link.state.lock() == LinkState::Silent;
            if trip.fate == Fate::Answered && !is_cut {
                let _ = sender.send(answer);
            }
        });
        let answered = async {
            match receiver.await {
                Ok(answer) => answer,
                // A connection that broke is noticed; one that is silent is not.
                Err(_) if trip.fate == Fate::AnswerLost => {
                    Err(DatabaseError("the connection broke".to_owned()))
                }
                Err(_) => pending().await,
            }
        };
        let limited = timeout(STEP_LIMIT, answered).await;
        limited.unwrap_or_else(|_| Err(DatabaseError("no answer".to_owned())))
    }

    /// Lets a message through, or loses it.
    async fn pass(self: &Arc<Self>) -> DatabaseResult<()> {
        self.carry(async { Ok(()) }).await
    }

    fn has(&self, fault: PlantedFault) -> bool {
        self.fault == Some(fault)
    }
}

/// The database as one node sees it.
#[derive(Debug)]
pub(super) struct LinkedDatabase(pub(super) Arc<Link>);

impl LinkedDatabase {
    async fn ask<T: Send + 'static, F: Future<Output = DatabaseResult<T>> + Send + 'static>(
        &self,
        step: impl FnOnce(MemoryDatabase) -> F,
    ) -> DatabaseResult<T> {
        self.0.carry(step(self.0.database.clone())).await
    }
}

#[async_trait]
impl SharedDatabase for LinkedDatabase {
    async fn read(&self, key: &RecordKey) -> DatabaseResult<Reading> {
        let key = key.clone();
        self.ask(|database| async move { database.read(&key).await }).await
    }

    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> DatabaseResult<Swap> {
        let key = key.clone();
        let is_blind = self.0.has(PlantedFault::BlindWrite);
        let is_forgetful = self.0.has(PlantedFault::WriteForgotten)
            && key.kind == RecordKind::Session
            && expected.is_some();
        self.ask(|database| async move {
            if is_forgetful {
                return Ok(Swap::Written);
            }
            match database.swap(&key, expected, new.clone()).await? {
                Swap::Conflict(current) if is_blind => {
                    let version = current.record.map(|record| record.version);
                    database.swap(&key, version, new).await
                }
                swap => Ok(swap),
            }
        })
        .await
    }

    async fn walk(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> DatabaseResult<Vec<(Vec<u8>, Record)>> {
        let after = after.map(<[u8]>::to_vec);
        self.ask(|database| async move { database.walk(kind, after.as_deref(), limit).await }).await
    }

    async fn join(
        &self,
        group: Digest,
        member: &[u8],
        keep: Option<Duration>,
    ) -> DatabaseResult<()> {
        let member = member.to_vec();
        self.ask(|database| async move { database.join(group, &member, keep).await }).await
    }

    async fn leave(&self, group: Digest, member: &[u8]) -> DatabaseResult<()> {
        let member = member.to_vec();
        self.ask(|database| async move { database.leave(group, &member).await }).await
    }

    async fn members(&self, group: Digest) -> DatabaseResult<Vec<Vec<u8>>> {
        self.ask(|database| async move { database.members(group).await }).await
    }

    async fn publish(&self, entries: &[FeedEntry]) -> DatabaseResult<()> {
        let entries = entries.to_vec();
        self.ask(|database| async move { database.publish(&entries).await }).await
    }

    fn follow(&self) -> Box<dyn Follower> {
        Box::new(LinkedFollower {
            link: self.0.clone(),
            follower: self.0.database.follow(),
            on_the_way: Vec::new(),
            last: Vec::new(),
        })
    }

    async fn sweep(&self) -> DatabaseResult<bool> {
        self.ask(|database| async move { database.sweep().await }).await
    }

    async fn close(&self) {}
}

/// A follower behind a link.
struct LinkedFollower {
    link: Arc<Link>,
    follower: Box<dyn Follower>,
    /// Entries whose answer was lost: they come with the next one.
    on_the_way: Vec<Vec<u8>>,
    /// The entries of the last answer, which may come a second time.
    last: Vec<Vec<u8>>,
}

#[async_trait]
impl Follower for LinkedFollower {
    async fn load(&mut self, piece: &mut (dyn FnMut(Vec<Vec<u8>>) + Send)) -> DatabaseResult<()> {
        self.link.pass().await?;
        let mut loaded = Vec::new();
        self.follower.load(&mut |entries| loaded.extend(entries)).await?;
        self.on_the_way.clear();
        self.link.pass().await?;
        piece(loaded);
        Ok(())
    }

    async fn next(&mut self) -> DatabaseResult<News> {
        if self.link.has(PlantedFault::CutNotNoticed) && self.link.calm_since().is_none() {
            sleep(Duration::from_millis(250)).await;
            return Ok(News::Entries(Vec::new()));
        }
        self.link.pass().await?;
        let News::Entries(entries) = self.follower.next().await? else {
            return Ok(News::Missed);
        };
        self.on_the_way.extend(entries);
        self.link.pass().await?;
        let mut entries = std::mem::take(&mut self.on_the_way);
        let mut draws = self.link.draws.lock();
        if self.link.has(PlantedFault::EntrySkipped) {
            entries.retain(|_| draws.percent(50));
        }
        if draws.percent(20) {
            entries.extend(self.last.clone());
        }
        self.last.clone_from(&entries);
        Ok(News::Entries(entries))
    }
}
