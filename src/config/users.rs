//! `[[users]]`: where users come from.

use std::path::{Path, PathBuf};

use super::files::Privacy;
use super::item::Item;
use super::reader::Table;
use super::suggest::Names;

/// A source of users, asked in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSource {
    pub name: String,
    pub kind: UserSourceKind,
}

/// What a source is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum UserSourceKind {
    /// `users.toml`.
    File {
        path: PathBuf,
        /// Make one user at first start if the file is missing.
        bootstrap: bool,
    },
}

impl UserSource {
    /// `may_be_missing`: the caller is about to make the file.
    pub(super) fn read(mut table: Table<'_>, names: &mut Names, may_be_missing: bool) -> Self {
        let name = names.read(&mut table, None);
        let kind = table.required("kind", "write \"file\"");
        let bootstrap = table.bool_or("bootstrap", false);
        match kind.as_ref().and_then(Item::text) {
            Some("file") | None => {}
            Some("htpasswd" | "sql" | "ldap" | "http") => {
                // The keys of such a source are not to be reported one by one as well.
                table.entries();
                report(&kind, "is not available in this version: write \"file\"");
                return Self {
                    name,
                    kind: UserSourceKind::File { path: PathBuf::new(), bootstrap },
                };
            }
            Some(_) => report(&kind, "no such kind of source; there is \"file\""),
        }
        let item = table.required("path", "the file that `tollhouse user add` writes");
        let path = item.as_ref().and_then(|item| read_path(item, bootstrap || may_be_missing));
        Self { name, kind: UserSourceKind::File { path: path.unwrap_or_default(), bootstrap } }
    }
}

fn read_path(item: &Item<'_>, may_be_missing: bool) -> Option<PathBuf> {
    let path = item.path()?;
    if !Path::new(&path).exists() {
        if may_be_missing {
            return Some(path);
        }
        item.issue(
            "there is no such file: make it with `tollhouse user add`, or write bootstrap = true \
             for a first user with a random password",
        );
        return None;
    }
    item.read_path(&path, Privacy::Secret)?;
    Some(path)
}

fn report(item: &Option<Item<'_>>, remedy: &str) {
    if let Some(item) = item {
        item.issue(remedy);
    }
}
