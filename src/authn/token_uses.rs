//! A queue of opaque tokens whose end a use has moved, for the session store.
//!
//! A worker that accepts such a token adds it; a task of the background runtime takes all that are
//! there and has the store write them. The client's request does not wait. The queue is bounded: a
//! use that finds no room is left out, and the next use of the token moves its end.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::verified::VerifiedCredential;
use crate::clock::Timestamp;
use crate::secret::Digest;

/// Upper bound of tokens in the queue.
const MOST: usize = 10_000;

/// The queue. It is handed on by a reload.
#[derive(Debug)]
pub(super) struct TokenUses {
    due: Mutex<HashMap<Digest, TokenExtension>>,
    arrived: Notify,
    most: usize,
}

/// A token that was used, and the end that it has by that.
#[derive(Clone, Debug)]
pub struct TokenExtension {
    pub(super) verified: Arc<VerifiedCredential>,
    pub(super) until: Timestamp,
}

impl Default for TokenUses {
    fn default() -> Self {
        Self { due: Mutex::default(), arrived: Notify::new(), most: MOST }
    }
}

impl TokenUses {
    /// A queue that takes nothing, so that no use counts.
    pub(super) fn closed() -> Self {
        Self { most: 0, ..Self::default() }
    }

    /// Notes a use of a token, if it moves the token's end.
    pub(super) fn add_due(&self, verified: &Arc<VerifiedCredential>, now: Timestamp) {
        let Some(until) = verified.end_by_use(now) else { return };
        let mut due = self.due.lock();
        if due.len() < self.most || due.contains_key(&verified.digest) {
            due.insert(verified.digest, TokenExtension { verified: verified.clone(), until });
            self.arrived.notify_one();
        }
    }

    /// Waits until there are tokens and takes all of them.
    pub(super) async fn next(&self) -> Vec<TokenExtension> {
        loop {
            let due = {
                let mut due = self.due.lock();
                std::mem::take(&mut *due)
            };
            if !due.is_empty() {
                return due.into_values().collect();
            }
            // `notify_one` stores a permit if nobody waits, so a token that is added before this
            // wait is not missed.
            self.arrived.notified().await;
        }
    }
}
