//! Makes the state folder, or restricts an existing one: only its owner may use it, because the
//! signing keys and the store are in it.
//!
//! The only exception is the group of `[admin] socket`, which may pass through the folder to the
//! socket. A folder that was open to others is closed with a warning, since its contents may have
//! been read before.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Access;

use super::StartError;
use crate::admin::socket_access::{allowed_bits, close_entries, grant_folder, may_give_to};
use crate::settings::{Config, SocketGroup};

const OWNER_ONLY: u32 = 0o700;

/// Creates the state folder, or takes away the permissions that others have on an existing one. The
/// error is `State` if the folder cannot be used, and `AdminGroup` if it cannot be given to the
/// group. A folder that cannot be restricted is only warned of.
pub(super) fn make_folder(config: &Config) -> Result<(), StartError> {
    let path = config.state.dir.as_path();
    let failed = |source| StartError::State { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path).map_err(failed)?;
    rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| failed(error.into()))?;
    let found = fs::metadata(path).map_err(failed)?;
    let access = &config.admin.socket;
    let mode = found.mode() & 0o777;
    let allowed = allowed_bits(&found, access);
    if mode & !allowed != 0 {
        tighten(path, mode, allowed);
    }
    match &access.group {
        Some(group) => {
            close_entries(path).map_err(StartError::AdminEntries)?;
            grant_folder(path, access).map_err(|source| refused(config, group, source))
        }
        None => Ok(()),
    }
}

fn tighten(path: &Path, mode: u32, allowed: u32) {
    let tightened = fs::set_permissions(path, Permissions::from_mode(mode & allowed));
    let folder = path.display();
    match tightened {
        Ok(()) => tracing::warn!(
            "the state folder {folder} was open to others ({mode:o}), and is closed to them now"
        ),
        Err(error) => tracing::warn!(
            "the state folder {folder} is open to others ({mode:o}) and cannot be closed to \
             them ({error}): chmod go-rwx {folder}"
        ),
    }
}

fn refused(config: &Config, group: &SocketGroup, source: io::Error) -> StartError {
    let path = config.state.dir.clone();
    let group = group.name.clone();
    StartError::AdminGroup { path, group, source }
}

/// The error of a start about the group that `[admin] socket` names.
pub(super) fn check_group(config: &Config) -> Option<StartError> {
    let group = config.admin.socket.group.as_ref()?;
    let source = io::ErrorKind::PermissionDenied.into();
    (!may_give_to(group)).then(|| refused(config, group, source))
}
