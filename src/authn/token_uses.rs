//! A queue of opaque tokens whose end a use has moved, for the session store.
//!
//! A worker that accepts such a token adds it; a task of the background runtime takes all that are
//! there and has the store write them. The client's request does not wait. The queue is bounded: a
//! use that finds no room is left out, and the next use of the token moves its end.

use std::collections::{HashMap, HashSet};
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
    state: Mutex<UsesState>,
    arrived: Notify,
    most: usize,
}

#[derive(Debug, Default)]
struct UsesState {
    due: HashMap<Digest, TokenExtension>,
    /// Tokens that are being written. Memory has their old end until then, so further uses of them
    /// would be written, too: a slow store would get a write for each request.
    writing: HashSet<Digest>,
}

/// A token that was used, and the end that it has by that.
#[derive(Clone, Debug)]
pub struct TokenExtension {
    pub(super) verified: Arc<VerifiedCredential>,
    pub(super) until: Timestamp,
}

impl Default for TokenUses {
    fn default() -> Self {
        Self { state: Mutex::default(), arrived: Notify::new(), most: MOST }
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
        let digest = verified.digest;
        let mut state = self.state.lock();
        let has_room = state.due.len() + state.writing.len() < self.most;
        if state.writing.contains(&digest) || !has_room && !state.due.contains_key(&digest) {
            return;
        }
        state.due.insert(digest, TokenExtension { verified: verified.clone(), until });
        self.arrived.notify_one();
    }

    /// Notes that a token was written, or could not be: its next use counts again.
    pub(super) fn written(&self, token: &Digest) {
        self.state.lock().writing.remove(token);
    }

    /// Waits until there are tokens and takes all of them. `written` has to follow for each.
    pub(super) async fn next(&self) -> Vec<TokenExtension> {
        loop {
            let due = {
                let mut state = self.state.lock();
                let due = std::mem::take(&mut state.due);
                state.writing.extend(due.keys());
                due
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
