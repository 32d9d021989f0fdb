//! Follows the feed: one task of each node, which learns what other nodes ended, and whether the
//! database is there.
//!
//! It looks at the feed several times a second. A look that succeeds says that this node knows what
//! was revoked until the look began. If looks fail for longer than the operator's `stale_limit`,
//! the revocations are stale, and no credential is accepted until a look succeeds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::SharedStore;
use super::birth::BirthMark;
use super::database::{Follower, News};
use super::feed::{Message, RemoteEnds};
use super::session_record::{SessionRecord, session_key};
use crate::{RevocationTarget, StoreError};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::SessionId;

/// How long one look may take; it waits for news a part of that.
const LOOK: Duration = Duration::from_millis(1000);
/// How long the first look may take: there may be millions of entries.
const LOAD: Duration = Duration::from_secs(120);
/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How often what has ended is removed, here and in the database.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Number of sweeps in a row, when there is much to remove.
const SWEEPS: usize = 20;

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
        let mut ends = RemoteEnds::default();
        let mut take = |entries: Vec<Vec<u8>>| store.take(&entries, &mut ends);
        let loading = timeout(LOAD, self.follower.load(&mut take));
        match loading.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(store.records.failed(&error.0)),
            Err(_) => return Err(store.records.failed("the revocations did not come in time")),
        }
        self.is_loaded = true;
        store.tell(ends);
        store.reached(began);
        Ok(())
    }

    /// Follows until the store is closed.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let mut swept = self.store.clock.monotonic();
        while !closing.is_cancelled() {
            let look = closing.run_until_cancelled(self.look()).await;
            match look {
                None => break,
                Some(Ok(())) => {}
                Some(Err(_)) => {
                    self.store.judge_staleness();
                    closing.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
            }
            let at = self.store.clock.monotonic();
            if at.saturating_sub(swept) >= SWEEP_EVERY {
                swept = at;
                closing.run_until_cancelled(self.store.sweep_ended()).await;
            }
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
            Ok(Err(error)) => return Err(store.records.failed(&error.0)),
            Err(_) => {
                // Whatever the follower waits for may never come.
                self.follower = store.records.database.follow();
                self.is_loaded = false;
                return Err(store.records.failed("it did not answer in time"));
            }
        };
        match news {
            News::Missed => {
                self.is_loaded = false;
                return Ok(());
            }
            News::Entries(entries) => {
                let mut ends = RemoteEnds::default();
                store.take(&entries, &mut ends);
                store.tell(ends);
            }
        }
        // The mark is looked at after the feed: an emptied store has an empty feed, which would
        // otherwise count as no news.
        store.check_birth().await?;
        store.reached(began);
        store.write_deferred().await;
        store.publish_doubtful().await;
        Ok(())
    }
}

impl SharedStore {
    /// Takes entries of the feed over into memory.
    fn take(&self, entries: &[Vec<u8>], ends: &mut RemoteEnds) {
        for entry in entries {
            match Message::read(&self.records.seal, entry) {
                Some(message) => message.apply(&self.revocations, ends),
                None => tracing::warn!(
                    "an entry in the feed of the shared store cannot be read: another version or \
                     another seal wrote it"
                ),
            }
        }
    }

    /// Tells the gateway what ended elsewhere.
    fn tell(&self, ends: RemoteEnds) {
        if ends != RemoteEnds::default()
            && let Some(listener) = self.listener.get()
        {
            listener(ends);
        }
    }

    /// Notices that the store was replaced by another one.
    pub(super) async fn check_birth(&self) -> Result<(), StoreError> {
        let reading = BirthMark::read_or_make(&self.records, self.leeway(), self.clock.now());
        let (mark, is_new) = reading.await?;
        let mut birth = self.birth.lock();
        if *birth != mark {
            *birth = mark.clone();
            drop(birth);
            tracing::warn!(
                made_now = is_new,
                "the shared store is another one than before: everybody has to log in again"
            );
            self.revocations.set_shared_store_made(mark.made);
        }
        Ok(())
    }

    /// Writes the revocations that could not be written while the database was away.
    async fn write_deferred(&self) {
        loop {
            let Some((what, now)) = self.deferred.lock().first().cloned() else { return };
            if self.carry_out_revocation(&what, now).await.is_err() {
                return;
            }
            let mut deferred = self.deferred.lock();
            if deferred.first().is_some_and(|(first, _)| *first == what) {
                deferred.remove(0);
            }
        }
    }

    /// Looks again, at the next look at the feed, whether this session has ended.
    pub(super) fn look_again_at(&self, id: SessionId) {
        let mut doubtful = self.doubtful.lock();
        if doubtful.len() < MOST_DEFERRED && !doubtful.contains(&id) {
            doubtful.push(id);
        }
    }

    /// Tells all nodes of those doubtful sessions that have ended.
    async fn publish_doubtful(&self) {
        loop {
            let Some(id) = self.doubtful.lock().first().copied() else { return };
            let now = self.clock.now();
            let Ok((record, _)) = self.records.read(session_key(id), now).await else { return };
            if let Some(SessionRecord::Ended(until)) = record
                && self.publish(&[Message::Session(id, until)], now).await.is_err()
            {
                return;
            }
            self.doubtful.lock().retain(|doubtful| *doubtful != id);
        }
    }

    /// Removes what has ended. By two clocks: a clock that is far ahead alone must not make the
    /// node forget revocations.
    async fn sweep_ended(&self) {
        let Ok(database) = self.records.now(self.clock.now()).await else { return };
        self.revocations.sweep(self.clock.now().min(database));
        for _ in 0..SWEEPS {
            let sweep = self.records.step(self.records.database.sweep());
            if !matches!(sweep.await, Ok(true)) {
                return;
            }
        }
    }

    /// Makes a revocation effective here although it could not be written, and remembers it.
    pub(super) fn defer(&self, what: RevocationTarget, now: Timestamp) {
        match &what {
            // Which other sessions the user has, only the database knows.
            RevocationTarget::Session(id) | RevocationTarget::Siblings(id) => {
                self.revocations.revoke_session(*id, self.revoked_until_at_most(now));
            }
            RevocationTarget::Token { digest, until } => {
                self.revocations.revoke_token(*digest, *until);
            }
            RevocationTarget::Tokens { of } => {
                of.iter().for_each(|owner| self.revocations.cutoffs.keep(owner, now));
            }
            RevocationTarget::Subject { .. } | RevocationTarget::All => {}
        }
        let mut deferred = self.deferred.lock();
        // The same revocation is listed once, and the list is bounded: clients that repeat their
        // logout must not fill the memory. What does not fit holds here, and was answered with an
        // error.
        if deferred.len() < MOST_DEFERRED && !deferred.iter().any(|(listed, _)| *listed == what) {
            deferred.push((what, now));
        }
    }
}

/// Bound on the revocations that wait for the database.
const MOST_DEFERRED: usize = 10_000;
