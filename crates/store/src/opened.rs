//! The store that a gateway has opened, of whichever kind.

use std::path::Path;
use std::sync::Arc;

use crate::shared::SharedStore;
use crate::{BackupError, EmbeddedStore, Store};

/// An open store. Almost everything works with `as_store`; what only one kind can do is asked of
/// that kind.
#[derive(Clone, Debug)]
pub enum OpenedStore {
    /// A file in the state folder, which is this gateway's alone.
    Embedded(Arc<EmbeddedStore>),
    /// A database that several gateways share.
    Shared(Arc<SharedStore>),
}

impl OpenedStore {
    /// The store, whatever its kind.
    pub fn as_store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Shared(store) => store.clone(),
        }
    }

    /// Writes a consistent copy to a new file, while the store goes on.
    ///
    /// # Errors
    /// As `EmbeddedStore::backup`; a shared store has no file to copy.
    pub async fn backup(&self, to: &Path) -> Result<(), BackupError> {
        match self {
            Self::Embedded(store) => store.backup(to).await,
            Self::Shared(_) => Err(BackupError::Shared),
        }
    }

    /// The shared store, if it is one.
    pub fn shared(&self) -> Option<&Arc<SharedStore>> {
        match self {
            Self::Embedded(_) => None,
            Self::Shared(store) => Some(store),
        }
    }
}
