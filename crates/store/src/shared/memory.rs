//! A shared database in memory: the reference that the real ones are compared with.
//!
//! Tests and simulations use it. Several stores in one process may share it, as several gateways
//! share a server, and a test can take it away, make it slow, lose its answers, or empty it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::database::{
    DatabaseError, DatabaseResult, FeedEntry, Follower, NewRecord, News, Reading, Record,
    RecordKey, RecordKind, RecordVersion, SharedDatabase, Swap,
};
use tollhouse_core::clock::Clock;
use tollhouse_core::secret::Digest;

/// How long a follower waits when there is no news.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A database in memory. A clone is the same database.
#[derive(Clone, Debug)]
pub struct MemoryDatabase {
    clock: Clock,
    content: Arc<Mutex<Content>>,
    published: Arc<Notify>,
    is_away: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Content {
    records: BTreeMap<(&'static str, Vec<u8>), Record>,
    groups: BTreeMap<Digest, BTreeSet<Vec<u8>>>,
    /// The feed by number, and the number of each entry's latest version.
    feed: BTreeMap<u64, FeedEntry>,
    numbers: BTreeMap<Digest, u64>,
    last: u64,
}

impl MemoryDatabase {
    /// An empty database whose own time is that of `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, content: Arc::default(), published: Arc::default(), is_away: Arc::default() }
    }

    /// Makes every step fail from now on, or no longer.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// Loses everything, as a server that comes back with an empty disk.
    pub fn empty(&self) {
        *self.content.lock() = Content::default();
    }

    fn step<T>(&self, run: impl FnOnce(&mut Content) -> T) -> DatabaseResult<T> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(DatabaseError("it was taken away".to_owned()));
        }
        Ok(run(&mut self.content.lock()))
    }
}

#[async_trait]
impl SharedDatabase for MemoryDatabase {
    async fn read(&self, key: &RecordKey) -> DatabaseResult<Reading> {
        let now = self.clock.now();
        self.step(|content| Reading {
            record: content.records.get(&(key.kind.name(), key.id.clone())).cloned(),
            now,
        })
    }

    async fn swap(
        &self,
        key: &RecordKey,
        expected: Option<RecordVersion>,
        new: NewRecord,
    ) -> DatabaseResult<Swap> {
        let now = self.clock.now();
        self.step(|content| {
            let place = (key.kind.name(), key.id.clone());
            let record = content.records.get(&place);
            let current = record.map(|record| record.version);
            if current == Some(new.version) {
                return Swap::Written;
            }
            if current != expected {
                return Swap::Conflict(Reading { record: record.cloned(), now });
            }
            content.records.insert(place, Record { version: new.version, value: new.value });
            Swap::Written
        })
    }

    async fn walk(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> DatabaseResult<Vec<(Vec<u8>, Record)>> {
        self.step(|content| {
            let of_kind = content.records.iter().filter(|((name, _), _)| *name == kind.name());
            of_kind
                .filter(|((_, id), _)| after.is_none_or(|after| id.as_slice() > after))
                .take(limit)
                .map(|((_, id), record)| (id.clone(), record.clone()))
                .collect()
        })
    }

    async fn join(
        &self,
        group: Digest,
        member: &[u8],
        _keep: Option<Duration>,
    ) -> DatabaseResult<()> {
        self.step(|content| {
            content.groups.entry(group).or_default().insert(member.to_vec());
        })
    }

    async fn leave(&self, group: Digest, member: &[u8]) -> DatabaseResult<()> {
        self.step(|content| {
            if let Some(members) = content.groups.get_mut(&group) {
                members.remove(member);
            }
        })
    }

    async fn members(&self, group: Digest) -> DatabaseResult<Vec<Vec<u8>>> {
        self.step(|content| content.groups.get(&group).into_iter().flatten().cloned().collect())
    }

    async fn publish(&self, entries: &[FeedEntry]) -> DatabaseResult<()> {
        self.step(|content| {
            for entry in entries {
                content.last += 1;
                if let Some(earlier) = content.numbers.insert(entry.id, content.last) {
                    content.feed.remove(&earlier);
                }
                content.feed.insert(content.last, entry.clone());
            }
        })?;
        self.published.notify_waiters();
        Ok(())
    }

    fn follow(&self) -> Box<dyn Follower> {
        Box::new(MemoryFollower { database: self.clone(), last: 0 })
    }

    async fn sweep(&self) -> DatabaseResult<bool> {
        Ok(false)
    }

    async fn close(&self) {}
}

#[derive(Debug)]
struct MemoryFollower {
    database: MemoryDatabase,
    last: u64,
}

impl MemoryFollower {
    fn look(&mut self) -> DatabaseResult<News> {
        let (last, news) = self.database.step(|content| {
            if content.last < self.last {
                return (0, News::Missed);
            }
            let news = content.feed.range(self.last + 1..);
            (content.last, News::Entries(news.map(|(_, entry)| entry.value.clone()).collect()))
        })?;
        self.last = last;
        Ok(news)
    }
}

#[async_trait]
impl Follower for MemoryFollower {
    async fn load(&mut self, piece: &mut (dyn FnMut(Vec<Vec<u8>>) + Send)) -> DatabaseResult<()> {
        self.last = 0;
        if let News::Entries(entries) = self.look()? {
            piece(entries);
        }
        Ok(())
    }

    async fn next(&mut self) -> DatabaseResult<News> {
        let published = self.database.published.clone();
        // Registered before the look, so that what is published between the two is not missed.
        let woken = published.notified();
        let news = self.look()?;
        if news != News::Entries(Vec::new()) {
            return Ok(news);
        }
        let _ = tokio::time::timeout(LOOK_EVERY, woken).await;
        self.look()
    }
}
