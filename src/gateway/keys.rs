//! The options of the key ring that follow from a configuration.
//!
//! They are computed at the start and at every reload. The key ring in `token` does the rest: it
//! makes, publishes, uses and retires keys.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::settings::{Config, SigningKeyStorage};
use crate::token::{KeyPlace, KeyRingOptions};

/// How long a new key is published before it signs. In this time every verifier fetches the key set
/// again; else a verifier would meet a token whose key it does not know. A day covers the cache
/// times that are usual for key sets.
const PUBLISH_BEFORE: Duration = Duration::from_secs(24 * 3600);

/// The folder in which the gateway makes signing keys, unless they are somewhere else.
pub(crate) fn managed_keys(config: &Config) -> PathBuf {
    config.state.dir.join("keys")
}

/// Where the signing keys are.
fn key_place(config: &Config) -> KeyPlace {
    match &config.token.keys {
        SigningKeyStorage::Folder => KeyPlace::ManagedFolder(managed_keys(config)),
        SigningKeyStorage::Path(dir) => KeyPlace::OperatorFolder(dir.clone()),
        SigningKeyStorage::Store => KeyPlace::SharedDocument,
    }
}

/// The options of the key ring. A retired key is kept as long as the longest-lived token of any
/// login, plus the tolerated difference of clocks: its tokens must stay verifiable. The lifetime of
/// a session counts where it is longer than that of an access token.
pub(crate) fn key_options(config: &Config, now: Timestamp) -> KeyRingOptions {
    let lives = config.logins.iter().map(|login| login.refresh_ttl.max(login.access_ttl));
    let longest = lives.max().unwrap_or(config.token.refresh_ttl);
    KeyRingOptions {
        place: key_place(config),
        algorithms: algorithms(config).into_iter().collect(),
        rotate_every: config.token.rotate_every,
        publish_before: PUBLISH_BEFORE,
        keep_for: longest + config.token.leeway,
        now,
    }
}

/// Every algorithm with which tokens are signed under this configuration. The ring needs a key for
/// each.
fn algorithms(config: &Config) -> BTreeSet<Algorithm> {
    let logins = config.logins.iter().map(|login| login.algorithm);
    logins.chain([config.token.algorithm]).collect()
}

/// The longest lifetime of an access token of any login.
pub(crate) fn longest_access(config: &Config) -> Duration {
    config.logins.iter().map(|login| login.access_ttl).max().unwrap_or_default()
}
