//! Opening the user sources of a configuration, and checking them without opening.
//!
//! `server` calls `open` for each `[[users]]` section; `tollhouse check` leads to `check`, which
//! must not need a server or write a file. A server that cannot be reached is no error in either:
//! it may be back when the first login comes.

use std::sync::Arc;

use super::file::{FileError, FileSource};
use super::format::Format;
use super::http::HttpSource;
use super::ldap::LdapSource;
use super::pool::PasswordPool;
use super::source::UserSource;
use super::sql::SqlSource;
use crate::clock::Clock;
use crate::config::{self, UserSourceKind};
use crate::database::{Address, AddressError};
use crate::session::SessionStore;
use crate::trust::TrustError;

/// Shared parts of the gateway that sources need.
#[derive(Clone, Debug)]
pub struct Means {
    pub hashing: Arc<PasswordPool>,
    /// Where facts about users are remembered whom a source shows only together with their
    /// password.
    pub store: Arc<dyn SessionStore>,
    pub clock: Clock,
}

/// The reasons why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    File(#[from] FileError),

    #[error("its url {0}")]
    Address(#[from] AddressError),

    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl OpenError {
    /// True if the source is a file that does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::File(error) => error.is_missing(),
            Self::Address(_) | Self::Trust(_) => false,
        }
    }
}

/// Opens one source. A server that cannot be reached now is no error, because it may come back.
///
/// # Errors
///
/// If the source could never work, for example because a file is missing or wrong.
pub fn open(source: &config::UserSource, means: &Means) -> Result<Arc<dyn UserSource>, OpenError> {
    match &source.kind {
        UserSourceKind::File { path, allow_weak, .. } => {
            let (allow_weak, pool) = (allow_weak.clone(), means.hashing.clone());
            Ok(FileSource::open_allowing(&source.name, path, allow_weak, pool)?)
        }
        UserSourceKind::Htpasswd(htpasswd) => {
            Ok(FileSource::open_htpasswd(&source.name, htpasswd, means)?)
        }
        UserSourceKind::Sql(sql) => Ok(SqlSource::open(&source.name, sql, means)?),
        UserSourceKind::Ldap(ldap) => Ok(LdapSource::open(&source.name, ldap)?),
        UserSourceKind::Http(http) => Ok(HttpSource::open(&source.name, http, means)?),
    }
}

/// Reports the errors that `open` would report, as far as they can be found without a server.
///
/// # Errors
///
/// As for `open`.
pub fn check(source: &config::UserSource) -> Result<(), OpenError> {
    match &source.kind {
        // The first start will make this file. A file that cannot be looked for, because of
        // permissions, is not treated as missing: it may exist, and then its mistakes should be
        // reported.
        UserSourceKind::File { path, bootstrap: true, .. }
            if matches!(path.try_exists(), Ok(false)) =>
        {
            Ok(())
        }
        UserSourceKind::File { path, allow_weak, .. } => {
            let format = Format::Toml { allow_weak: allow_weak.clone() };
            Ok(FileSource::check(&source.name, path, &format)?)
        }
        UserSourceKind::Htpasswd(htpasswd) => {
            let format = Format::Htpasswd(htpasswd.clone());
            Ok(FileSource::check(&source.name, &htpasswd.path, &format)?)
        }
        UserSourceKind::Sql(sql) => {
            Ok(Address::parse(&sql.database.url, &sql.database.folder).map(drop)?)
        }
        UserSourceKind::Ldap(_) | UserSourceKind::Http(_) => Ok(()),
    }
}
