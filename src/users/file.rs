//! `users.toml` as a source of users.
//!
//! The file is read again within seconds of a change. A file that has become unreadable, or has a
//! bad line, costs only the change: the last good users stay, and `problem` says why. Checking
//! a name that is not there costs what a wrong password costs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::live::{Live, Loaded};
use super::password::StoredHash;
use super::pool::{PasswordPool, PoolError};
use super::problem::Problems;
use super::source::{Checked, Name, SourceError, User, UserSource};
use super::table::Entry;
use super::write::{self, AccessError};
use crate::clock::Clock;
use crate::identity::Subject;
use crate::secret::{self, SecretString};

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
    live: Arc<Live>,
    pool: Arc<PasswordPool>,
    /// Makes the cost of an unknown name unpredictable from outside.
    seed: SecretSeed,
}

/// A seed that does not print.
type SecretSeed = secret::Secret<[u8; 32]>;

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
        let live = Arc::new(Live::open(name.into(), path.into())?);
        Ok(Arc::new(Self { live, pool, seed: SecretSeed::new(secret::random()) }))
    }

    /// Reports every problem of the file at `path`, as `open` would, for `check`.
    ///
    /// # Errors
    /// When it is missing or anything in it is wrong.
    pub fn check_file(name: &str, path: &Path) -> Result<(), FileError> {
        Ok(Loaded::read(&write::read(path)?, name, path).map(drop)?)
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.live.now().table.entries.len()
    }

    async fn look(&self, at_once: bool) {
        let live = self.live.clone();
        // Neither the disk nor a long file may hold up the back room.
        if tokio::task::spawn_blocking(move || live.look(at_once)).await.is_err() {
            tracing::error!(source = %self.live.name, "reading users panicked; the last ones stay");
        }
    }

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
            other => {
                SourceError::Unavailable { name: self.live.name.clone(), cause: other.to_string() }
            }
        }
    }

    fn entry(&self, id: &Subject) -> Option<Entry> {
        self.live.now().table.identified(id).cloned()
    }

    /// The verdict on a known user whose password is right for `checked`.
    async fn admit(
        &self,
        checked: Entry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError> {
        let id = checked.user.id.clone();
        // Hashing takes long enough for the user to have been disabled or removed, or to have
        // been given another hash, meanwhile.
        let Some(now) = self.entry(&id).filter(|now| !now.disabled) else {
            return Ok(Checked::Wrong { id, disabled: true });
        };
        if now.password != checked.password
            && !self.is_right(password, now.password.clone(), origin).await?
        {
            return Ok(Checked::Wrong { id, disabled: false });
        }
        let before = now.user.version;
        let weak = now.password.needs_rehash() && self.live.is_writable();
        let rehashed = if weak { self.rehash(&now, password, origin).await } else { None };
        let rehashed_from = rehashed.as_ref().map(|_| before);
        let user = match rehashed {
            Some(user) => user,
            // Another login of his may have replaced the hash first: he is who he is now.
            None if weak => {
                let later = self.entry(&id).filter(|later| !later.disabled);
                let Some(later) = later else { return Ok(Checked::Wrong { id, disabled: true }) };
                if later.password != now.password
                    && !self.is_right(password, later.password, origin).await?
                {
                    return Ok(Checked::Wrong { id, disabled: false });
                }
                later.user
            }
            None => now.user,
        };
        Ok(Checked::Right { user: Box::new(user), rehashed_from })
    }

    /// Replaces a weak hash in the file; the user as he is then. A login never fails by this.
    async fn rehash(
        &self,
        entry: &Entry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Option<User> {
        let (live, entry) = (self.live.clone(), entry.clone());
        let replace = move |hash| live.rehash(&entry, &hash);
        match self.pool.hash(password.clone(), origin, replace).await {
            Ok(Ok(user)) => user,
            Ok(Err(error)) => {
                tracing::warn!(source = %self.live.name, %error, "a weak hash was not replaced");
                None
            }
            // No time for it now: the next login tries again.
            Err(error) => {
                tracing::debug!(source = %self.live.name, %error, "a weak hash was not replaced");
                None
            }
        }
    }
}

#[async_trait]
impl UserSource for FileSource {
    fn name(&self) -> &str {
        &self.live.name
    }

    async fn resolve(&self, name: &Name) -> Result<Option<Subject>, SourceError> {
        Ok(self.live.now().table.named(name).map(|entry| entry.user.id.clone()))
    }

    async fn check(
        &self,
        name: &Name,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<Checked, SourceError> {
        let known = self.live.now().table.named(name).cloned();
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
        let cost = self.live.now().table.cost_of_unknown(self.seed.expose(), name);
        self.is_right(password, Arc::new(cost.dummy()), origin).await.map(drop)
    }

    async fn find(&self, id: &Subject, _name: &str) -> Result<Option<User>, SourceError> {
        Ok(self.entry(id).filter(|entry| !entry.disabled).map(|entry| entry.user))
    }

    async fn changed(&self) {
        self.live.changed.notified().await;
    }

    async fn watch(&self, clock: &Clock) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            self.look(false).await;
        }
    }

    async fn reread(&self) {
        self.look(true).await;
    }

    fn problem(&self) -> Option<String> {
        self.live.problem()
    }
}
