//! `kind = "file"`: a user source that is a file of the gateway itself, `users.toml`.
//!
//! The file is written by `tollhouse user`. Here only its path and its permissions are checked;
//! `users` reads the users in it. A missing file is an error, unless the caller is about to create
//! it.

use std::path::{Path, PathBuf};

use crate::config::files::FilePrivacy;
use crate::config::item::SpannedValue;
use crate::config::reader::TableReader;
use crate::settings::{AllowWeak, SourceKind};

/// Reads the keys of the section. With `may_be_missing` the file need not exist: the caller creates
/// it. With `bootstrap` it need not exist either, because the first start creates it. In both cases
/// a path in a folder that does not exist is found out when the file is written.
pub(super) fn read(table: &mut TableReader<'_>, may_be_missing: bool) -> SourceKind {
    let bootstrap = table.bool_or("bootstrap", false);
    let item = table.required("path", "the file that `tollhouse user add` writes");
    let path = item.as_ref().and_then(|item| read_path(item, bootstrap || may_be_missing));
    let allow_weak = AllowWeak::read(table);
    SourceKind::File { path: path.unwrap_or_default(), bootstrap, allow_weak }
}

fn read_path(item: &SpannedValue<'_>, may_be_missing: bool) -> Option<PathBuf> {
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
    // The file contains password hashes, so other users of the machine must not read it.
    item.read_path(&path, FilePrivacy::Secret)?;
    Some(path)
}
