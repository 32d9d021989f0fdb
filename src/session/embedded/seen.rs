//! Whether the store is as new as it was when it was last open here.
//!
//! A backup that is restored brings back what was ended since it was made: sessions that users
//! logged out of, and that operators revoked. The store cannot know that by itself, so the highest
//! time that it has seen is kept beside it too (`store.seen`), written after the store's own: a
//! store that has seen less than that file says was put there from somewhere else. A folder that is
//! restored as a whole, file and all, is not noticed, nor is a backup less than a minute old.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::ReadableTable;

use super::tables::{Fault, Tables};
use crate::clock::Timestamp;
use crate::secret::Digest;

/// In the store: until when its sessions may be such that had ended, and what had been seen.
const META_RESTORED: &str = "restored";
const OWNER_ONLY: u32 = 0o600;

/// A store that was put in the place of a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RestoredStore {
    /// What had been seen here before.
    seen: Timestamp,
    /// When the last of its sessions ends.
    until: Timestamp,
}

impl RestoredStore {
    pub(super) fn new(seen: Timestamp, until: Timestamp) -> Self {
        Self { seen, until }
    }

    /// For the operator, while it matters.
    pub(super) fn note(&self, now: Timestamp) -> Option<String> {
        (now < self.until).then(|| {
            format!(
                "the store was restored from a backup: it is older than what was seen here at {}, \
                 and sessions that ended between are alive again; `tollhouse session revoke --all` \
                 ends all",
                self.seen
            )
        })
    }

    /// What the store says of itself.
    pub(super) fn load(t: &Tables<'_>) -> Result<Option<Self>, Fault> {
        let row = t.rows().meta.get(META_RESTORED)?.map(|row| row.value().to_vec());
        let numbers = row.as_deref().map(|row| row.as_chunks().0);
        let Some([seen, until]) = numbers else { return Ok(None) };
        let [seen, until] =
            [seen, until].map(|bytes| Timestamp::from_millis(u64::from_be_bytes(*bytes)));
        Ok(Some(Self { seen, until }))
    }

    pub(super) fn save(&self, t: &mut Tables<'_>) -> Result<(), Fault> {
        let row = [self.seen, self.until].map(|at| at.millis().to_be_bytes()).concat();
        t.change().meta.insert(META_RESTORED, row.as_slice())?;
        Ok(())
    }
}

/// All sessions have ended: it does not matter any more which of them had before.
pub(super) fn settle(t: &mut Tables<'_>) -> Result<(), Fault> {
    t.change().meta.remove(META_RESTORED)?;
    t.effects.restored = Some(None);
    Ok(())
}

/// The highest time that the store with this secret has seen here, as far as is known.
pub(super) fn read(store: &Path, secret: &[u8; 32]) -> Option<Timestamp> {
    let text = fs::read_to_string(beside(store)).ok()?;
    let (name, millis) = text.trim_end().split_once(' ')?;
    let millis = millis.parse().ok()?;
    // Another store was made anew, which is no restored one.
    (name == name_of(secret)).then(|| Timestamp::from_millis(millis))
}

/// Writes down what the store has seen; to be called when the store itself has it on its disk.
pub(super) fn write(store: &Path, secret: &[u8; 32], seen: Timestamp) {
    let text = format!("{} {}\n", name_of(secret), seen.millis());
    if let Err(error) = replace(&beside(store), &text) {
        // The store is well: only a backup that is restored would not be noticed.
        tracing::debug!(%error, "what the store has seen could not be written down");
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let passing = path.with_extension("seen.new");
    let options =
        OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).clone();
    options.open(&passing)?.write_all(text.as_bytes())?;
    fs::rename(passing, path)
}

fn beside(store: &Path) -> PathBuf {
    store.with_extension("seen")
}

/// Tells one store from another without telling its secret.
fn name_of(secret: &[u8; 32]) -> String {
    Digest::of_list(&[b"the store's name", secret]).short()
}
