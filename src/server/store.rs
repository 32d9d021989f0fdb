//! Opens the store of a start, and knows when an empty one must not be made.

use std::fs;
use std::path::PathBuf;

use super::shared_store::open_shared_store;
use super::{ServerOptions, StartError};
use crate::clock::Clock;
use crate::gateway;
use crate::identity::IdRules;
use crate::runtime::GatewayThreads;
use crate::session::{EmbeddedOptions, EmbeddedStore, OpenedStore};
use crate::settings::{Config, SigningKeyStorage};

/// Opens the store. This comes before the keys are made: keys without a store are a sign that the
/// store was lost, and with it the revocations. Such a start is refused.
pub(super) fn open_store(
    config: &Config,
    options: &ServerOptions,
    threads: &GatewayThreads,
) -> Result<OpenedStore, StartError> {
    if let Some(settings) = config.store.shared() {
        let runtime = threads.background().handle();
        return open_shared_store(config, settings, options, runtime).map(OpenedStore::Shared);
    }
    let keys = gateway::managed_keys(config);
    let keys_exist = fs::read_dir(keys).is_ok_and(|mut entries| entries.next().is_some());
    Ok(OpenedStore::Embedded(EmbeddedStore::open(EmbeddedOptions {
        // The operator's own keys exist before the first start, so they are no sign of an earlier
        // one.
        keys_exist: keys_exist && config.token.keys == SigningKeyStorage::Folder,
        new_state: options.new_state,
        backend_faults: options.store_faults.clone(),
        ..store_options(config, &options.clock)
    })?))
}

/// The options of the store that follow from the configuration.
pub(super) fn store_options(config: &Config, clock: &Clock) -> EmbeddedOptions {
    EmbeddedOptions {
        path: store_path(config),
        clock: clock.clone(),
        leeway: config.token.leeway,
        longest_access: gateway::longest_access(config),
        ids: id_rules(config),
        keys_exist: false,
        new_state: false,
        backend_faults: None,
    }
}

pub(super) fn store_path(config: &Config) -> PathBuf {
    config.state.dir.join("store.redb")
}

fn id_rules(config: &Config) -> IdRules {
    IdRules::new(config.users.iter().map(|source| (source.name.clone(), source.id_rule())))
}
