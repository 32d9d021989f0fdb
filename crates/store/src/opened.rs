//! The store that a gateway has opened, of whichever kind.

use std::path::Path;
use std::sync::Arc;

use crate::shared::SharedStore;
use crate::{BackupError, EmbeddedStore, Store, StoreError};

/// An open store. Almost everything works with `as_store`; an operation that only one kind of store
/// has is called on that kind.
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

    /// True if operations are carried out at the moment.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Embedded(store) => store.healthy().is_ok(),
            Self::Shared(store) => store.healthy().is_ok() && store.status().degraded.is_none(),
        }
    }

    /// Gives up what only one process can have, for a successor; `reclaim` undoes it. Several gateways
    /// may have a shared store, so nothing is given up there.
    ///
    /// # Errors
    /// As `EmbeddedStore::release`.
    pub async fn release(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.release().await,
            Self::Shared(_) => Ok(()),
        }
    }

    /// Takes back what was released.
    ///
    /// # Errors
    /// As `EmbeddedStore::reclaim`.
    pub fn reclaim(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.reclaim(),
            Self::Shared(_) => Ok(()),
        }
    }

    /// The schema of the store's file; `None` where it has none.
    pub fn file_schema(&self) -> Option<u64> {
        match self {
            Self::Embedded(_) => Some(EmbeddedStore::SCHEMA),
            Self::Shared(_) => None,
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
