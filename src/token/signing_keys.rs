//! The signing keys of a gateway: its ring, and whoever else has the same keys.
//!
//! Without a shared store the ring is all there is. With one, the keys are in the store's document, or
//! in a folder of each gateway; in both cases a revoked key is revoked for all gateways. Commands of
//! operators, the maintenance and reloads come here; signing and verifying use the ring alone and go
//! on while the store cannot be reached.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::KeyError;
use super::key_info::{KeyEvent, KeyPlace, KeyRingOptions};
use super::key_look::KeyLooks;
use super::ring::KeyRing;
use super::shared_keys::{KeyChange, SharedKeys};
use crate::algorithm::Algorithm;
use crate::clock::Clock;
use crate::format::error_chain;
use crate::runtime::BackgroundRuntime;
use crate::secret::SecretString;
use crate::session::shared::SharedStore;

/// How often folders are looked at. Keys overlap by a day, so a minute does not matter.
const LOOK: Duration = Duration::from_secs(60);
/// How often the shared document is read. Changes are announced; this is for announcements that do
/// not come.
const SHARED_LOOK: Duration = Duration::from_secs(3);

/// The signing keys of a gateway.
#[derive(Debug)]
pub struct SigningKeys {
    ring: Arc<KeyRing>,
    background: BackgroundRuntime,
    clock: Clock,
    shared: Option<SharedKeys>,
    looks: Arc<KeyLooks>,
    /// One operation at a time. A look that began before a change must not undo it, and the commands
    /// of one gateway do not compete in the store.
    turn: Semaphore,
    /// True if the keys are in the shared document.
    is_document: bool,
    /// Why the last look at the document failed. The same failure is reported once.
    failure: Mutex<Option<String>>,
}

impl SigningKeys {
    /// Opens the keys. If they are in the shared document and there are none yet, those in the folder
    /// `managed` are taken over; else they are made.
    ///
    /// # Errors
    /// A folder or file is refused, an algorithm has no key, or the store cannot be reached.
    pub async fn open(
        options: KeyRingOptions,
        managed: &Path,
        shared: Option<Arc<SharedStore>>,
        background: BackgroundRuntime,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        let is_document = options.place == KeyPlace::SharedDocument;
        let shared = shared.map(|store| SharedKeys::new(store, background.clone(), clock.clone()));
        let looks = Arc::new(KeyLooks::new(clock.clone()));
        let ring = match &shared {
            Some(_) if is_document => KeyRing::without_keys(options, looks.clone()),
            Some(shared) => {
                let (document, _) = shared.read().await?;
                KeyRing::open_folder(options, document.unwrap_or_default().revoked_ids())?
            }
            None => KeyRing::open(options)?,
        };
        let failure = Mutex::default();
        let turn = Semaphore::new(1);
        let keys = Self { ring, background, clock, shared, looks, turn, is_document, failure };
        if is_document {
            keys.take_over(managed).await?;
        }
        Ok(keys)
    }

    /// The ring, for signing and verifying.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Notes which documents of the shared store changed. It does not wait.
    pub fn note_changes(&self, documents: &[String]) {
        if let Some(shared) = &self.shared {
            shared.note_changes(documents);
        }
    }

    /// Returns when `maintain` should be called again.
    pub async fn due(&self) {
        match &self.shared {
            Some(shared) => tokio::select! {
                () = shared.changed() => {}
                () = self.looks.requested() => {}
                () = self.clock.sleep(SHARED_LOOK) => {}
            },
            None => self.clock.sleep(LOOK).await,
        }
    }

    /// Does the work that is due: adopts what other gateways changed, creates successors, lets them
    /// take over, removes retired keys. Failures are reported as events; the last good keys stay in
    /// use.
    pub async fn maintain(&self) -> Vec<KeyEvent> {
        let _turn = self.turn().await;
        let Some(shared) = &self.shared else { return self.maintain_folder().await };
        let is_awaited = self.looks.begin();
        let done = match self.is_document {
            true => self.look(shared).await,
            false => self.obey(shared).await,
        };
        self.looks.end(is_awaited);
        let mut events = match done {
            Ok(events) => {
                *self.failure.lock() = None;
                events
            }
            Err(error) => self.failed(&error).into_iter().collect(),
        };
        match self.is_document {
            // Keys take turns by their times, also while the store is away.
            true => events.extend(self.ring.maintain(shared.now())),
            false => events.extend(self.maintain_folder().await),
        }
        events
    }

    /// Creates successors for one algorithm or for all, which sign after a day.
    ///
    /// # Errors
    /// The keys are not managed here, no token is signed with the algorithm, or they cannot be written.
    pub async fn rotate(&self, algorithm: Option<Algorithm>) -> Result<Vec<KeyEvent>, KeyError> {
        let _turn = self.turn().await;
        if let Some(shared) = self.document() {
            let rotate: KeyChange = Arc::new(move |state, now| {
                state.supply(now)?;
                state.rotate(algorithm, now)
            });
            return shared.change(&self.ring, rotate).await;
        }
        let ring = self.ring.clone();
        let now = self.clock.now();
        self.on_thread(move || ring.rotate(algorithm, now)).await
    }

    /// Revokes a key on all gateways: its tokens are refused from now on. If it signed, a successor
    /// signs at once. What could not be done is in the events; the key is revoked here all the same.
    ///
    /// # Errors
    /// No key has this id.
    pub async fn revoke(&self, kid: &str) -> Result<Vec<KeyEvent>, KeyError> {
        let _turn = self.turn().await;
        let Some(shared) = &self.shared else {
            let ring = self.ring.clone();
            let kid = kid.to_owned();
            let now = self.clock.now();
            return self.on_thread(move || ring.revoke(&kid, now)).await;
        };
        if !self.ring.list().iter().any(|entry| entry.kid.as_ref() == kid) {
            return Err(KeyError::Unknown { kid: kid.to_owned() });
        }
        let kid: Arc<str> = kid.into();
        shared.add_unpublished([kid.clone()]);
        let published = match self.is_document {
            // The key leaves the document and its successor signs in one step, so that no gateway is
            // without a signer meanwhile.
            true => shared.change(&self.ring, no_change()).await,
            false => shared.publish_revoked(&[]).await.map(|_| Vec::new()),
        };
        let mut events = published.unwrap_or_else(|error| {
            let cause = format!(
                "the key is revoked here, and not on the other gateways yet: {}",
                error_chain(&error)
            );
            vec![KeyEvent::Failed { cause }]
        });
        let ring = self.ring.clone();
        let now = shared.now();
        let obeying = move || {
            let mut revoked = ring.revoked();
            revoked.insert(kid);
            ring.obey(revoked, now)
        };
        events.extend(self.background.block_on_thread(obeying).await.unwrap_or_default());
        let unsigned = self.ring.unsigned(now).into_iter();
        events.extend(unsigned.map(|algorithm| KeyEvent::Failed {
            cause: format!(
                "the key is revoked, and no other key signs {}: no tokens can be issued",
                algorithm.as_str()
            ),
        }));
        Ok(events)
    }

    /// Imports a private key in PEM or as a JWK. It signs after a day, or at once if no key of its
    /// algorithm signs yet.
    ///
    /// # Errors
    /// The key is refused, the keys are not managed here, or they cannot be written.
    pub async fn import(
        &self,
        key: SecretString,
        algorithm: Option<Algorithm>,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        let _turn = self.turn().await;
        if let Some(shared) = self.document() {
            let import: KeyChange =
                Arc::new(move |state, now| state.import(key.expose(), algorithm, now));
            return shared.change(&self.ring, import).await;
        }
        let ring = self.ring.clone();
        let now = self.clock.now();
        let mut events = self.on_thread(move || ring.import(key.expose(), algorithm, now)).await?;
        if let Some(shared) = &self.shared {
            let added = events.iter().filter_map(|event| match event {
                KeyEvent::Added { kid, .. } => Some(kid.clone()),
                _ => None,
            });
            // An operator may bring back what was revoked by mistake.
            if let Err(error) = shared.publish_revoked(&added.collect::<Vec<_>>()).await {
                let cause = format!(
                    "the key is here; if it was revoked, it still is: {}",
                    error_chain(&error)
                );
                events.push(KeyEvent::Failed { cause });
            }
        }
        Ok(events)
    }

    /// Goes on with other options. Blocks, and must not be called on a thread of a runtime.
    ///
    /// # Errors
    /// As `open`; the last state then stays in use.
    pub fn reconfigure(
        self: &Arc<Self>,
        options: KeyRingOptions,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        if !self.is_document {
            return self.ring.reconfigure(options);
        }
        let keys = self.clone();
        let (done, changed) = mpsc::channel();
        self.background.spawn(async move {
            // The send fails if the waiting reload is gone; then nobody needs the answer.
            let _ = done.send(keys.set_options(options).await);
        });
        changed.recv().unwrap_or(Err(KeyError::Panicked))
    }

    /// Goes on with other options and the shared document, in which keys are made that are missing.
    async fn set_options(&self, options: KeyRingOptions) -> Result<Vec<KeyEvent>, KeyError> {
        let _turn = self.turn().await;
        let Some(shared) = self.document() else { return Err(KeyError::InStore) };
        let last = self.ring.set_options(options);
        // The store is needed only for keys that are not there: a reload may have to go through
        // while it is away.
        if self.ring.unsigned(shared.now()).is_empty() {
            return Ok(Vec::new());
        }
        let changed = shared.change(&self.ring, no_change()).await;
        changed.inspect_err(|_| drop(self.ring.set_options(last)))
    }

    /// Fills an empty document, and adopts it.
    async fn take_over(&self, folder: &Path) -> Result<(), KeyError> {
        let Some(shared) = self.document() else { return Ok(()) };
        let is_filled = shared.read().await?.0.is_some_and(|document| !document.keys.is_empty());
        let dir = folder.to_owned();
        let take_over: KeyChange = Arc::new(move |state, now| state.take_over(&dir, now).map(drop));
        for event in shared.change(&self.ring, take_over).await? {
            // A document that cannot be read must end the start: there would be no key.
            if let KeyEvent::Failed { cause } = event {
                return Err(KeyError::Document { cause });
            }
        }
        let has_files = std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
        if has_files {
            let folder = folder.display();
            match is_filled {
                true => tracing::warn!(
                    %folder,
                    "the signing keys are in the shared store: those in the folder are not used, \
                     remove them"
                ),
                false => tracing::info!(
                    %folder,
                    "the signing keys of the folder were taken over into the shared store"
                ),
            }
        }
        Ok(())
    }

    /// Adopts the document, and changes it if work is due.
    async fn look(&self, shared: &SharedKeys) -> Result<Vec<KeyEvent>, KeyError> {
        let (document, now) = shared.read().await?;
        let mut events = match document {
            Some(document) => shared.adopt(&self.ring, document, now).await?,
            // The store was emptied. Nobody knows what was revoked in it, so the keys are made anew,
            // as everybody has to log in anew.
            None => return shared.change(&self.ring, no_change()).await,
        };
        if shared.has_unpublished() || self.ring.is_due(now) {
            events.extend(shared.change(&self.ring, no_change()).await?);
        }
        Ok(events)
    }

    /// Takes over which keys are revoked. The keys are in a folder.
    async fn obey(&self, shared: &SharedKeys) -> Result<Vec<KeyEvent>, KeyError> {
        let (document, _) = shared.read().await?;
        if document.is_none() {
            // The store was emptied, and has forgotten what is known here.
            shared.add_unpublished(self.ring.revoked());
        }
        let revoked = match shared.has_unpublished() {
            true => shared.publish_revoked(&[]).await?,
            false => shared.revoked(document.as_ref(), &self.ring),
        };
        let ring = self.ring.clone();
        let now = self.clock.now();
        let obeying = move || ring.obey(revoked, now);
        self.background.block_on_thread(obeying).await.ok_or(KeyError::Panicked)
    }

    async fn maintain_folder(&self) -> Vec<KeyEvent> {
        let ring = self.ring.clone();
        let now = self.clock.now();
        self.background.block_on_thread(move || ring.maintain(now)).await.unwrap_or_default()
    }

    /// The event for a look that failed, unless the last one failed in the same way.
    fn failed(&self, error: &KeyError) -> Option<KeyEvent> {
        let cause = error_chain(error);
        let mut failure = self.failure.lock();
        if failure.as_ref() == Some(&cause) {
            return None;
        }
        *failure = Some(cause.clone());
        Some(KeyEvent::Failed { cause })
    }

    /// Waits until no other operation runs. The semaphore is never closed, so there is no error.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// The shared document, if the keys are in it.
    fn document(&self) -> Option<&SharedKeys> {
        self.shared.as_ref().filter(|_| self.is_document)
    }

    /// Runs a change of a folder on a thread that may block.
    async fn on_thread(
        &self,
        change: impl FnOnce() -> Result<Vec<KeyEvent>, KeyError> + Send + 'static,
    ) -> Result<Vec<KeyEvent>, KeyError> {
        self.background.block_on_thread(change).await.ok_or(KeyError::Panicked)?
    }
}

/// The change that does what is due and nothing else.
fn no_change() -> KeyChange {
    Arc::new(|_, _| Ok(()))
}
