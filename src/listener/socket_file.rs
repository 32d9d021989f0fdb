//! The file of a unix socket, which has to be removed when nobody accepts from the socket any more.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The file of a unix socket. It is removed when the last worker has stopped accepting, unless
/// another process has taken the socket over.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Whether this process has to remove the file.
    is_ours: AtomicBool,
}

impl SocketFile {
    /// The file of a socket that this process has made.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let made = std::fs::symlink_metadata(path)?;
        let identity = (made.dev(), made.ino());
        Ok(Self { path: path.to_owned(), identity, is_ours: AtomicBool::new(true) })
    }

    /// The file of a socket that another process has still to remove, until `own`.
    pub(super) fn of_another(path: &Path) -> io::Result<Self> {
        let file = Self::new(path)?;
        file.disown();
        Ok(file)
    }

    /// The file is this process's to remove from now on.
    pub(super) fn own(&self) {
        self.is_ours.store(true, Ordering::Relaxed);
    }

    /// Leaves the file to another process.
    pub(super) fn disown(&self) {
        self.is_ours.store(false, Ordering::Relaxed);
    }

    /// Moves the file to `path`, in the place of a file that is there.
    pub(crate) fn rename(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_ours.load(Ordering::Relaxed) {
            return;
        }
        // Another gateway may have put its own socket at this path in the meantime, so device and
        // inode are compared.
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the socket file");
        }
    }
}
