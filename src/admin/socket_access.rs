//! Access to `admin.sock`: the group and the mode that `[admin] socket` names.
//!
//! The group passes through the state folder (mode 0710) and reaches the socket by its name. It can
//! list nothing in the folder, and all other files in it are closed to it. The start sets this up,
//! and a reload changes it. Everybody who can connect to the socket may give every command.

use std::fs::{self, DirEntry, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{getegid, geteuid, getgroups};

use super::SOCKET;
use crate::settings::{AdminSocket, SocketGroup};

const OWNER_ONLY: u32 = 0o700;
/// The group may reach a file whose name it knows, but not list the folder.
const SEARCHABLE: u32 = 0o010;
/// Reading and writing by the owner of a socket.
const OWNER_BITS: u32 = 0o600;

/// The changes of the access while the socket is served. A connection that the group's access has
/// let in gives commands only until the next change: the kernel compares the peer with the group
/// when it connects, and never again.
#[derive(Debug, Default)]
pub(crate) struct AccessChanges(AtomicU64);

impl AccessChanges {
    /// The number of changes until now.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Puts another access into effect.
    pub(super) fn change(&self, state: &Path, access: &AdminSocket) -> io::Result<()> {
        // The first step ends the connections under the old access, the second one those that the
        // kernel has let in under it meanwhile.
        self.0.fetch_add(1, Ordering::AcqRel);
        let changed = grant_socket(&state.join(SOCKET), access);
        let changed = changed.and_then(|()| grant_folder(state, access));
        self.0.fetch_add(1, Ordering::AcqRel);
        changed
    }
}

/// True if this process may give a file to `group`: it must be a member of the group, or root. The
/// kernel refuses it otherwise (`chown(2)`); asking first lets `check` report it.
pub(crate) fn may_give_to(group: &SocketGroup) -> bool {
    let belongs = getegid().as_raw() == group.id
        || getgroups().is_ok_and(|all| all.iter().any(|one| one.as_raw() == group.id));
    belongs || geteuid().is_root()
}

/// The permission bits that a state folder with this group may have. All other bits are taken away.
pub(crate) fn allowed_bits(folder: &fs::Metadata, access: &AdminSocket) -> u32 {
    let is_given = access.group.as_ref().is_some_and(|group| group.id == folder.gid());
    if is_given { OWNER_ONLY | SEARCHABLE } else { OWNER_ONLY }
}

/// Lets the group pass through the state folder; without a group, nobody. The contents of the
/// folder are closed to others first: until now the folder's mode was the only thing that kept
/// others from a log file in it, for example. The folder's mode is changed last, when nothing in it
/// is open any more.
///
/// # Errors
/// If the folder cannot be given to the group, or something in it cannot be closed.
pub(crate) fn grant_folder(state: &Path, access: &AdminSocket) -> io::Result<()> {
    let mode = fs::metadata(state)?.mode() & OWNER_ONLY;
    let Some(group) = &access.group else {
        return fs::set_permissions(state, Permissions::from_mode(mode));
    };
    close_entries(state)?;
    chown(state, None, Some(group.id))?;
    fs::set_permissions(state, Permissions::from_mode(mode | SEARCHABLE))
}

/// Closes everything in the state folder to everybody but its owner. Sockets are left out, because
/// they are made for others, and so are links, which have no mode of their own.
///
/// # Errors
/// The first entry that is open to others and cannot be closed, with the command that would do it.
pub(crate) fn close_entries(state: &Path) -> io::Result<()> {
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        match close(&entry) {
            // A file that was removed in the meantime needs no change.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = entry.path();
                let path = path.display();
                return Err(io::Error::other(format!(
                    "{path} is open to others and cannot be closed to them ({error}): chmod go-rwx \
                     {path}"
                )));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

fn close(entry: &DirEntry) -> io::Result<()> {
    let found = entry.metadata()?;
    let is_open = found.mode() & 0o077 != 0 && (found.is_file() || found.is_dir());
    if !is_open {
        return Ok(());
    }
    let path = entry.path();
    fs::set_permissions(&path, Permissions::from_mode(found.mode() & OWNER_ONLY))?;
    tracing::warn!("{} was open to others, and is the owner's alone now", path.display());
    Ok(())
}

/// Gives the socket's file the group and the mode of the configuration.
pub(super) fn grant_socket(socket: &Path, access: &AdminSocket) -> io::Result<()> {
    // The bits of the group are set after the group itself. In the other order they would hold for
    // the old group for a moment.
    fs::set_permissions(socket, Permissions::from_mode(access.mode & OWNER_BITS))?;
    if let Some(group) = &access.group {
        chown(socket, None, Some(group.id))?;
    }
    fs::set_permissions(socket, Permissions::from_mode(access.mode))
}
