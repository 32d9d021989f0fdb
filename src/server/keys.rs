//! The signing keys of a configuration: the keys that a start opens, and the faults of an operator's
//! folder that `check` reports before a start.
//!
//! A folder that the gateway manages is created and filled by `open`, so nothing can be wrong with
//! it beforehand. Nothing here prints or logs a key.

use std::sync::Arc;

use super::StartError;
use crate::clock::{Clock, Timestamp};
use crate::gateway;
use crate::runtime::BackgroundRuntime;
use crate::session::OpenedStore;
use crate::settings::{Config, SigningKeyStorage};
use crate::token::{SigningKeys, unsigned_algorithms};

/// Opens the signing keys. If the operator manages the folder, a missing key is reported together
/// with the login that needs it. Warnings of the ring, such as a file that was left out, are logged.
pub(super) fn open(
    config: &Config,
    clock: &Clock,
    background: &BackgroundRuntime,
    store: &OpenedStore,
) -> Result<Arc<SigningKeys>, StartError> {
    if let Some(first) = check_keys(config, clock.now()).into_iter().next() {
        return Err(first);
    }
    let options = gateway::key_options(config, clock.now());
    let managed = gateway::managed_keys(config);
    let shared = store.shared().cloned();
    let opening = SigningKeys::open(options, &managed, shared, background.clone(), clock.clone());
    let keys = background.handle().block_on(opening)?;
    for warning in keys.ring().warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Arc::new(keys))
}

/// The faults that a start would report for a folder of keys that the operator manages. A missing
/// key is a fault, because a login without a key could issue no tokens.
pub(super) fn check_keys(config: &Config, now: Timestamp) -> Vec<StartError> {
    let SigningKeyStorage::Path(folder) = &config.token.keys else { return Vec::new() };
    let missing = match unsigned_algorithms(&gateway::key_options(config, now)) {
        Ok(missing) => missing,
        Err(error) => return vec![error.into()],
    };
    let logins =
        config.logins.iter().map(|login| (format!("login `{}`", login.name), login.algorithm));
    // Each login without a key is named, so that one check shows all that is missing.
    let logins: Vec<_> = logins.filter(|(_, algorithm)| missing.contains(algorithm)).collect();
    // Tokens for upstreams are signed with the algorithm of `[token]`, even if no login uses it.
    let general = Some(("[token]".to_owned(), config.token.algorithm)).filter(|(_, algorithm)| {
        missing.contains(algorithm) && logins.iter().all(|(_, named)| named != algorithm)
    });
    let needed = logins.into_iter().chain(general);
    needed
        .map(|(needed_by, algorithm)| StartError::NoKey {
            needed_by,
            algorithm,
            folder: folder.clone(),
        })
        .collect()
}
