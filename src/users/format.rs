//! The file formats of users: which texts a source consists of, and how they are parsed.
//!
//! `watched_file` reads and watches the texts; `user_table` and `htpasswd` parse them. This file only
//! connects the two, so that a further format needs no change elsewhere.

use std::path::Path;

use super::atomic_write::{self, AccessError};
use super::htpasswd;
use super::problem::FileProblems;
use super::user_table::{self, UserTable};
use crate::secret::Digest;
use crate::settings::{AllowWeak, HtpasswdUsers};

/// A file format for users.
#[derive(Clone, Debug)]
pub(super) enum FileFormat {
    /// The gateway's own format, `users.toml`.
    Toml { allow_weak: AllowWeak },
    /// Apache's `htpasswd`, with an optional file of groups beside it.
    Htpasswd(HtpasswdUsers),
}

/// The contents of the files of one source. They are compared by digest to notice a change.
#[derive(Debug)]
pub(super) struct SourceTexts {
    users: String,
    groups: Option<String>,
}

impl From<&str> for SourceTexts {
    fn from(users: &str) -> Self {
        Self { users: users.to_owned(), groups: None }
    }
}

impl SourceTexts {
    pub(super) fn digest(&self) -> Digest {
        let groups = self.groups.as_deref().unwrap_or_default();
        Digest::of_list(&[self.users.as_bytes(), groups.as_bytes()])
    }
}

impl FileFormat {
    fn groups(&self) -> Option<&Path> {
        match self {
            Self::Toml { .. } => None,
            Self::Htpasswd(htpasswd) => htpasswd.groups.as_deref(),
        }
    }

    /// True if a weak hash can be replaced by an Argon2id hash in the same file.
    pub(super) fn takes_argon2(&self) -> bool {
        // Other programs that read an `htpasswd` file could not verify an Argon2id hash.
        matches!(self, Self::Toml { .. })
    }

    /// Reads the file at `path`, and the file of groups where there is one.
    pub(super) fn texts(&self, path: &Path) -> Result<SourceTexts, AccessError> {
        let groups = self.groups().map(atomic_write::read).transpose()?;
        Ok(SourceTexts { users: atomic_write::read(path)?, groups })
    }

    /// Parses the texts into the users of source `source`. Problems name the file they are in.
    pub(super) fn parse(
        &self,
        texts: &SourceTexts,
        source: &str,
        path: &Path,
    ) -> Result<UserTable, FileProblems> {
        let in_file = |path: &Path| {
            let file = path.display().to_string();
            move |list| FileProblems { file, list }
        };
        match self {
            Self::Toml { allow_weak } => {
                user_table::read(&texts.users, source, allow_weak).map_err(in_file(path))
            }
            Self::Htpasswd(htpasswd) => {
                let lines = htpasswd::read_users(&texts.users, &htpasswd.allow_weak)
                    .map_err(in_file(path))?;
                let groups = htpasswd::read_groups(texts.groups.as_deref().unwrap_or_default())
                    .map_err(in_file(htpasswd.groups.as_deref().unwrap_or(path)))?;
                Ok(htpasswd::table(lines, &htpasswd.roles, &groups, source))
            }
        }
    }
}
