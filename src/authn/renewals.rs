//! A queue of tokens whose good verdicts are about to end.
//!
//! A worker that uses such a verdict adds the token; a task of the background runtime takes it and
//! asks the issuer again. The client's request does not wait. The queue is bounded and refuses
//! more.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::credential::TokenCredential;
use super::opaque::{LookupClient, OpaqueIssuer};
use crate::clock::Timestamp;
use crate::secret::Digest;

/// Upper bound of queued renewals. The task takes them at once, so a longer queue means overload. A
/// renewal that is refused is only late: the token is asked about when its verdict has ended.
const MOST: usize = 1000;

/// The queue of all issuers.
#[derive(Debug)]
pub(super) struct DueRenewals {
    due: Mutex<Vec<(Arc<OpaqueIssuer>, TokenCredential)>>,
    arrived: Notify,
    most: usize,
}

impl Default for DueRenewals {
    fn default() -> Self {
        Self { due: Mutex::default(), arrived: Notify::new(), most: MOST }
    }
}

/// A queued renewal, ready to run.
#[derive(Debug)]
pub struct TokenRenewal {
    issuer: Arc<OpaqueIssuer>,
    credential: TokenCredential,
    asker: LookupClient,
}

impl DueRenewals {
    /// A queue that takes nothing, so that nobody is asked.
    pub(super) fn closed() -> Self {
        Self { most: 0, ..Self::default() }
    }

    /// Queues the renewals of a token's good verdicts that are about to end.
    pub(super) fn add_due(
        &self,
        issuers: &[Arc<OpaqueIssuer>],
        credential: &TokenCredential,
        digest: &Digest,
        now: Timestamp,
    ) {
        for issuer in issuers {
            if issuer.is_renewal_due(digest, now) && !self.add(issuer.clone(), credential.clone()) {
                issuer.was_not_renewed(digest);
            }
        }
    }

    /// Queues a renewal. Returns false if the queue is full.
    fn add(&self, issuer: Arc<OpaqueIssuer>, credential: TokenCredential) -> bool {
        let mut due = self.due.lock();
        let has_room = due.len() < self.most;
        if has_room {
            due.push((issuer, credential));
            self.arrived.notify_one();
        }
        has_room
    }

    /// Waits until there are renewals and takes all of them. The renewals count for no client
    /// (`origin: None` in the asker), because clients with good tokens must not lose their share of
    /// calls to them.
    pub(super) async fn next(&self, asker: LookupClient) -> Vec<TokenRenewal> {
        loop {
            let due = {
                let mut due = self.due.lock();
                std::mem::take(&mut *due)
            };
            if !due.is_empty() {
                let renewal = |(issuer, credential)| TokenRenewal { issuer, credential, asker };
                return due.into_iter().map(renewal).collect();
            }
            // `notify_one` stores a permit if nobody waits. If a token is added after the take
            // above and before this wait, then the wait returns at once, so no renewal is missed.
            self.arrived.notified().await;
        }
    }
}

impl TokenRenewal {
    /// Asks the issuer and remembers the verdict. Runs on the background runtime.
    pub async fn run(self, now: Timestamp) {
        self.issuer.renew(&self.credential, self.asker, now).await;
    }
}
