//! How the users of a file are written: which texts there are, and what they mean.

use std::path::Path;

use super::htpasswd;
use super::problem::Problems;
use super::table::{self, Table};
use super::write::{self, AccessError};
use crate::config::{AllowWeak, Htpasswd};
use crate::secret::Digest;

/// A way to write users down.
#[derive(Clone, Debug)]
pub(super) enum Format {
    /// `users.toml`.
    Toml { allow_weak: AllowWeak },
    /// Apache's `htpasswd`, with a file of groups beside it.
    Htpasswd(Htpasswd),
}

/// What stands in the files of one source.
#[derive(Debug)]
pub(super) struct Texts {
    users: String,
    groups: Option<String>,
}

impl From<&str> for Texts {
    fn from(users: &str) -> Self {
        Self { users: users.to_owned(), groups: None }
    }
}

impl Texts {
    pub(super) fn digest(&self) -> Digest {
        let groups = self.groups.as_deref().unwrap_or_default();
        Digest::of_list(&[self.users.as_bytes(), groups.as_bytes()])
    }
}

impl Format {
    fn groups(&self) -> Option<&Path> {
        match self {
            Self::Toml { .. } => None,
            Self::Htpasswd(htpasswd) => htpasswd.groups.as_deref(),
        }
    }

    /// Whether a hash can be replaced where it stands.
    pub(super) fn takes_argon2(&self) -> bool {
        // Nobody else who reads an `htpasswd` file could check one.
        matches!(self, Self::Toml { .. })
    }

    /// Reads the file at `path`, and the groups where there are any.
    pub(super) fn texts(&self, path: &Path) -> Result<Texts, AccessError> {
        let groups = self.groups().map(write::read).transpose()?;
        Ok(Texts { users: write::read(path)?, groups })
    }

    /// The users of source `source` in the file at `path`.
    pub(super) fn parse(
        &self,
        texts: &Texts,
        source: &str,
        path: &Path,
    ) -> Result<Table, Problems> {
        let in_file = |path: &Path| {
            let file = path.display().to_string();
            move |list| Problems { file, list }
        };
        match self {
            Self::Toml { allow_weak } => {
                table::read(&texts.users, source, allow_weak).map_err(in_file(path))
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
