//! Moves the store of a configuration to a sealed file and back, without a gateway.

use std::path::Path;

use super::shared_store::{open_database, shared_options};
use super::store::store_options;
use super::{ServerOptions, StartError};
use crate::clock::Clock;
use crate::gateway;
use crate::runtime::GatewayThreads;
use crate::session::shared::{Seal, SharedStore};
use crate::session::transfer::{
    ExportKey, ImportTarget, RowCounts, TransferError, export_file, import_file,
};
use crate::session::{EmbeddedOptions, EmbeddedStore, OpenedStore};
use crate::settings::{Config, StoreSettings};
use crate::token::{KeyError, export_keys, import_keys};

/// A summary of a store that was moved.
#[derive(Clone, Debug)]
pub struct MovedStore {
    /// The kind of store that it was moved from or to.
    pub kind: &'static str,
    pub counts: RowCounts,
}

/// The reason why a store was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Open(#[from] StartError),

    #[error(transparent)]
    Transfer(#[from] TransferError),

    #[error("the signing keys cannot be moved along")]
    ExportKeys(#[source] KeyError),

    #[error(
        "the store was imported, and its signing keys were not: nobody's token would be accepted; \
         mend that, empty the store, and import again"
    )]
    ImportKeys(#[source] KeyError),
}

/// Writes the content of the configured store to a new file. Blocks.
///
/// # Errors
/// If the store cannot be opened, a gateway has it, or the file cannot be written.
pub fn export_store(config: &Config, file: &Path, seal: &Seal) -> Result<MovedStore, MoveError> {
    let options = ServerOptions::default();
    let threads = GatewayThreads::start(1, 2).map_err(StartError::Threads)?;
    let runtime = threads.background().handle();
    let clock = &options.clock;
    let store = match &config.store {
        StoreSettings::Embedded => {
            // A store that is not there must not be made: nothing would be exported.
            let options = EmbeddedOptions { keys_exist: true, ..store_options(config, clock) };
            OpenedStore::Embedded(EmbeddedStore::open(options).map_err(StartError::from)?)
        }
        StoreSettings::Postgres(settings) | StoreSettings::Redis(settings) => {
            runtime.block_on(async {
                let database =
                    open_database(&config.store, runtime).await.map_err(StartError::from)?;
                let options = shared_options(config, settings, clock);
                let opened = SharedStore::open(database, options, runtime).await;
                opened.map(OpenedStore::Shared).map_err(StartError::SharedStore)
            })?
        }
    };
    let kind = kind(&config.store);
    let key = ExportKey::new(seal);
    let counts = runtime.block_on(async {
        let key_options = gateway::key_options(config, clock.now());
        let managed = gateway::managed_keys(config);
        let shared = store.shared().map(AsRef::as_ref);
        let counts = match export_keys(&key_options, &managed, shared).await {
            Ok(keys) => {
                let counts = export_file(&store, file, &key, kind, keys, clock.now()).await;
                counts.map_err(MoveError::from)
            }
            Err(error) => Err(MoveError::ExportKeys(error)),
        };
        store.as_store().close().await;
        counts
    })?;
    Ok(MovedStore { kind, counts })
}

/// Reads an export into the configured store, which must be empty. Blocks.
///
/// # Errors
/// If the file is not what it was, or the store is not empty, in use, or cannot be written.
pub fn import_store(config: &Config, file: &Path, seal: &Seal) -> Result<MovedStore, MoveError> {
    super::state_folder::make_folder(config)?;
    let clock = Clock::default();
    let threads = GatewayThreads::start(1, 2).map_err(StartError::Threads)?;
    let runtime = threads.background().handle();
    let target = match &config.store {
        StoreSettings::Embedded => ImportTarget::Embedded(store_options(config, &clock)),
        StoreSettings::Postgres(settings) | StoreSettings::Redis(settings) => {
            let database = runtime.block_on(open_database(&config.store, runtime));
            let options = shared_options(config, settings, &clock);
            let database = database.map_err(StartError::from)?;
            ImportTarget::Shared { database, options: Box::new(options) }
        }
    };
    let imported = runtime.block_on(import_file(target, file, seal))?;
    if let Some(keys) = imported.signing_keys {
        let options = gateway::key_options(config, clock.now());
        import_keys(&options, keys).map_err(MoveError::ImportKeys)?;
    }
    Ok(MovedStore { kind: kind(&config.store), counts: imported.counts })
}

fn kind(store: &StoreSettings) -> &'static str {
    match store {
        StoreSettings::Embedded => "embedded",
        StoreSettings::Postgres(_) => "postgres",
        StoreSettings::Redis(_) => "redis",
    }
}
