//! The options of the key ring that a configuration asks for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::token::KeyRingOptions;

/// A new key is published for so long before it signs, so that every verifier has fetched it.
const PUBLISH_BEFORE: Duration = Duration::from_secs(24 * 3600);

/// The folder of the signing keys: the operator's own, or the one in the state folder.
pub(crate) fn key_folder(config: &Config) -> PathBuf {
    config.token.keys.clone().unwrap_or_else(|| config.state.dir.join("keys"))
}

/// The ring's options. A retired key is kept for as long as the longest token of any login lives.
pub(crate) fn key_options(config: &Config, now: Timestamp) -> KeyRingOptions {
    let lives = config.logins.iter().map(|login| login.refresh_ttl.max(login.access_ttl));
    let longest = lives.max().unwrap_or(config.token.refresh_ttl);
    KeyRingOptions {
        dir: key_folder(config),
        managed: config.token.keys.is_none(),
        algorithms: algorithms(config).into_iter().collect(),
        rotate_every: config.token.rotate_every,
        publish_before: PUBLISH_BEFORE,
        keep_for: longest + config.token.leeway,
        now,
    }
}

/// Every algorithm that tokens of this configuration are signed with.
fn algorithms(config: &Config) -> BTreeSet<Algorithm> {
    let logins = config.logins.iter().map(|login| login.algorithm);
    logins.chain([config.token.algorithm]).collect()
}

/// The longest life of an access token of any login.
pub(crate) fn longest_access(config: &Config) -> Duration {
    config.logins.iter().map(|login| login.access_ttl).max().unwrap_or_default()
}
