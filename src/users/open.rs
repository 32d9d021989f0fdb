//! Opening the sources of a configuration.

use std::sync::Arc;

use super::file::{FileError, FileSource};
use super::http::HttpSource;
use super::pool::PasswordPool;
use super::source::UserSource;
use crate::clock::Clock;
use crate::config::{self, UserSourceKind};
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

    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl OpenError {
    /// True if the source is a file that is not there.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::File(error) => error.is_missing(),
            Self::Trust(_) => false,
        }
    }
}

/// Opens one source. A server that cannot be reached now is no error: it may come back.
///
/// # Errors
/// When it could never work.
pub fn open(source: &config::UserSource, means: &Means) -> Result<Arc<dyn UserSource>, OpenError> {
    match &source.kind {
        UserSourceKind::File { path, .. } => {
            Ok(FileSource::open(&source.name, path, means.hashing.clone())?)
        }
        UserSourceKind::Http(http) => Ok(HttpSource::open(&source.name, http, means)?),
    }
}
