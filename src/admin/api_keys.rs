//! The API keys of the running gateway: listing them, and revoking one.
//!
//! A revocation is kept in the store and works at once. The key stays in the configuration until
//! the operator removes it.

use std::time::Duration;

use serde_json::json;

use super::operations::{AdminOperations, CommandResult, failed, unknown};
use crate::authn::key_digest;
use crate::clock::day_ended;
use crate::session::{RevocationTarget, StreamOrigin};

/// How long a revocation is kept. A key may have no end, and its revocation must not end before the
/// key. A hundred years is long enough, and a date that every format can express.
const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl AdminOperations {
    /// Every key of the configuration in effect, with the note whether it is revoked. Hashes are
    /// left out.
    pub(super) fn list_api_keys(&self) -> CommandResult {
        let revocations = self.gateway.shared.store.revocations();
        let generation = self.gateway.generation();
        let listed = generation.config.api_keys.keys.iter().map(|key| {
            json!({
                "id": key.id,
                "name": key.name,
                "roles": key.roles,
                "scopes": key.scopes,
                "expires": key.expires.map(day_ended),
                "revoked": revocations.token_revoked(&key_digest(key)),
            })
        });
        Ok(json!({ "keys": listed.collect::<Vec<_>>() }))
    }

    /// Refuses a key from now on, whatever the configuration says, and ends the streams that it has
    /// opened. An unknown id is an error: a mistyped one must not look like a revoked key.
    pub(super) async fn revoke_api_key(&self, id: &str) -> CommandResult {
        let shared = &self.gateway.shared;
        let generation = self.gateway.generation();
        let key = generation.config.api_keys.keys.iter().find(|key| key.id == id);
        // The digest, not the id, is revoked: a new key with the same id is another key.
        let digest = key_digest(key.ok_or_else(|| unknown(&format!("API key `{id}`")))?);
        let now = shared.clock.now();
        let revoked =
            shared.store.revoke(RevocationTarget::Token { digest, until: now.plus(FOR_EVER) }, now);
        let revoked = revoked.await;
        // The streams are ended even if the store could not make the revocation durable, as at a
        // logout.
        shared.cancellations.streams.end(StreamOrigin::Entry(digest));
        self.audit("api-key revoke", id);
        revoked.map_err(failed)?;
        Ok(json!({}))
    }
}
