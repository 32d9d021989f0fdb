//! Tokens whose good verdicts are about to end: a worker notes them, the back room asks.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::asked::{Asked, Asker};
use super::credential::Credential;
use crate::clock::Timestamp;

/// Notes that wait to be taken. They are taken at once; what is lost is asked about when it ends.
const MOST: usize = 1000;

/// Questions that are due, of all issuers.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    due: Mutex<Vec<(Arc<Asked>, Credential)>>,
    arrived: Notify,
}

/// A question that is due.
#[derive(Debug)]
pub struct Renewal {
    asked: Arc<Asked>,
    credential: Credential,
    asker: Asker,
}

impl Renewals {
    /// False where there is no room.
    pub(super) fn add(&self, asked: Arc<Asked>, credential: Credential) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = due.len() < MOST;
        if has_room {
            due.push((asked, credential));
            self.arrived.notify_one();
        }
        has_room
    }

    /// Waits for some.
    pub(super) async fn next(&self, asker: Asker) -> Vec<Renewal> {
        loop {
            let due = {
                let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *due)
            };
            if !due.is_empty() {
                let renewal = |(asked, credential)| Renewal { asked, credential, asker };
                return due.into_iter().map(renewal).collect();
            }
            self.arrived.notified().await;
        }
    }
}

impl Renewal {
    /// Asks; what comes of it is remembered. Waits: for the back room.
    pub async fn ask(self, now: Timestamp) {
        self.asked.renew(&self.credential, self.asker, now).await;
    }
}
