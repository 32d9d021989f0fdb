//! The users of a file as they are now: looked up by logins, replaced when the file changes.
//!
//! Everything here blocks on the disk and therefore runs on threads that may. Looking at the
//! file and re-hashing exclude each other, so that what was read last is what is in use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;

use super::edit::{self, Change, EditError};
use super::file::FileError;
use super::format::{Format, Texts};
use super::password::StoredHash;
use super::problem::Problems;
use super::source::User;
use super::table::{Entry, Table};
use super::write;
use crate::secret::Digest;

/// The last good users of one file.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) name: String,
    pub(super) path: PathBuf,
    format: Format,
    users: ArcSwap<Loaded>,
    /// A text seen once and not yet taken: it may still be in the middle of being written.
    seen: Mutex<Option<Digest>>,
    problem: ArcSwapOption<String>,
    pub(super) changed: Notify,
    warned_read_only: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Loaded {
    digest: Digest,
    pub(super) table: Table,
}

impl Loaded {
    /// Reads the texts of the file at `path`, for source `name`.
    pub(super) fn read(
        texts: &Texts,
        format: &Format,
        (name, path): (&str, &Path),
    ) -> Result<Self, Problems> {
        Ok(Self { digest: texts.digest(), table: format.parse(texts, name, path)? })
    }
}

impl Live {
    pub(super) fn open(name: String, path: PathBuf, format: Format) -> Result<Self, FileError> {
        let loaded = Loaded::read(&format.texts(&path)?, &format, (&name, &path))?;
        if write::is_public(&path) {
            tracing::warn!(source = %name, "{} can be read by everybody", path.display());
        }
        Ok(Self {
            name,
            path,
            format,
            users: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(None),
            problem: ArcSwapOption::empty(),
            changed: Notify::new(),
            warned_read_only: AtomicBool::new(false),
        })
    }

    pub(super) fn now(&self) -> Arc<Loaded> {
        self.users.load_full()
    }

    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.problem.load();
        problem.as_deref().map(|problem| format!("{problem}; the last good ones stay"))
    }

    /// One look at the file. A change counts when it was seen twice, or `at_once`: an editor that
    /// writes in place may have half of it written, and some remove the file for a moment.
    pub(super) fn look(&self, at_once: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.format.texts(&self.path).map_err(|error| error.to_string());
        let digest = match &read {
            Ok(texts) => texts.digest(),
            Err(message) => Digest::of(message.as_bytes()),
        };
        let counts = seen.replace(digest) == Some(digest) || at_once;
        match read {
            Ok(_) if digest == self.users.load().digest => self.problem.store(None),
            Ok(texts) if counts => self.take(&texts),
            Err(message) if counts => self.complain(message),
            Ok(_) | Err(_) => {}
        }
    }

    fn read(&self, texts: &Texts) -> Result<Loaded, Problems> {
        Loaded::read(texts, &self.format, (&self.name, &self.path))
    }

    fn take(&self, texts: &Texts) {
        match self.read(texts) {
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

    /// Whether weak hashes can be replaced; says once if not.
    pub(super) fn is_writable(&self) -> bool {
        if !self.format.takes_argon2() {
            return false;
        }
        let writable = write::is_writable(&self.path);
        if !writable && !self.warned_read_only.swap(true, Ordering::Relaxed) {
            let path = self.path.display();
            tracing::warn!(
                source = %self.name, "{path} cannot be written, so weak hashes in it stay"
            );
        }
        writable
    }

    /// Replaces the hash of one user in the file, and the users in use by those of that file;
    /// the user as he is then. `None` if somebody else has changed his password meanwhile.
    pub(super) fn rehash(
        &self,
        checked: &Entry,
        hash: &StoredHash,
    ) -> Result<Option<User>, EditError> {
        let _looks_wait = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = write::replace(&self.path, |text| self.rehashed(text, checked, hash))?;
        let Some((before, loaded)) = replaced else { return Ok(None) };
        let user = loaded.table.identified(&checked.user.id).map(|entry| entry.user.clone());
        let known = self.users.load().digest;
        self.users.store(Arc::new(loaded));
        // A re-hash by itself ends no session; another change that came along does.
        if before != known {
            self.tell();
        }
        Ok(user)
    }

    /// The text with the hash replaced, the digest of the text before, and what is now in it.
    fn rehashed(
        &self,
        text: &str,
        checked: &Entry,
        hash: &StoredHash,
    ) -> Result<(String, Option<(Digest, Loaded)>), EditError> {
        let before = self.read(&Texts::from(text))?;
        let current = before.table.identified(&checked.user.id);
        let Some(current) = current.filter(|current| current.password == checked.password) else {
            return Ok((text.to_owned(), None));
        };
        let change = Change::Password { name: &current.user.name, hash };
        let (new, _) = edit::edited(text, &change, &self.path.display().to_string())?;
        let loaded = self.read(&Texts::from(new.as_str()))?;
        Ok((new, Some((before.digest, loaded))))
    }
}
