//! `kind = "htpasswd"`: users in a file of Apache's `htpasswd`, with their groups beside it.

use std::path::PathBuf;

use super::AllowWeak;
use crate::config::Config;
use crate::config::files::Privacy;
use crate::config::out::Out;
use crate::config::reader::Table;

/// An `htpasswd` file. It is never written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Htpasswd {
    pub path: PathBuf,
    /// `group: user user`; each group is a role of its users.
    pub groups: Option<PathBuf>,
    /// Roles of every user.
    pub roles: Vec<String>,
    pub allow_weak: AllowWeak,
    /// Keep an argon2id hash here after the first login, which then decides for as long as the
    /// file's own stays the same.
    pub import: bool,
}

impl Htpasswd {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let path = table.required("path", "the file that `htpasswd -B` writes");
        let path = path.and_then(|item| item.read_file(Privacy::Secret));
        let groups = table.get("groups").and_then(|item| item.read_file(Privacy::Public));
        Self {
            path: path.map(|(path, _)| path).unwrap_or_default(),
            groups: groups.map(|(path, _)| path),
            roles: table.words("roles").unwrap_or_default(),
            allow_weak: AllowWeak::read(table),
            import: table.bool_or("import", false),
        }
    }

    pub(super) fn print(&self, out: Out, config: &Config) -> Out {
        let groups = self.groups.as_deref().map(|path| config.relative(path).display());
        out.text("kind", "htpasswd")
            .path("path", config.relative(&self.path))
            .maybe("groups", groups)
            .texts("roles", self.roles.clone())
            .texts("allow_weak", self.allow_weak.names())
            .flag("import", self.import)
    }
}
