//! `kind = "htpasswd"`: users in a file of Apache's `htpasswd`, with their groups in another file.
//! Neither file is ever written by the gateway.

use std::path::PathBuf;

use serde::Serialize;

use super::weak::AllowWeak;

/// An `htpasswd` file as a user source. A hash that the gateway made itself is kept in its own
/// store, never in this file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HtpasswdUsers {
    pub path: PathBuf,
    /// Lines of the form `group: user user`. Each group is a role of its users.
    pub groups: Option<PathBuf>,
    /// Roles that every user of the file has.
    pub roles: Vec<String>,
    pub allow_weak: AllowWeak,
    /// After the first login, keep an argon2id hash in the gateway's store. That hash decides from
    /// then on, for as long as the hash in the file stays the same. When somebody changes the
    /// password with `htpasswd`, the new one counts at once.
    pub import: bool,
}
