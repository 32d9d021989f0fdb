//! `kind = "htpasswd"`: users in a file of Apache's `htpasswd`, with their groups in another file.
//!
//! Neither file is ever written by the gateway. Both must be readable when the configuration is
//! checked; `users` parses them.

use std::path::PathBuf;

use super::AllowWeak;
use crate::config::Config;
use crate::config::files::FilePrivacy;
use crate::config::out::TableWriter;
use crate::config::reader::TableReader;

/// An `htpasswd` file as a user source. A hash that the gateway made itself is kept in its own
/// store, never in this file.
#[derive(Clone, Debug, Default, PartialEq)]
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

    pub(super) fn print(&self, out: TableWriter, config: &Config) -> TableWriter {
        let groups = self.groups.as_deref().map(|path| config.relative(path).display());
        out.string("kind", "htpasswd")
            .path("path", config.relative(&self.path))
            .maybe("groups", groups)
            .texts("roles", self.roles.clone())
            .texts("allow_weak", self.allow_weak.names())
            .flag("import", self.import)
    }
}
