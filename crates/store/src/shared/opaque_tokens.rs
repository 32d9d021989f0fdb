//! Opaque access tokens in the shared store.
//!
//! The session's record lists its tokens; a group of one member, named by the token's digest, leads
//! to the session. A group may name a session that has forgotten the token, or that never got it
//! because a step was cut off: then the token is refused. A group goes by itself when its token has
//! expired, so that ending a session costs nothing here.

use super::SharedStore;
use super::records::bounded;
use super::session_record::session_id;
use super::sessions::REVOCATION_MARGIN;
use crate::{OpaqueToken, Session, StoreError};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::Digest;

impl SharedStore {
    /// Makes a token findable that the session's record is about to list. This comes before the
    /// record: a listed token that nobody finds would be refused to its owner.
    pub(super) async fn join_token(
        &self,
        id: SessionId,
        token: &OpaqueToken,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let until = token.expires.plus(self.leeway()).plus(REVOCATION_MARGIN);
        let keep = bounded(until.since(now));
        let group = self.opaque_token_group(token.digest);
        let member = id.0.as_bytes().as_slice();
        self.records.step(self.records.database.join(group, member, keep)).await
    }

    /// The live session whose record lists this token.
    pub(super) async fn session_of_token(
        &self,
        token: Digest,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let group = self.opaque_token_group(token);
        let members = self.records.step(self.records.database.members(group)).await?;
        for id in members.iter().filter_map(|member| session_id(member)) {
            let session = self.find_session(id, now).await?;
            if let Some(session) = session.filter(|session| session.token(&token).is_some()) {
                return Ok(Some(session));
            }
        }
        Ok(None)
    }

    /// Another name than that of `token_group`, which is about the tokens of others.
    fn opaque_token_group(&self, token: Digest) -> Digest {
        self.records.seal.name(&[b"session of opaque token", &token.0])
    }
}
