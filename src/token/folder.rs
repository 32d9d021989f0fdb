//! The folder that holds signing keys.
//!
//! Files are written whole or not at all (temporary file, fsync, rename, fsync of the folder),
//! 0600 in a folder of 0700. Reading refuses what somebody else could have put there: files and
//! folders that others may write, files of other owners.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use zeroize::Zeroizing;

use super::{BadKey, KeyError};
use crate::clock::Timestamp;

/// Larger than any key; a mistake in the path must not fill the memory.
const MAX_FILE: u64 = 64 * 1024;

/// Names that are read as keys; anything else in the folder is left alone.
const EXTENSIONS: [&str; 4] = ["pem", "key", "jwk", "json"];

/// One key file.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) text: Zeroizing<String>,
    pub(super) modified: Timestamp,
}

/// What a folder looked like: changes when a file is added, removed or replaced.
pub(super) type Look = Vec<(PathBuf, u64, u64, i64)>;

/// Makes the folder if it is missing.
pub(super) fn make(dir: &Path) -> Result<(), KeyError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| io_error(dir, source))
}

/// Paths of the key files, in order of their names, with what tells a change.
pub(super) fn look(dir: &Path) -> Result<Look, KeyError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| io_error(dir, source))? {
        let path = entry.map_err(|source| io_error(dir, source))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let known =
            path.extension().is_some_and(|ext| EXTENSIONS.iter().any(|known| ext == *known));
        if hidden || !known {
            continue;
        }
        // Follows links: a mounted secret is a folder of links.
        let facts = fs::metadata(&path).map_err(|source| io_error(&path, source))?;
        if facts.is_file() {
            found.push((path, facts.ino(), facts.len(), changed(&facts)));
        }
    }
    found.sort();
    Ok(found)
}

/// When the file was changed, in nanoseconds.
fn changed(facts: &fs::Metadata) -> i64 {
    facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec())
}

/// Reads every key file; warnings are sentences for the operator.
pub(super) fn read(dir: &Path, warnings: &mut Vec<String>) -> Result<Vec<KeyFile>, KeyError> {
    let facts = fs::metadata(dir).map_err(|source| io_error(dir, source))?;
    // A sticky folder (as mounted secrets are) protects the files in it; their owners are checked.
    if facts.mode() & 0o002 != 0 && facts.mode() & 0o1000 == 0 {
        let source = BadKey("everybody may write to this folder; remove the permission");
        return Err(KeyError::File { path: dir.to_owned(), source });
    }
    look(dir)?.into_iter().map(|(path, ..)| read_file(path, warnings)).collect()
}

fn read_file(path: PathBuf, warnings: &mut Vec<String>) -> Result<KeyFile, KeyError> {
    let file = File::open(&path).map_err(|source| io_error(&path, source))?;
    let facts = file.metadata().map_err(|source| io_error(&path, source))?;
    let refuse = |what| Err(KeyError::File { path: path.clone(), source: BadKey(what) });
    if facts.mode() & 0o002 != 0 {
        return refuse("everybody may write to it; remove the permission");
    }
    if facts.uid() != 0 && facts.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs neither to this process's user nor to root");
    }
    if facts.len() > MAX_FILE {
        return refuse("it is too large for a key");
    }
    if facts.mode() & 0o044 != 0 {
        warnings.push(format!("`{}` can be read by others: chmod 600", path.display()));
    }
    let mut text = Zeroizing::new(String::new());
    match file.take(MAX_FILE).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return refuse("it is not text");
        }
        Err(source) => return Err(io_error(&path, source)),
    }
    let modified = facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = Timestamp::default().plus(modified.unwrap_or_default());
    Ok(KeyFile { path, text, modified })
}

/// Writes a file so that after a power loss it is there whole or not at all.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, KeyError> {
    let path = dir.join(name);
    replace(dir, &path, text)?;
    Ok(path)
}

/// Writes over a file of the folder, with the same promise.
pub(super) fn replace(dir: &Path, path: &Path, text: &str) -> Result<(), KeyError> {
    let temporary = path.with_extension("new");
    let written = write_new(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| io_error(path, source))?;
    sync(dir)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // A rest of an interrupted write; its key never signed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes a file for good.
pub(super) fn remove(dir: &Path, path: &Path) -> Result<(), KeyError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other.map_err(|source| io_error(path, source))?,
    }
    sync(dir)
}

fn sync(dir: &Path) -> Result<(), KeyError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(dir, source))
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), source }
}
