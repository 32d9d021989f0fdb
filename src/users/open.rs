//! Opening the user sources of a configuration, and checking them without opening.
//!
//! `server` calls `open` for each `[[users]]` section; `tollhouse check` leads to `check`, which
//! must not need a server or write a file. A server that cannot be reached is no error in either:
//! it may be back when the first login comes.

use std::sync::Arc;

use super::context::SourceContext;
use super::error::FileError;
use super::file::FileSource;
use super::format::FileFormat;
use super::http::HttpSource;
#[cfg(feature = "ldap")]
use super::ldap::LdapSource;
use super::source::UserSource;
use super::sql::SqlSource;
use crate::database::{AddressError, DatabaseAddress};
use crate::features::LeftOut;
use crate::settings::{self, SourceKind};
use crate::tls_roots::TrustError;

/// The reasons why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceOpenError {
    #[error(transparent)]
    File(#[from] FileError),

    #[error("its url {0}")]
    Address(#[from] AddressError),

    #[error(transparent)]
    Trust(#[from] TrustError),

    #[error(transparent)]
    LeftOut(#[from] LeftOut),
}

impl SourceOpenError {
    /// True if the source is a file that does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::File(error) => error.is_missing(),
            Self::Address(_) | Self::Trust(_) | Self::LeftOut(_) => false,
        }
    }
}

/// Opens one source. A server that cannot be reached now is no error, because it may come back.
///
/// # Errors
///
/// If the source could never work, for example because a file is missing or wrong.
pub fn open(
    source: &settings::SourceSettings,
    context: &SourceContext,
) -> Result<Arc<dyn UserSource>, SourceOpenError> {
    match &source.kind {
        SourceKind::File { path, allow_weak, .. } => {
            let allow_weak = allow_weak.clone();
            let pool = context.hashing.clone();
            Ok(FileSource::open_allowing(&source.name, path, allow_weak, pool)?)
        }
        SourceKind::Htpasswd(htpasswd) => {
            Ok(FileSource::open_htpasswd(&source.name, htpasswd, context)?)
        }
        SourceKind::Sql(sql) => Ok(SqlSource::open(&source.name, sql, context)?),
        #[cfg(feature = "ldap")]
        SourceKind::Ldap(ldap) => Ok(LdapSource::open(&source.name, ldap)?),
        #[cfg(not(feature = "ldap"))]
        SourceKind::Ldap(_) => Err(LeftOut("ldap").into()),
        SourceKind::Http(http) => Ok(HttpSource::open(&source.name, http, context)?),
    }
}

/// Reports the errors that `open` would report, as far as they can be found without a server.
///
/// # Errors
///
/// As for `open`.
pub fn check(source: &settings::SourceSettings) -> Result<(), SourceOpenError> {
    match &source.kind {
        // The first start will make this file. A file that cannot be looked for, because of
        // permissions, is not treated as missing: it may exist, and then its mistakes should be
        // reported.
        SourceKind::File { path, bootstrap: true, .. }
            if matches!(path.try_exists(), Ok(false)) =>
        {
            Ok(())
        }
        SourceKind::File { path, allow_weak, .. } => {
            let format = FileFormat::Toml { allow_weak: allow_weak.clone() };
            Ok(FileSource::check(&source.name, path, &format)?)
        }
        SourceKind::Htpasswd(htpasswd) => {
            let format = FileFormat::Htpasswd(htpasswd.clone());
            Ok(FileSource::check(&source.name, &htpasswd.path, &format)?)
        }
        SourceKind::Sql(sql) => {
            Ok(DatabaseAddress::parse(&sql.database.url, &sql.database.folder).map(drop)?)
        }
        SourceKind::Ldap(_) | SourceKind::Http(_) => Ok(()),
    }
}
