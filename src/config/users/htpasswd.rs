//! `kind = "htpasswd"`: users in a file of Apache's `htpasswd`, with their groups in another file.
//!
//! Neither file is ever written by the gateway. Both must be readable when the configuration is
//! checked; `users` parses them.

use crate::config::files::FilePrivacy;
use crate::config::reader::TableReader;
use crate::settings::{AllowWeak, HtpasswdUsers};

impl HtpasswdUsers {
    pub(super) fn read(table: &mut TableReader<'_>) -> Self {
        let path = table.required("path", "the file that `htpasswd -B` writes");
        let path = path.and_then(|item| item.read_file(FilePrivacy::Secret));
        let groups = table.get("groups").and_then(|item| item.read_file(FilePrivacy::Public));
        Self {
            path: path.map(|(path, _)| path).unwrap_or_default(),
            groups: groups.map(|(path, _)| path),
            roles: table.plain_names("roles").unwrap_or_default(),
            allow_weak: AllowWeak::read(table),
            import: table.bool_or("import", false),
        }
    }
}
