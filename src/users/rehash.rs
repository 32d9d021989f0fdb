//! Replacing a weak hash when its password is at hand: at a login.
//!
//! A login never fails by this, and no session ends by it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::edit::{self, Change, EditError};
use super::file::{FileSource, Loaded};
use super::password::StoredHash;
use super::problem::Problems;
use super::source::User;
use super::table::{self, Entry};
use super::write;
use crate::identity::Subject;
use crate::secret::{Digest, SecretString};

impl FileSource {
    /// Replaces a weak hash in the file; the user as he is then. A login never fails by this.
    pub(super) async fn rehash(
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
