//! Replacing a users file completely or not at all.
//!
//! A writer (the gateway when it re-hashes, or an operator's command) takes a lock on the file's
//! folder, reads, changes, and renames a finished copy over the file, with the same owner and mode.
//! A reader therefore sees either the old file or the new one, and two writers never lose each
//! other's change.
//!
//! The lock is on the folder, because each change makes the file another one: two writers could
//! hold locks on two different files.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FlockOperation};
use rustix::io::Errno;

use crate::secret;

/// Largest file that is read, in bytes: some hundred thousand users. More users belong in a
/// database.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A change takes milliseconds. After a second of waiting for the lock, the other writer is
/// probably stuck.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Mode bit: every user of the machine may write the file.
const WORLD_WRITABLE: u32 = 0o002;
/// Mode bit: every user of the machine may read the file.
const WORLD_READABLE: u32 = 0o004;

/// The reasons why a users file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{path} does not exist")]
    Missing { path: PathBuf },

    #[error("{path} exists already")]
    Exists { path: PathBuf },

    // The cause is not marked as `source`: the message contains it already, and a log that follows
    // the chain of causes would print it twice.
    #[error("could not {verb} {path}: {cause}")]
    Io { verb: &'static str, path: PathBuf, cause: io::Error },

    #[error("{path} is not UTF-8 text")]
    NotText { path: PathBuf },

    #[error("{path} is larger than {} MiB", MAX_BYTES / 1024 / 1024)]
    TooLarge { path: PathBuf },

    #[error("{path} can be written by everybody; take that away: chmod o-w {path}")]
    WorldWritable { path: PathBuf },

    #[error("another command is changing {path} and does not finish")]
    Locked { path: PathBuf },
}

fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AccessError {
    let path = path.to_owned();
    move |cause| match cause.kind() {
        io::ErrorKind::NotFound if verb == "read" => AccessError::Missing { path },
        _ => AccessError::Io { verb, path, cause },
    }
}

/// Reads the file as text. Fails if everybody on the machine may write it: any local user could
/// then give themselves a password and a role.
pub(super) fn read(path: &Path) -> Result<String, AccessError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let metadata = file.metadata().map_err(io_error("read", path))?;
    if metadata.is_file() && metadata.mode() & WORLD_WRITABLE != 0 {
        return Err(AccessError::WorldWritable { path: path.to_owned() });
    }
    // The length is bounded while reading; the length in the metadata may change meanwhile, and is
    // not known for a pipe. One byte more than the limit is read, to notice a file that is too
    // large.
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(AccessError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| AccessError::NotText { path: path.to_owned() })
}

/// True if every user of the machine may read the file.
pub(super) fn is_public(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.mode() & WORLD_READABLE != 0)
}

/// True if `replace` could write here. Root may write everything, so a file without any write
/// permission counts as one that its operator does not want changed.
pub(super) fn is_writable(path: &Path) -> bool {
    let Ok(target) = path.canonicalize() else { return false };
    let writable = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    let permitted = fs::metadata(&target).is_ok_and(|file| file.mode() & 0o222 != 0);
    permitted && writable(&target) && writable(folder_of(&target))
}

/// Replaces the text of the file by the result of `change`. If `change` refuses, the file is not
/// touched.
pub(super) fn replace<T, E: From<AccessError>>(
    path: &Path,
    change: impl FnOnce(&str) -> Result<(String, T), E>,
) -> Result<T, E> {
    // If `path` is a symbolic link, the file behind it is replaced, not the link.
    let target = path.canonicalize().map_err(io_error("read", path))?;
    let _lock = lock(&target)?;
    let old = read(&target)?;
    let (new, outcome) = change(&old)?;
    if new != old {
        // The order makes the change durable and atomic: the copy is complete and synced, then
        // renamed, then the folder is synced, so that the rename itself survives a power failure.
        let copy = TemporaryCopy::write(&target, &new)?;
        copy.take_over(&target)?;
        fs::rename(&copy.path, &target).map_err(io_error("replace", &target))?;
        sync_folder(&target)?;
    }
    Ok(outcome)
}

/// Makes the file, readable by its owner only, and its folder if need be: before the first start
/// there is no state folder. A file that root makes belongs to the owner of the folder. Fails with `Exists` if the file exists.
pub(super) fn create(path: &Path, text: &str) -> Result<(), AccessError> {
    let folder = folder_of(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(io_error("make", folder))?;
    let copy = TemporaryCopy::write(path, text)?;
    copy.give_to_owner_of(folder)?;
    // A hard link fails if the name exists; a rename would replace a file that another process made
    // meanwhile.
    fs::hard_link(&copy.path, path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => AccessError::Exists { path: path.to_owned() },
        _ => io_error("make", path)(source),
    })?;
    sync_folder(path)
}

/// A finished copy beside the file. It is removed when dropped, unless it was renamed.
struct TemporaryCopy {
    path: PathBuf,
    file: File,
}

impl TemporaryCopy {
    fn write(target: &Path, text: &str) -> Result<Self, AccessError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let random = u64::from_be_bytes(secret::random());
        let path = folder_of(target).join(format!(".{name}.{random:016x}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("write beside", target))?;
        let mut copy = Self { path, file };
        copy.file.write_all(text.as_bytes()).map_err(io_error("write", &copy.path))?;
        copy.file.sync_all().map_err(io_error("write", &copy.path))?;
        Ok(copy)
    }

    /// Gives a copy that root has written to the owner of its folder. An operator often makes the
    /// first file as root, and the gateway, which owns the folder, has to read it.
    fn give_to_owner_of(&self, folder: &Path) -> Result<(), AccessError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let owner = fs::metadata(folder).map_err(io_error("read", folder))?;
        std::os::unix::fs::fchown(&self.file, Some(owner.uid()), Some(owner.gid()))
            .map_err(io_error("give away", &self.path))
    }

    /// Gives the copy the owner and mode of the file that it replaces.
    fn take_over(&self, target: &Path) -> Result<(), AccessError> {
        let old = fs::metadata(target).map_err(io_error("read", target))?;
        let new = self.file.metadata().map_err(io_error("read", &self.path))?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::fchown(&self.file, Some(old.uid()), Some(old.gid()))
                .map_err(io_error("keep the owner of", target))?;
        }
        self.file
            .set_permissions(Permissions::from_mode(old.mode() & 0o7777))
            .map_err(io_error("keep the mode of", target))
    }
}

impl Drop for TemporaryCopy {
    fn drop(&mut self) {
        // After a rename there is no file of this name any more, and the error is ignored.
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes the lock on the file's folder; it is released when the returned file is dropped. Waits for
/// about a second.
fn lock(target: &Path) -> Result<File, AccessError> {
    let folder = File::open(folder_of(target)).map_err(io_error("lock", target))?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(io_error("lock", target)(error.into())),
        }
    }
    Err(AccessError::Locked { path: target.to_owned() })
}

fn sync_folder(target: &Path) -> Result<(), AccessError> {
    let folder = File::open(folder_of(target)).and_then(|folder| folder.sync_all());
    folder.map_err(io_error("write the folder of", target))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
