//! Writes files of the state folder whole or not at all, also if the power fails meanwhile.
//!
//! A draft is written beside the file, synchronised to the disk and renamed over it; then the folder
//! is synchronised, so that the rename itself lasts. Nothing is read here, and nobody is locked out:
//! one process has the state folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Creates a folder, and those above it that are missing, for the owner alone.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces the contents of `path`, or creates it with `mode`.
///
/// # Errors
/// If it cannot be written; the old file is then still there.
pub(crate) fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let draft = PathBuf::from(format!("{}.new", path.display()));
    // The draft of a start that was interrupted is removed. `create_new` then makes sure that the
    // file and its mode are new. An existing file could be readable for others, and a key would be
    // written into it.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
