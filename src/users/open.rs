//! Opening the sources of a configuration.

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

/// What sources work with.
#[derive(Clone, Debug)]
pub struct Means {
    pub hashing: Arc<PasswordPool>,
    /// Where users are remembered who cannot be read without their password.
    pub store: Arc<dyn SessionStore>,
    pub clock: Clock,
}

/// Why a source could not be opened.
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
    /// True if the source is a file that is not there.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::File(error) => error.is_missing(),
            Self::Address(_) | Self::Trust(_) => false,
        }
    }
}

/// Opens one source. A server that cannot be reached now is no error: it may come back.
///
/// # Errors
/// When it could never work.
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

/// Reports what `open` would refuse, as far as that can be seen without a server.
///
/// # Errors
/// As `open`.
pub fn check(source: &config::UserSource) -> Result<(), OpenError> {
    match &source.kind {
        // It will be made at start. A file that may not be looked for may be there all the same.
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
