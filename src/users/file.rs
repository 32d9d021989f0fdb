//! A file as a source of users: `users.toml`, or a file of Apache's `htpasswd`.
//!
//! The file is read again within seconds of a change. If the file becomes unreadable or has a bad
//! line, only the change is lost: the last good users stay in use, and `problem` tells the operator
//! why. Verifying a password for an unknown name costs as much as for a wrong password.
//! `WatchedFile` holds the users in memory; this file decides who may log in.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::context::SourceContext;
use super::error::FileError;
use super::format::FileFormat;
use super::import::ImportedHashes;
use super::password_verifier::PasswordVerifier;
use super::source::{LoginName, PasswordCheck, SourceError, UserRecord, UserSource};
use super::user_table::UserEntry;
use super::watched_file::{FileSnapshot, WatchedFile};
use crate::clock::Clock;
use crate::identity::UserId;
use crate::passwords::HashPool;
use crate::secret::{self, SecretString};
use crate::settings::{AllowWeak, HtpasswdUsers};

/// How often the file is looked at. A change counts when it was seen twice, so it is noticed within
/// five seconds.
const LOOK_EVERY: Duration = Duration::from_millis(1500);

/// A source of users that reads one file, with the users in memory.
#[derive(Debug)]
pub struct FileSource {
    watched: Arc<WatchedFile>,
    verifier: PasswordVerifier,
    /// Secret input for the cost of unknown names, so that nobody outside can compute which cost a
    /// name should have.
    seed: SecretSeed,
}

/// A seed that is not printed.
type SecretSeed = secret::Secret<[u8; 32]>;

impl FileSource {
    /// Reads the `users.toml` at `path`. `name` is the name of the source in the configuration.
    ///
    /// # Errors
    ///
    /// If the file is missing or anything in it is wrong.
    pub fn open(
        name: impl Into<String>,
        path: impl Into<PathBuf>,
        pool: Arc<HashPool>,
    ) -> Result<Arc<Self>, FileError> {
        Self::open_allowing(name, path, AllowWeak::default(), pool)
    }

    /// Like `open`, but weak hashes of the given kinds are accepted, and replaced at the user's
    /// next login.
    ///
    /// # Errors
    ///
    /// As for `open`.
    pub fn open_allowing(
        name: impl Into<String>,
        path: impl Into<PathBuf>,
        allow_weak: AllowWeak,
        pool: Arc<HashPool>,
    ) -> Result<Arc<Self>, FileError> {
        let watched = WatchedFile::open(name.into(), path.into(), FileFormat::Toml { allow_weak })?;
        Ok(Self::over(watched, pool, None))
    }

    /// Reads a file in the form of Apache's `htpasswd`, and its file of groups where there is one.
    ///
    /// # Errors
    ///
    /// As for `open`.
    pub fn open_htpasswd(
        name: &str,
        htpasswd: &HtpasswdUsers,
        context: &SourceContext,
    ) -> Result<Arc<Self>, FileError> {
        let format = FileFormat::Htpasswd(htpasswd.clone());
        let watched = WatchedFile::open(name.to_owned(), htpasswd.path.clone(), format)?;
        let imports = htpasswd.import.then(|| ImportedHashes::new(name, context));
        Ok(Self::over(watched, context.hashing.clone(), imports))
    }

    fn over(
        watched: WatchedFile,
        pool: Arc<HashPool>,
        imports: Option<ImportedHashes>,
    ) -> Arc<Self> {
        let seed = SecretSeed::new(secret::random());
        let verifier = PasswordVerifier::new(&watched.name, pool, imports);
        Arc::new(Self { watched: Arc::new(watched), verifier, seed })
    }

    /// Reports every problem of the `users.toml` at `path`, without opening it as a source.
    ///
    /// # Errors
    ///
    /// If the file is missing or anything in it is wrong.
    pub fn check_file(name: &str, path: &Path) -> Result<(), FileError> {
        Self::check(name, path, &FileFormat::Toml { allow_weak: AllowWeak::default() })
    }

    pub(super) fn check(name: &str, path: &Path, format: &FileFormat) -> Result<(), FileError> {
        Ok(FileSnapshot::read(&format.texts(path)?, format, name, path).map(drop)?)
    }

    /// Number of users in the file.
    pub fn count(&self) -> usize {
        self.watched.now().table.entries.len()
    }

    async fn look(&self, at_once: bool) {
        let watched = self.watched.clone();
        // Reading and parsing a large file takes long enough to hold up the other tasks of the
        // background runtime, so it runs on a thread for blocking work. A panic there is logged,
        // and the last good users stay.
        if tokio::task::spawn_blocking(move || watched.look(at_once)).await.is_err() {
            tracing::error!(source = %self.watched.name, "reading users panicked; the last ones stay");
        }
    }

    fn entry(&self, id: &UserId) -> Option<UserEntry> {
        self.watched.now().table.identified(id).cloned()
    }

    /// The result for a user whose password matched the hash in `checked`.
    async fn admit(
        &self,
        checked: UserEntry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        let id = checked.user.id.clone();
        // Hashing takes a tenth of a second or more. Meanwhile the user may have been disabled or
        // removed, or may have got another password. The user is therefore looked up again after
        // it.
        let Some(now) = self.entry(&id).filter(|now| !now.disabled) else {
            return Ok(PasswordCheck::Wrong { id, disabled: true });
        };
        // If the hash was replaced while the old one was verified, the password must match the new
        // hash as well: the old password may have been changed because it was stolen. This costs a
        // second hash, but only in that rare case.
        if now.password != checked.password
            && !self.verifier.matches_user(&now, password, origin).await?
        {
            return Ok(PasswordCheck::Wrong { id, disabled: false });
        }
        let before = now.user.version;
        let weak = now.password.needs_rehash() && self.watched.is_writable();
        let rehashed = if weak { self.rehash(&now, password, origin).await } else { None };
        let rehashed_from = rehashed.as_ref().map(|_| before);
        let user = match rehashed {
            Some(user) => user,
            // Two logins of one user at the same time both try to replace the weak hash; only the
            // first succeeds. The second takes the user as they are after that, if the password
            // matches.
            None if weak => {
                let later = self.entry(&id).filter(|later| !later.disabled);
                let Some(later) = later else {
                    return Ok(PasswordCheck::Wrong { id, disabled: true });
                };
                if later.password != now.password
                    && !self.verifier.verify(later.password, password, origin).await?
                {
                    return Ok(PasswordCheck::Wrong { id, disabled: false });
                }
                later.user
            }
            None => now.user,
        };
        Ok(PasswordCheck::Correct { user: Box::new(user), rehashed_from, legacy: None })
    }

    /// Replaces a weak hash in the file. Returns the user after that, or `None` if it was not
    /// possible. A login never fails because of this.
    async fn rehash(
        &self,
        entry: &UserEntry,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Option<UserRecord> {
        let watched = self.watched.clone();
        let entry = entry.clone();
        let replace = move |hash| watched.rehash(&entry, &hash);
        match self.verifier.pool().hash(password.clone(), origin, replace).await {
            Ok(Ok(user)) => user,
            Ok(Err(error)) => {
                tracing::warn!(source = %self.watched.name, %error, "a weak hash was not replaced");
                None
            }
            // The pool had no time for it. The next login will try again.
            Err(error) => {
                tracing::debug!(source = %self.watched.name, %error, "a weak hash was not replaced");
                None
            }
        }
    }
}

#[async_trait]
impl UserSource for FileSource {
    fn name(&self) -> &str {
        &self.watched.name
    }

    async fn resolve(&self, name: &LoginName) -> Result<Option<UserId>, SourceError> {
        Ok(self.watched.now().table.named(name).map(|entry| entry.user.id.clone()))
    }

    async fn check(
        &self,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<PasswordCheck, SourceError> {
        // The snapshot of the users is taken once. A reload meanwhile does not change it, and
        // `admit` looks at the newest one. A user can thus change between the two, which `admit`
        // handles.
        let known = self.watched.now().table.named(name).cloned();
        let Some(entry) = known else {
            self.burn_equal_time(name, password, origin).await?;
            return Ok(PasswordCheck::UnknownUser);
        };
        let right = self.verifier.matches_user(&entry, password, origin).await?;
        if !right || entry.disabled {
            return Ok(PasswordCheck::Wrong { id: entry.user.id, disabled: entry.disabled });
        }
        self.admit(entry, password, origin).await
    }

    async fn burn_equal_time(
        &self,
        name: &LoginName,
        password: &SecretString,
        origin: Option<IpAddr>,
    ) -> Result<(), SourceError> {
        // An unknown name costs as much as some user's hash, chosen by the name. Where hashes of
        // different strength are side by side, one fixed cost would show which names do not exist.
        let cost = self.watched.now().table.cost_of_unknown(self.seed.expose(), name);
        self.verifier.burn_equal_time(cost, password, origin).await
    }

    async fn find(&self, id: &UserId, _name: &str) -> Result<Option<UserRecord>, SourceError> {
        Ok(self.entry(id).filter(|entry| !entry.disabled).map(|entry| entry.user))
    }

    async fn changed(&self) {
        self.watched.changed.notified().await;
    }

    async fn watch(&self, clock: &Clock) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            self.look(false).await;
        }
    }

    async fn reload(&self) {
        self.look(true).await;
    }

    fn is_local(&self) -> bool {
        true
    }

    fn imports(&self) -> bool {
        self.verifier.imports()
    }

    async fn total(&self) -> Option<u64> {
        let users = self.watched.now();
        let weak = users.table.entries.iter().filter(|entry| entry.password.needs_rehash());
        u64::try_from(weak.count()).ok()
    }

    fn problem(&self) -> Option<String> {
        self.watched.problem()
    }
}
