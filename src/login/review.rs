//! Sessions end when their users change.
//!
//! Looked at before the first connection is accepted, whenever a source says that its users may
//! have changed, and after a reload, which may not know their issuer any more.

use super::Services;
use crate::clock::Timestamp;
use crate::session::{Revoke, Session, StoreError};
use crate::telemetry::audit::{Actor, AuditEvent};
use crate::users::SourceError;

/// Ends every session whose user is gone, disabled or not as he was at login. Answers how many.
/// Sessions whose source cannot be asked stay: their next refresh is answered 503.
///
/// # Errors
/// When the store could not be asked, or not write; what could be ended has been.
pub(crate) async fn review_sessions(
    services: &Services,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut ended = 0;
    let mut failed = None;
    for session in services.store.list(None, usize::MAX, now).await? {
        match services.still_is(&session, now).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, session = %session.id, "a session could not be compared with its user");
                continue;
            }
        }
        let actor = Actor { address: None, request_id: "-", login: &session.login };
        let event = AuditEvent::Revoked { session: session.id, cause: "the user changed" };
        services.audit.write(now, &actor, &event);
        // In force at once, even where it could not be written: the others must not wait for it.
        let revoked = services.store.revoke(Revoke::Session(session.id), now).await;
        failed = revoked.err().or(failed);
        services.streams.end(session.id);
        ended += 1;
    }
    failed.map_or(Ok(ended), Err)
}

impl Services {
    /// Whether the user of `session` still is who he was when it began.
    pub(super) async fn still_is(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<bool, SourceError> {
        if let Some(still) = self.still_trades(session, now) {
            return Ok(still);
        }
        let user = self.users.find(&session.source, &session.subject, &session.username).await?;
        Ok(user.is_some_and(|user| user.version == session.user_version))
    }
}
