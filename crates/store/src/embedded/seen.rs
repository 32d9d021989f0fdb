//! Detects that the store was replaced by an older copy, for example restored from a backup.
//!
//! In an older copy, sessions are alive that have ended since: users logged out of them, or an
//! operator revoked them. The store cannot know that by itself. So the highest time that the store
//! has seen is also kept in a file beside it (`store.seen`), written after the store's own. If the
//! file has a later time than the store, the store came from elsewhere.
//!
//! Not detected: a state folder that is restored as a whole, with that file, and a backup less than
//! a minute old.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::ReadableTable;

use super::effects::RestoredStore;
use super::tables::{StoreFault, Tables};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::secret::Digest;

/// The key in `meta` for a detected restore: the time seen before it, and until when its sessions
/// may matter. The entry is removed when all sessions are revoked.
const META_RESTORED: &str = "restored";
const OWNER_ONLY: u32 = 0o600;

/// The note of a restore that the store itself carries, if there is one.
pub(super) fn load(tables: &Tables<'_>) -> Result<Option<RestoredStore>, StoreFault> {
    let row = tables.rows().meta.get(META_RESTORED)?.map(|row| row.value().to_vec());
    let numbers = row.as_deref().map(|row| row.as_chunks().0);
    let Some([seen, until]) = numbers else { return Ok(None) };
    let [seen, until] =
        [seen, until].map(|bytes| Timestamp::from_millis(u64::from_be_bytes(*bytes)));
    Ok(Some(RestoredStore { seen, until }))
}

/// Writes the note into the store.
pub(super) fn save(tables: &mut Tables<'_>, restored: &RestoredStore) -> Result<(), StoreFault> {
    let row = [restored.seen, restored.until].map(|at| at.millis().to_be_bytes()).concat();
    tables.change().meta.insert(META_RESTORED, row.as_slice())?;
    Ok(())
}

/// Removes the note: all sessions have been ended, so none can be alive by mistake.
pub(super) fn settle(tables: &mut Tables<'_>) -> Result<(), StoreFault> {
    tables.change().meta.remove(META_RESTORED)?;
    tables.effects.restored = Some(None);
    Ok(())
}

/// The highest time that the store with this secret has seen in this folder, if known. A missing or
/// unreadable file means "not known". Then a restored backup is not noticed, which must never
/// prevent a start.
pub(super) fn read(store: &Path, secret: &[u8; 32]) -> Option<Timestamp> {
    let text = fs::read_to_string(beside(store)).ok()?;
    let (name, millis) = text.trim_end().split_once(' ')?;
    let millis = millis.parse().ok()?;
    // A file with another name belongs to another store. A store that was made new is not a
    // restored one.
    (name == name_of(secret)).then(|| Timestamp::from_millis(millis))
}

/// Writes `store.seen`. To be called when the store itself has `seen` on its disk.
pub(super) fn write(store: &Path, secret: &[u8; 32], seen: Timestamp) {
    let text = format!("{} {}\n", name_of(secret), seen.millis());
    if let Err(error) = replace(&beside(store), &text) {
        // The store works without this file. The loss is only that a restored backup would not be
        // noticed.
        tracing::debug!(%error, "what the store has seen could not be written down");
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Written under another name and renamed, so that a crash leaves the old file or the new one,
    // never half a line.
    let passing = path.with_extension("seen.new");
    let options =
        OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).clone();
    options.open(&passing)?.write_all(text.as_bytes())?;
    fs::rename(passing, path)
}

fn beside(store: &Path) -> PathBuf {
    store.with_extension("seen")
}

/// A name that tells one store from another without revealing the store's secret.
fn name_of(secret: &[u8; 32]) -> String {
    Digest::of_list(&[b"the store's name", secret]).short()
}
