//! Sessions end when their users change.
//!
//! Looked at before the first connection is accepted, and whenever a source says that its users
//! may have changed.

use super::Services;
use crate::clock::Timestamp;
use crate::session::{Revoke, StoreError};
use crate::telemetry::audit::{Actor, AuditEvent};

/// Ends every session whose user is gone, disabled or not as he was at login. Answers how many.
/// Sessions whose source cannot be asked stay: their next refresh is answered 503.
pub(crate) async fn review_sessions(
    services: &Services,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut ended = 0;
    for session in services.store.list(None, usize::MAX, now).await? {
        let found = match services.users.find(&session.source, &session.subject).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, session = %session.id, "a session could not be compared with its user");
                continue;
            }
        };
        if found.is_some_and(|user| user.version == session.user_version) {
            continue;
        }
        services.streams.end(&session.id);
        let actor = Actor { address: None, request_id: "-", login: &session.login };
        let event = AuditEvent::Revoked { session: session.id, cause: "the user changed" };
        services.audit.write(now, &actor, &event);
        services.store.revoke(Revoke::Session(session.id), now).await?;
        services.streams.end(&session.id);
        ended += 1;
    }
    Ok(ended)
}
