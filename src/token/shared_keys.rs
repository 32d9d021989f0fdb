//! The document of signing keys in the shared store, as one gateway works with it.
//!
//! A change is planned on a copy and written on the condition that the document is still the one that
//! the copy was made of. If another gateway was quicker, its keys count, the planned ones are thrown
//! away, and the change is planned again on what is there now. The ring adopts only what was read from
//! the store or written to it; so no gateway signs with a key that the others cannot find. Times in
//! keys are judged by the store's clock, so that all gateways take turns at the same moment.
//!
//! The document also says which keys are revoked, for gateways that keep their keys in folders as
//! well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::KeyError;
use super::key_info::KeyEvent;
use super::key_storage::KeyDocument;
use super::ring::KeyRing;
use super::ring_state::RingState;
use crate::clock::{Clock, Timestamp};
use crate::runtime::BackgroundRuntime;
use crate::session::shared::{SIGNING_KEYS, SharedStore};

/// How often a change is planned anew because another gateway was quicker. What the others do makes
/// most changes unnecessary, so this many in a row mean that something is wrong.
const ATTEMPTS: usize = 16;

/// A change of the keys, which may be planned several times.
pub(super) type KeyChange =
    Arc<dyn Fn(&mut RingState, Timestamp) -> Result<(), KeyError> + Send + Sync>;

/// The document of signing keys.
#[derive(Debug)]
pub(super) struct SharedKeys {
    store: Arc<SharedStore>,
    background: BackgroundRuntime,
    clock: Clock,
    /// The store's time at the last look, and when that was by the monotonic clock.
    time: Mutex<Option<(Timestamp, Duration)>>,
    /// Keys that are revoked here and not yet in the document. Each is a command of an operator.
    unpublished: Mutex<BTreeSet<Arc<str>>>,
    changed: Notify,
}

impl SharedKeys {
    pub(super) fn new(
        store: Arc<SharedStore>,
        background: BackgroundRuntime,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            background,
            clock,
            time: Mutex::default(),
            unpublished: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Notes which documents changed in the store. Wakes whoever waits in `changed`.
    pub(super) fn note_changes(&self, documents: &[String]) {
        if documents.iter().any(|name| name == SIGNING_KEYS) {
            self.changed.notify_one();
        }
    }

    /// Returns when the document has changed since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The document, and the store's time.
    pub(super) async fn read(&self) -> Result<(Option<KeyDocument>, Timestamp), KeyError> {
        let (document, now) = self.store.document_and_time(SIGNING_KEYS).await?;
        *self.time.lock() = Some((now, self.clock.monotonic()));
        Ok((document, now))
    }

    /// The store's time, as far as it is known without a query.
    pub(super) fn now(&self) -> Timestamp {
        match *self.time.lock() {
            Some((time, at)) => time.plus(self.clock.monotonic().saturating_sub(at)),
            None => self.clock.now(),
        }
    }

    /// The ids of all revoked keys: those in the document, and those that are not yet in it. A store
    /// without a document was emptied, and forgot them; then those that are known here go on to count.
    pub(super) fn revoked(
        &self,
        document: Option<&KeyDocument>,
        ring: &KeyRing,
    ) -> BTreeSet<Arc<str>> {
        let mut revoked = document.map_or_else(|| ring.revoked(), KeyDocument::revoked_ids);
        revoked.extend(self.unpublished.lock().iter().cloned());
        revoked
    }

    /// Remembers keys that are revoked here until that can be written to the document.
    pub(super) fn add_unpublished(&self, ids: impl IntoIterator<Item = Arc<str>>) {
        self.unpublished.lock().extend(ids);
    }

    pub(super) fn has_unpublished(&self) -> bool {
        !self.unpublished.lock().is_empty()
    }

    /// Changes the keys of the document, and lets the ring adopt what is there afterwards. Whatever
    /// work is due is done together with the change. The caller sees to it that this gateway makes
    /// one change at a time.
    ///
    /// # Errors
    /// The change is not possible, or the store cannot be reached. What the store has then, the next
    /// look tells.
    pub(super) async fn change(
        &self,
        ring: &Arc<KeyRing>,
        change: KeyChange,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        let mut events = Vec::new();
        for _ in 0..ATTEMPTS {
            let (base, now) = self.read().await?;
            let planned = self.plan(ring, base.clone(), change.clone(), now).await?;
            let document = match &base {
                Some(base) if *base == planned => planned.clone(),
                base => self.replace(base.as_ref(), &planned).await?,
            };
            let is_ours = document == planned;
            events.extend(self.adopt(ring, document, now).await?);
            if is_ours {
                return Ok(events);
            }
        }
        Err(KeyError::Contended)
    }

    /// Plans a change on a thread that may block: making a key takes long.
    async fn plan(
        &self,
        ring: &Arc<KeyRing>,
        base: Option<KeyDocument>,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<KeyDocument, KeyError> {
        let revoked = self.revoked(base.as_ref(), ring);
        let ring = ring.clone();
        let planning = move || {
            ring.plan(base.unwrap_or_default(), revoked, now, |state, now| change(state, now))
        };
        self.background.block_on_thread(planning).await.ok_or(KeyError::Panicked)?
    }

    /// Writes `planned` if the document is still `base`. Returns what the document is afterwards.
    async fn replace(
        &self,
        base: Option<&KeyDocument>,
        planned: &KeyDocument,
    ) -> Result<KeyDocument, KeyError> {
        let replaced =
            self.store.change_document(SIGNING_KEYS, |current: Option<&KeyDocument>, _| {
                (current == base).then(|| planned.clone())
            });
        Ok(replaced.await?.unwrap_or_default())
    }

    /// Lets the ring go on with a document that is in the store.
    pub(super) async fn adopt(
        &self,
        ring: &Arc<KeyRing>,
        document: KeyDocument,
        now: Timestamp,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        self.unpublished.lock().retain(|kid| !document.revoked.contains_key(kid));
        let revoked = self.revoked(Some(&document), ring);
        let ring = ring.clone();
        let adopting = move || ring.adopt(document, revoked, now);
        self.background.block_on_thread(adopting).await.ok_or(KeyError::Panicked)
    }

    /// Writes the revoked keys that are not yet in the document, and takes `reinstated` out of it. For
    /// a gateway that keeps its keys in a folder: the keys of the document stay as they are, and the
    /// gateways that use them remove the revoked ones. Returns the ids that are revoked then.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(super) async fn publish_revoked(
        &self,
        reinstated: &[Arc<str>],
    ) -> Result<BTreeSet<Arc<str>>, KeyError> {
        let unpublished = self.unpublished.lock().clone();
        let changed =
            self.store.change_document(SIGNING_KEYS, |current: Option<&KeyDocument>, now| {
                let current = current.cloned().unwrap_or_default();
                let mut revoked = current.revoked_ids();
                revoked.extend(unpublished.iter().cloned());
                revoked.retain(|kid| !reinstated.contains(kid));
                let next = current.clone().with_revoked(&revoked, now);
                (next != current).then_some(next)
            });
        let document = changed.await?.unwrap_or_default();
        let mut waiting = self.unpublished.lock();
        waiting.retain(|kid| !unpublished.contains(kid));
        let mut revoked = document.revoked_ids();
        revoked.extend(waiting.iter().cloned());
        Ok(revoked)
    }
}
