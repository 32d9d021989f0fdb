//! The folder with the signing keys: reads and writes key files safely.
//!
//! Files are written atomically (temporary file, fsync, rename, fsync of the folder), with mode
//! 0600 in a folder of mode 0700. Reading refuses everything that another user could have placed or
//! changed: a folder or files that everybody may write, and files of other owners. Only `ring`
//! calls this; the content of a file is not interpreted here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use zeroize::Zeroizing;

use super::{BadKey, KeyError};
use crate::clock::Timestamp;

/// Largest file that is read, in bytes. No key is larger; a wrong path must not fill the memory.
const MAX_FILE: u64 = 64 * 1024;

/// Extensions of files that are read as keys. Other files in the folder are ignored.
const EXTENSIONS: [&str; 4] = ["pem", "key", "jwk", "json"];

/// One key file as read.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) text: Zeroizing<String>,
    pub(super) modified: Timestamp,
}

/// A fingerprint of the folder: path, inode, length and change time of each key file. It changes if
/// a file is added, removed or replaced.
pub(super) type FolderState = Vec<(PathBuf, u64, u64, i64)>;

/// Creates the folder if it is missing, readable by this user only.
pub(super) fn make(dir: &Path) -> Result<(), KeyError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| io_error(dir, source))
}

/// The key files in order of their names, with the facts that reveal a change.
pub(super) fn look(dir: &Path) -> Result<FolderState, KeyError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| io_error(dir, source))? {
        let path = entry.map_err(|source| io_error(dir, source))?.path();
        // Hidden files are skipped: Kubernetes mounts secrets through hidden folders of links, and
        // editors leave hidden copies.
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let known =
            path.extension().is_some_and(|ext| EXTENSIONS.iter().any(|known| ext == *known));
        if hidden || !known {
            continue;
        }
        // `metadata` follows links, because a mounted secret is a folder of links. A replaced
        // target is then seen as a change.
        let facts = fs::metadata(&path).map_err(|source| io_error(&path, source))?;
        if facts.is_file() {
            found.push((path, facts.ino(), facts.len(), changed(&facts)));
        }
    }
    found.sort();
    Ok(found)
}

/// The file's modification time in nanoseconds.
fn changed(facts: &fs::Metadata) -> i64 {
    facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec())
}

/// Reads every key file. `warnings` receives sentences for the operator.
///
/// # Errors
/// A folder or file that cannot be read, that everybody may write, or that belongs to another user;
/// a file that is too large or not text.
pub(super) fn read(dir: &Path, warnings: &mut Vec<String>) -> Result<Vec<KeyFile>, KeyError> {
    let facts = fs::metadata(dir).map_err(|source| io_error(dir, source))?;
    // Everybody may create files in a sticky folder (mounted secrets are such), but may not replace
    // files of others. The owner of each file is checked in `read_file`. Without the sticky bit
    // another user could replace a key by one of their own and sign tokens with it.
    if facts.mode() & 0o002 != 0 && facts.mode() & 0o1000 == 0 {
        let source = BadKey("everybody may write to this folder; remove the permission");
        return Err(KeyError::File { path: dir.to_owned(), source });
    }
    look(dir)?.into_iter().map(|(path, ..)| read_file(path, warnings)).collect()
}

/// Reads one key file after checking its permissions.
fn read_file(path: PathBuf, warnings: &mut Vec<String>) -> Result<KeyFile, KeyError> {
    let file = File::open(&path).map_err(|source| io_error(&path, source))?;
    // The permissions are read from the open file and not from the path. If another process
    // replaced the file between check and reading, then the check would otherwise be of another
    // file.
    let facts = file.metadata().map_err(|source| io_error(&path, source))?;
    let refuse = |what| Err(KeyError::File { path: path.clone(), source: BadKey(what) });
    if facts.mode() & 0o002 != 0 {
        return refuse("everybody may write to it; remove the permission");
    }
    // A file of root is accepted because secrets are often mounted with root as the owner.
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
    // `take` bounds the reading as well: the file could grow after its length was checked.
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

/// Writes a new file of the folder. After a power loss the file is complete or absent.
///
/// # Errors
/// The folder or the file cannot be written.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, KeyError> {
    let path = dir.join(name);
    replace(dir, &path, text)?;
    Ok(path)
}

/// Replaces a file of the folder. After a power loss the file has the old or the new content.
///
/// # Errors
/// The folder or the file cannot be written.
pub(super) fn replace(dir: &Path, path: &Path, text: &str) -> Result<(), KeyError> {
    let temporary = path.with_extension("new");
    let written = write_new(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| io_error(path, source))?;
    sync(dir)
}

/// Writes a temporary file and flushes it to the disk. `fsync` comes before the rename: otherwise
/// the renamed file could be empty after a power loss.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // An interrupted write may have left a temporary file. It can be removed: its key was never in
    // use.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` refuses to follow a link that somebody placed at this path. The mode is set at
    // creation, so the key is at no moment readable by others. A later `chmod` would leave a moment
    // in which another user could open the file.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes a file durably. A file that is already gone is no error.
pub(super) fn remove(dir: &Path, path: &Path) -> Result<(), KeyError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other.map_err(|source| io_error(path, source))?,
    }
    sync(dir)
}

/// Flushes the folder, so that a rename or removal in it survives a power loss.
fn sync(dir: &Path) -> Result<(), KeyError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(dir, source))
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), source }
}
