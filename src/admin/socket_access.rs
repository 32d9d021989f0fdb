//! Access to `admin.sock`: the group and the mode that `[admin] socket` names.
//!
//! A group passes through the state folder (0710) to reach the socket by its name; it can list
//! nothing there, and whatever else lies in the folder is closed to it. The start sets this up, a
//! reload changes it.

use std::fs::{self, DirEntry, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

use super::SOCKET;
use crate::config::{AdminSocket, SocketGroup};

const OWNER_ONLY: u32 = 0o700;
/// A group may pass through to a file whose name it knows.
const SEARCHABLE: u32 = 0o010;
/// Reading and writing, by the owner of a socket.
const OWNER_BITS: u32 = 0o600;

/// Whether this process may give a file to `group`: it has to belong to it, unless it is root.
pub(crate) fn may_give_to(group: &SocketGroup) -> bool {
    let belongs = getegid().as_raw() == group.id
        || getgroups().is_ok_and(|all| all.iter().any(|one| one.as_raw() == group.id));
    belongs || geteuid().is_root()
}

/// The permission bits that a state folder of this group may have.
pub(crate) fn allowed_bits(folder: &fs::Metadata, access: &AdminSocket) -> u32 {
    let is_given = access.group.as_ref().is_some_and(|group| group.id == folder.gid());
    if is_given { OWNER_ONLY | SEARCHABLE } else { OWNER_ONLY }
}

/// Lets the group pass through the state folder; without one, nobody. What lies in the folder is
/// closed to others first: until now its own mode was all that kept them from, say, a log in there.
pub(crate) fn grant_folder(state: &Path, access: &AdminSocket) -> io::Result<()> {
    let mode = fs::metadata(state)?.mode() & OWNER_ONLY;
    let Some(group) = &access.group else {
        return fs::set_permissions(state, Permissions::from_mode(mode));
    };
    for entry in fs::read_dir(state)? {
        close(&entry?);
    }
    chown(state, None, Some(group.id))?;
    fs::set_permissions(state, Permissions::from_mode(mode | SEARCHABLE))
}

/// Closes a file or folder to everybody but its owner. Sockets are for others by their nature, and
/// links have no mode of their own.
fn close(entry: &DirEntry) {
    // A file that is gone meanwhile is open to nobody.
    let Ok(found) = entry.metadata() else { return };
    let is_open = found.mode() & 0o077 != 0 && (found.is_file() || found.is_dir());
    if !is_open {
        return;
    }
    let path = entry.path();
    let closed = fs::set_permissions(&path, Permissions::from_mode(found.mode() & OWNER_ONLY));
    let path = path.display();
    match closed {
        Ok(()) => tracing::warn!("{path} was open to others, and is the owner's alone now"),
        Err(error) => tracing::warn!(
            "{path} is open to others and cannot be closed to them ({error}): chmod go-rwx {path}"
        ),
    }
}

/// Gives the socket's file the group and the mode that the configuration says.
pub(super) fn grant_socket(socket: &Path, access: &AdminSocket) -> io::Result<()> {
    // The group's bits come after the group: until then they would be another group's.
    fs::set_permissions(socket, Permissions::from_mode(access.mode & OWNER_BITS))?;
    if let Some(group) = &access.group {
        chown(socket, None, Some(group.id))?;
    }
    fs::set_permissions(socket, Permissions::from_mode(access.mode))
}

/// Puts another access to work while the socket is served.
pub(super) fn change(state: &Path, access: &AdminSocket) -> io::Result<()> {
    grant_socket(&state.join(SOCKET), access)?;
    grant_folder(state, access)
}
