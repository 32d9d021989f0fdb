//! Follows the feed: one task of each node, which learns what other nodes ended, and whether the
//! database is there.
//!
//! It looks at the feed several times a second. A look that succeeds says that this node knows what
//! was revoked until the look began, and that it may be relied on for `stale_limit` more. The task
//! does nothing else, so that nothing delays a look.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::SharedStore;
use super::birth::BirthMark;
use super::database::{Follower, News};
use super::feed::{Message, RemoteEnds};
use crate::StoreError;
use tollhouse_core::secret::Digest;

/// How long one look may take; it waits for news a part of that.
const LOOK: Duration = Duration::from_millis(1000);
/// How long the first look may take: there may be millions of entries.
const LOAD: Duration = Duration::from_secs(120);
/// How many looks fail before it is seen whether everything is missing.
const PREPARED_EVERY: u32 = 5;
/// How long making what is missing may take.
const PREPARE: Duration = Duration::from_secs(2);
/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the feed is loaded because another store took the place of the one that was being read.
const LOADS: usize = 3;
const REPLACED: &str = "other stores take its place again and again";

/// One node's follower.
pub(super) struct FollowTask {
    store: Arc<SharedStore>,
    follower: Box<dyn Follower>,
    is_loaded: bool,
}

impl FollowTask {
    pub(super) fn new(store: Arc<SharedStore>) -> Self {
        let follower = store.records.database.follow();
        Self { store, follower, is_loaded: false }
    }

    /// The first look. Until it has succeeded, nothing may be accepted.
    pub(super) async fn load(&mut self) -> Result<(), StoreError> {
        let store = self.store.clone();
        let began = store.clock.monotonic();
        for _ in 0..LOADS {
            // A mark that was in the feed before the load must be in what is loaded.
            let mark = store.birth.lock().clone();
            let marks = self.load_feed().await?;
            // The mark is looked at after the feed: the feed of a store that was emptied is empty,
            // which would otherwise count as no news.
            if store.is_replaced().await? {
                // Nobody knows of which store the feed was.
                continue;
            }
            store.check_feed(&mark, &marks).await?;
            self.is_loaded = true;
            store.reached(began);
            return Ok(());
        }
        Err(StoreError::Unavailable(REPLACED.into()))
    }

    /// Takes the whole feed over into memory. Returns the marks in it.
    pub(super) async fn load_feed(&mut self) -> Result<Vec<Digest>, StoreError> {
        let store = self.store.clone();
        let mut ends = RemoteEnds::default();
        let mut marks = Vec::new();
        let mut take = |entries: Vec<Vec<u8>>| store.take(&entries, &mut ends, &mut marks);
        let loading = timeout(LOAD, self.follower.load(&mut take));
        match loading.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(store.records.failed(&error.0)),
            Err(_) => return Err(store.records.failed("the revocations did not come in time")),
        }
        store.tell(ends);
        Ok(marks)
    }

    /// Follows until the store is closed.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let mut failures: u32 = 0;
        while let Some(look) = closing.run_until_cancelled(self.look()).await {
            let Err(StoreError::Unavailable(cause)) = look else {
                failures = 0;
                continue;
            };
            // Whatever the cause is, nobody may be served as if the database were there.
            self.store.records.failed(&cause);
            self.store.not_reached();
            failures = failures.saturating_add(1);
            if failures.is_multiple_of(PREPARED_EVERY) {
                // The server may be back without anything that was in it.
                let preparing = timeout(PREPARE, self.store.records.database.prepare());
                closing.run_until_cancelled(preparing).await;
            }
            closing.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        if !self.is_loaded {
            self.load().await?;
        }
        let store = self.store.clone();
        let began = store.clock.monotonic();
        let news = match timeout(LOOK, self.follower.next()).await {
            Ok(Ok(news)) => news,
            Ok(Err(error)) => return Err(StoreError::Unavailable(error.0.into())),
            Err(_) => {
                // Whatever the follower waits for may never come.
                self.follower = store.records.database.follow();
                self.is_loaded = false;
                return Err(StoreError::Unavailable("it did not answer in time".into()));
            }
        };
        let News::Entries(entries) = news else {
            self.is_loaded = false;
            return Ok(());
        };
        let mut ends = RemoteEnds::default();
        store.take(&entries, &mut ends, &mut Vec::new());
        store.tell(ends);
        if store.is_replaced().await? {
            // The place in the feed was one in the feed of the earlier store. If the new one has come
            // as far, what was published in it meanwhile would be missed.
            self.is_loaded = false;
            return Ok(());
        }
        store.reached(began);
        Ok(())
    }
}

impl SharedStore {
    /// Takes entries of the feed over into memory; `marks` gets the marks among them.
    fn take(&self, entries: &[Vec<u8>], ends: &mut RemoteEnds, marks: &mut Vec<Digest>) {
        let mut unreadable: usize = 0;
        for entry in entries {
            match Message::read(&self.records.seal, entry) {
                Some(Message::Mark(mark)) => marks.push(mark),
                Some(message) => message.apply(&self.revocations, ends),
                None => unreadable = unreadable.saturating_add(1),
            }
        }
        if unreadable > 0 {
            tracing::warn!(
                entries = unreadable,
                "entries in the feed of the shared store cannot be read: another version or another \
                 seal wrote them"
            );
        }
    }

    /// Tells the gateway what ended elsewhere.
    pub(super) fn tell(&self, ends: RemoteEnds) {
        if ends != RemoteEnds::default()
            && let Some(listener) = self.listener.get()
        {
            listener(ends);
        }
    }

    /// True if the store was replaced by another one since the last look at its mark.
    async fn is_replaced(&self) -> Result<bool, StoreError> {
        let reading = BirthMark::read_or_make(&self.records, self.leeway(), self.clock.now());
        let (mark, is_new) = reading.await?;
        let is_another = {
            let mut birth = self.birth.lock();
            let is_another = !birth.is_same(&mark);
            *birth = mark.clone();
            is_another
        };
        if is_another {
            self.revocations.set_shared_store_made(mark.made);
            tracing::warn!(
                made_now = is_new,
                "the shared store is another one than before: everybody has to log in again"
            );
        }
        Ok(is_another)
    }

    /// Notices that the feed has lost its entries although the records are there, as when one part
    /// of a cluster comes back empty. `before` is the mark as it was before the feed was loaded, and
    /// `marks` are those in the whole feed.
    async fn check_feed(&self, before: &BirthMark, marks: &[Digest]) -> Result<(), StoreError> {
        let mark = self.birth.lock().clone();
        let now = self.clock.now();
        if marks.contains(&mark.digest()) {
            return Ok(());
        }
        if before.is_same(&mark) && before.is_in_feed() {
            tracing::warn!(
                "the feed of the shared store has lost its entries: everybody has to log in again"
            );
            mark.replace(&self.records, self.leeway(), now).await?;
            self.is_replaced().await?;
            return Ok(());
        }
        // A store that was just made, or moved here.
        self.publish(&[Message::Mark(mark.digest())], now).await?;
        mark.note_in_feed(&self.records, now).await
    }
}
