//! The users of a file as they are now: read by logins, replaced when the file changes.
//!
//! The functions that read or write the file block on the disk and run on threads that may block.
//! Looking at the file and re-hashing exclude each other by one lock: the users in memory are
//! always those that were read last. `file` decides about logins; this file only keeps the users
//! current.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::atomic_write;
use super::edit::{self, EditError, UserChange};
use super::error::FileError;
use super::format::{FileFormat, SourceTexts};
use super::problem::FileProblems;
use super::source::UserRecord;
use super::user_table::{UserEntry, UserTable};
use crate::passwords::StoredHash;
use crate::secret::Digest;

/// The last good users of one file, and the state of watching it.
#[derive(Debug)]
pub(super) struct WatchedFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
    format: FileFormat,
    users: ArcSwap<FileSnapshot>,
    /// Digest of a text that was seen once and is not in use yet: the file may still be in the
    /// middle of being written.
    seen: Mutex<Option<Digest>>,
    problem: ArcSwapOption<String>,
    pub(super) changed: Notify,
    warned_read_only: AtomicBool,
}

/// The users of one version of the file, with the digest of its text.
#[derive(Debug)]
pub(super) struct FileSnapshot {
    digest: Digest,
    pub(super) table: UserTable,
}

impl FileSnapshot {
    /// Parses the texts of the file at `path` for the source `name`.
    pub(super) fn read(
        texts: &SourceTexts,
        format: &FileFormat,
        name: &str,
        path: &Path,
    ) -> Result<Self, FileProblems> {
        Ok(Self { digest: texts.digest(), table: format.parse(texts, name, path)? })
    }
}

impl WatchedFile {
    pub(super) fn open(name: String, path: PathBuf, format: FileFormat) -> Result<Self, FileError> {
        let loaded = FileSnapshot::read(&format.texts(&path)?, &format, &name, &path)?;
        if atomic_write::is_public(&path) {
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

    pub(super) fn now(&self) -> Arc<FileSnapshot> {
        self.users.load_full()
    }

    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.problem.load();
        problem.as_deref().map(|problem| format!("{problem}; the last good ones stay"))
    }

    /// Looks at the file once. A change counts when the same text was seen twice, or with
    /// `at_once`: an editor that writes in place may have written only half of the file, and some
    /// editors remove the file for a moment.
    pub(super) fn look(&self, at_once: bool) {
        let mut seen = self.seen.lock();
        let read = self.format.texts(&self.path).map_err(|error| error.to_string());
        let digest = match &read {
            Ok(texts) => texts.digest(),
            Err(message) => Digest::of(message.as_bytes()),
        };
        // An error counts like a text: a file that cannot be read becomes a problem only when it
        // was seen twice.
        let counts = seen.replace(digest) == Some(digest) || at_once;
        match read {
            Ok(_) if digest == self.users.load().digest => self.problem.store(None),
            Ok(texts) if counts => self.take(&texts),
            Err(message) if counts => self.complain(message),
            Ok(_) | Err(_) => {}
        }
    }

    fn read(&self, texts: &SourceTexts) -> Result<FileSnapshot, FileProblems> {
        FileSnapshot::read(texts, &self.format, &self.name, &self.path)
    }

    /// The users are replaced before waiters are notified: a review that starts at once must see
    /// the new ones.
    fn take(&self, texts: &SourceTexts) {
        match self.read(texts) {
            Ok(loaded) => {
                let users = loaded.table.entries.len();
                self.users.store(Arc::new(loaded));
                self.problem.store(None);
                self.warned_read_only.store(false, Ordering::Relaxed);
                tracing::info!(source = %self.name, users, "users were read again");
                self.log_change();
            }
            Err(problems) => self.complain(problems.to_string()),
        }
    }

    fn complain(&self, message: String) {
        // A problem is logged once, not at every look.
        if self.problem.load().as_deref() != Some(&message) {
            tracing::warn!(source = %self.name, "the last good users stay in use: {message}");
            self.problem.store(Some(Arc::new(message)));
        }
    }

    /// Wakes every task that waits in `changed`, and remembers the change for the next one.
    fn log_change(&self) {
        // `notify_waiters` wakes all that wait now; `notify_one` leaves a permit if none does. With
        // only the first, a change between two waits would be lost, and the sessions of a changed
        // user would go on.
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// True if weak hashes can be replaced in the file. Logs once if they cannot.
    pub(super) fn is_writable(&self) -> bool {
        if !self.format.takes_argon2() {
            return false;
        }
        let writable = atomic_write::is_writable(&self.path);
        if !writable && !self.warned_read_only.swap(true, Ordering::Relaxed) {
            let path = self.path.display();
            tracing::warn!(
                source = %self.name, "{path} cannot be written, so weak hashes in it stay"
            );
        }
        writable
    }

    /// Replaces the hash of one user in the file, and the users in memory by those of the new file.
    /// Returns the user after that. `None` if the user's password has been changed by somebody else
    /// meanwhile.
    pub(super) fn rehash(
        &self,
        checked: &UserEntry,
        hash: &StoredHash,
    ) -> Result<Option<UserRecord>, EditError> {
        // The lock is held during the whole change. If a look at the file ran meanwhile, it could
        // put users in use that were read before the change. The new hash would then be missing in
        // memory until the next look.
        let _looks_wait = self.seen.lock();
        let replaced =
            atomic_write::replace(&self.path, |text| self.rehashed(text, checked, hash))?;
        let Some((before, loaded)) = replaced else { return Ok(None) };
        let user = loaded.table.identified(&checked.user.id).map(|entry| entry.user.clone());
        let known = self.users.load().digest;
        self.users.store(Arc::new(loaded));
        // A re-hash alone must not end sessions, so nobody is notified. If the file also contained
        // another change that was not read yet, that change must be announced.
        if before != known {
            self.log_change();
        }
        Ok(user)
    }

    /// The text with the new hash, the digest of the text before, and the users in the new text.
    fn rehashed(
        &self,
        text: &str,
        checked: &UserEntry,
        hash: &StoredHash,
    ) -> Result<(String, Option<(Digest, FileSnapshot)>), EditError> {
        let before = self.read(&SourceTexts::from(text))?;
        // The hash is compared with the one that was verified. If they differ, the password was
        // changed meanwhile, and the old password must not be written back.
        let current = before.table.identified(&checked.user.id);
        let Some(current) = current.filter(|current| current.password == checked.password) else {
            return Ok((text.to_owned(), None));
        };
        let change = UserChange::Password { name: &current.user.profile.name, hash };
        let (new, _) = edit::edited(text, &change, &self.path.display().to_string())?;
        let loaded = self.read(&SourceTexts::from(new.as_str()))?;
        Ok((new, Some((before.digest, loaded))))
    }
}
