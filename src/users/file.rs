//! `users.toml` as a source of users.
//!
//! The file is read again within seconds of a change. A file that has become unreadable, or has a
//! bad line, costs only the change: the last good users stay, and `problem` says why. Checking
//! a name that is not there costs what a wrong password costs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use tokio::sync::Notify;

use super::edit::{self, Change, EditError};
use super::password::StoredHash;
use super::pool::{PasswordPool, PoolError};
use super::problem::Problems;
use super::source::{Checked, Name, SourceError, User, UserSource};
use super::table::{self, Entry, Table};
use super::write::{self, AccessError};
use crate::clock::Clock;
use crate::identity::Subject;
use crate::secret::{self, Digest, SecretString};

/// Two looks are needed for a change to count, so that one is noticed within five seconds.
const LOOK_EVERY: Duration = Duration::from_millis(1500);

/// Why a users file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Access(#[from] AccessError),

    #[error(transparent)]
    Problems(#[from] Problems),
}

impl FileError {
    /// True if there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Access(AccessError::Missing { .. }))
    }
}

/// A users file that is open for logins.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    path: PathBuf,
    pool: Arc<PasswordPool>,
    users: ArcSwap<Loaded>,
    /// A text seen once and not yet taken: it may still be in the middle of being written.
    seen: Mutex<Option<Digest>>,
    problem: ArcSwapOption<String>,
    changed: Notify,
    /// Makes the cost of an unknown name unpredictable from outside.
    seed: [u8; 32],
    warned_read_only: AtomicBool,
}

#[derive(Debug)]
struct Loaded {
    digest: Digest,
    table: Table,
}

impl Loaded {
    fn read(text: &str, source: &str, path: &Path) -> Result<Self, Problems> {
        match table::read(text, source) {
            Ok(table) => Ok(Self { digest: Digest::of(text.as_bytes()), table }),
            Err(list) => Err(Problems { file: path.display().to_string(), list }),
        }
    }
}

impl FileSource {
    /// Reads the file at `path`; `name` is the source's name in the configuration.
    ///
    /// # Errors
    /// When it is missing or anything in it is wrong.
    pub fn open(
        name: impl Into<String>,
        path: impl Into<PathBuf>,
        pool: Arc<PasswordPool>,
    ) -> Result<Arc<Self>, FileError> {
        let (name, path) = (name.into(), path.into());
        let loaded = Loaded::read(&write::read(&path)?, &name, &path)?;
        Ok(Arc::new(Self {
            name,
            path,
            pool,
            users: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(None),
            problem: ArcSwapOption::empty(),
            changed: Notify::new(),
            seed: secret::random(),
            warned_read_only: AtomicBool::new(false),
        }))
    }

    /// Reports every problem of the file at `path`, as `open` would, for `check`.
    ///
    /// # Errors
    /// When it is missing or anything in it is wrong.
    pub fn check_file(name: &str, path: &Path) -> Result<(), FileError> {
        Ok(Loaded::read(&write::read(path)?, name, path).map(drop)?)
    }

    /// Looks at the file every moment and takes over what has changed. Never returns; runs in the
    /// back room until that is drained.
    pub async fn watch(self: Arc<Self>, clock: Clock) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            self.look(false).await;
        }
    }

    /// Reads the file now, for an operator who asks.
    pub async fn reread(&self) {
        self.look(true).await;
    }

    /// Why the file is not in use as it is now; `None` if it is.
    pub fn problem(&self) -> Option<String> {
        self.problem.load().as_deref().cloned()
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.users.load().table.entries.len()
    }

    /// One look at the file. A change counts when it was seen twice, or `at_once`: an editor that
    /// writes in place may have half of it written.
    async fn look(&self, at_once: bool) {
        let path = self.path.clone();
        let Ok(text) = tokio::task::spawn_blocking(move || write::read(&path)).await else {
            return;
        };
        match text {
            Ok(text) => self.take(&text, at_once),
            // Also seen twice: a file is missing for a moment while some editors replace it.
            Err(error) => {
                let message = error.to_string();
                if self.seen_before(Digest::of(message.as_bytes())) || at_once {
                    self.complain(message);
                }
            }
        }
    }

    fn take(&self, text: &str, at_once: bool) {
        let digest = Digest::of(text.as_bytes());
        if digest == self.users.load().digest {
            self.seen_before(digest);
            self.problem.store(None);
            return;
        }
        if !self.seen_before(digest) && !at_once {
            return;
        }
        match Loaded::read(text, &self.name, &self.path) {
            Ok(loaded) => {
                let users = loaded.table.entries.len();
                self.users.store(Arc::new(loaded));
                self.problem.store(None);
                self.warned_read_only.store(false, Ordering::Relaxed);
                tracing::info!(source = %self.name, users, "users were read again");
                self.tell();
            }
            Err(problems) => self.complain(problems.to_string()),
        }
    }

    /// Whether the last look saw the same; remembers this one.
    fn seen_before(&self, digest: Digest) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.replace(digest) == Some(digest)
    }

    fn complain(&self, message: String) {
        if self.problem.load().as_deref() != Some(&message) {
            tracing::warn!(source = %self.name, "the last good users stay in use: {message}");
            self.problem.store(Some(Arc::new(message)));
        }
    }

    /// Wakes whoever waits in `changed`, or else the next who asks.
    fn tell(&self) {
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Checks the password of one stored hash, or of none.
    async fn is_right(
        &self,
        password: &SecretString,
        stored: Arc<StoredHash>,
        origin: Option<IpAddr>,
    ) -> Result<bool, SourceError> {
        let right = self.pool.verify(password.clone(), stored, origin).await;
        // An empty password is work like any other and never right, whatever a hash says.
        right.map(|right| right && !password.expose().is_empty()).map_err(|error| self.lost(error))
    }

    fn lost(&self, error: PoolError) -> SourceError {
        match error {
            PoolError::Busy { waiting } => SourceError::Busy { waiting },
            other => SourceError::Unavailable { name: self.name.clone(), cause: other.to_string() },
        }
    }

    fn entry(&self, id: &Subject) -> Option<Entry> {
        self.users.load().table.identified(id).cloned()
    }

    /// The verdict on a known user whose password is right for `checked`.
    async fn admit(
        &self,
        checked: Entry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError> {
        let id = checked.user.id.clone();
        // Hashing takes long enough for the user to have been disabled, or to have been given
        // another hash, meanwhile.
        let Some(now) = self.entry(&id).filter(|now| !now.disabled) else {
            return Ok(Checked::Wrong { id, disabled: true });
        };
        if now.password != checked.password
            && !self.is_right(password, now.password.clone(), origin).await?
        {
            return Ok(Checked::Wrong { id, disabled: false });
        }
        let before = now.user.version;
        let rehashed = match now.password.needs_rehash() {
            true => self.rehash(&now, password, origin).await,
            false => None,
        };
        let rehashed_from = rehashed.as_ref().map(|_| before);
        Ok(Checked::Right { user: Box::new(rehashed.unwrap_or(now.user)), rehashed_from })
    }

    /// Replaces a weak hash in the file; the user as he is then. A login never fails by this.
    async fn rehash(
        &self,
        entry: &Entry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Option<User> {
        if !write::is_writable(&self.path) {
            if !self.warned_read_only.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    source = %self.name,
                    "{} cannot be written, so weak hashes in it stay",
                    self.path.display()
                );
            }
            return None;
        }
        let (path, old) = (self.path.clone(), entry.clone());
        let outcome = self.pool.hash(password.clone(), origin, move |new| {
            write::replace(&path, |text| rehashed(text, &old, &new, &path))
        });
        match outcome.await {
            Ok(Ok(Some((before, text)))) => self.keep(&entry.user.id, before, &text),
            // Somebody else changed the password meanwhile; the next look reads it.
            Ok(Ok(None)) => None,
            Ok(Err(error)) => {
                tracing::warn!(source = %self.name, %error, "a weak hash was not replaced");
                None
            }
            Err(error) => {
                tracing::debug!(source = %self.name, %error, "a weak hash was not replaced");
                None
            }
        }
    }

    /// Takes over the file that a re-hash has written. Sessions are looked at again only if the
    /// file held another change too: a re-hash itself ends none.
    fn keep(&self, id: &Subject, before: Digest, text: &str) -> Option<User> {
        let loaded = Loaded::read(text, &self.name, &self.path).ok()?;
        let user = loaded.table.identified(id)?.user.clone();
        let known = self.users.load().digest;
        self.users.store(Arc::new(loaded));
        if before != known {
            self.tell();
        }
        Some(user)
    }
}

/// The file's text with one user's hash replaced, if it is still the one that was checked; the
/// digest of the text before comes along.
#[allow(clippy::type_complexity)]
fn rehashed(
    text: &str,
    old: &Entry,
    new: &StoredHash,
    path: &Path,
) -> Result<(String, Option<(Digest, String)>), EditError> {
    let file = path.display().to_string();
    let source = &old.user.source;
    let table = table::read(text, source).map_err(|list| Problems { file: file.clone(), list })?;
    let current = table.identified(&old.user.id);
    if current.is_none_or(|current| current.password != old.password) {
        return Ok((text.to_owned(), None));
    }
    let name = current.map_or(old.user.name.as_str(), |current| current.user.name.as_str());
    let (edited, _) = edit::edited(text, &Change::Password { name, hash: new }, &file)?;
    Ok((edited.clone(), Some((Digest::of(text.as_bytes()), edited))))
}

#[async_trait]
impl UserSource for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn resolve(&self, name: &Name) -> Result<Option<Subject>, SourceError> {
        Ok(self.users.load().table.named(name).map(|entry| entry.user.id.clone()))
    }

    async fn check(
        &self,
        name: &Name,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError> {
        let known = self.users.load().table.named(name).cloned();
        let Some(entry) = known else {
            self.spend(name, password, origin).await?;
            return Ok(Checked::Unknown);
        };
        let right = self.is_right(password, entry.password.clone(), origin).await?;
        if !right || entry.disabled {
            return Ok(Checked::Wrong { id: entry.user.id, disabled: entry.disabled });
        }
        self.admit(entry, password, origin).await
    }

    async fn spend(
        &self,
        name: &Name,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        let cost = self.users.load().table.cost_of_unknown(&self.seed, name);
        self.is_right(password, Arc::new(cost.dummy()), origin).await.map(drop)
    }

    async fn find(&self, id: &Subject) -> Result<Option<User>, SourceError> {
        Ok(self.entry(id).filter(|entry| !entry.disabled).map(|entry| entry.user))
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}
