//! The maintenance of a shared store, without a request: revocations that could not be written are
//! written, ends that the nodes may not know are published, and expired records are removed.
//!
//! This is a task beside the one that follows the feed, because it may take long.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::SharedStore;
use super::feed::Message;
use super::session_record::{SessionRecord, session_key};
use crate::{RevocationTarget, StoreError};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::SessionId;

/// How often the task looks for something to do.
const EVERY: Duration = Duration::from_millis(250);
/// How often what has ended is removed, here and in the database.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Number of sweeps in a row, when there is much to remove.
const SWEEPS: usize = 20;
/// Bound on the revocations that wait for the database, and on doubtful sessions.
const MOST_DEFERRED: usize = 10_000;

/// Works until the store is closed. The task holds `ended` to its end.
pub(super) async fn run(
    store: Arc<SharedStore>,
    closing: CancellationToken,
    ended: Arc<DropGuard>,
) {
    let _ended = ended;
    let mut swept = store.clock.monotonic();
    while closing.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let work = async {
            if store.records.healthy().is_err() {
                return;
            }
            store.write_deferred().await;
            store.publish_doubtful().await;
            let at = store.clock.monotonic();
            if at.saturating_sub(swept) >= SWEEP_EVERY {
                swept = at;
                store.sweep_ended().await;
            }
        };
        closing.run_until_cancelled(work).await;
    }
}

impl SharedStore {
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
                for owner in of {
                    let _ = self.revocations.cutoffs.keep(owner, now);
                }
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

    /// Looks again, soon, whether this session has ended without all nodes being notified.
    pub(super) fn look_again_at(&self, id: SessionId) {
        let mut doubtful = self.doubtful.lock();
        if doubtful.len() < MOST_DEFERRED && !doubtful.contains(&id) {
            doubtful.push(id);
        }
    }

    /// Writes the revocations that could not be written while the database was away.
    async fn write_deferred(&self) {
        let listed = self.deferred.lock().clone();
        for (what, requested) in listed {
            let written = match &what {
                // A cut-off refuses the tokens issued before it was requested. Tokens issued since
                // are not refused, so it must not be moved to the time of the writing.
                RevocationTarget::Tokens { of } => {
                    let cutoffs = of.iter().map(|owner| Message::cutoff(owner, requested));
                    self.publish(&cutoffs.collect::<Vec<_>>(), requested).await
                }
                _ => self.carry_out_revocation(&what, self.clock.now()).await.map(|_| ()),
            };
            match written {
                Ok(()) => self.deferred.lock().retain(|(other, _)| *other != what),
                Err(_) if self.records.healthy().is_err() => return,
                // One that cannot be carried out must not keep the others waiting.
                Err(StoreError::Unavailable(cause)) => {
                    tracing::warn!(%cause, "a revocation cannot be written to the shared store");
                }
            }
        }
    }

    /// Tells all nodes of those doubtful sessions that have ended.
    async fn publish_doubtful(&self) {
        let listed = self.doubtful.lock().clone();
        for id in listed {
            let now = self.clock.now();
            let published = match self.records.read(session_key(id), now).await {
                Ok((Some(SessionRecord::Ended(until)), _)) => {
                    self.publish(&[Message::Session(id, until)], now).await
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if published.is_err() && self.records.healthy().is_err() {
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
            let sweep = self.records.slow_step(self.records.database.sweep());
            if !matches!(sweep.await, Ok(true)) {
                return;
            }
        }
    }
}
