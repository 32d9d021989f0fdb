//! The record of a session in the shared store, and the facts that operations pass on about one.

use serde::{Deserialize, Serialize};

use super::database::{RecordKey, RecordKind};
use crate::Session;
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::SessionId;

/// Number of sessions that one page of a walk over all sessions looks at.
pub(super) const PAGE: usize = 500;
/// Number of records that one operation reads or ends at the same time.
pub(super) const AT_ONCE: usize = 32;
/// The record of a session. The names are part of what is stored, so they must never change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum SessionRecord {
    Live(Box<Session>),
    /// The session has ended; its access tokens are refused until then.
    Ended(Timestamp),
}

pub(super) fn session_key(id: SessionId) -> RecordKey {
    RecordKey { kind: RecordKind::Session, id: id.0.as_bytes().to_vec() }
}

/// The id of a session among the bytes of a group or a walk.
pub(super) fn session_id(bytes: &[u8]) -> Option<SessionId> {
    uuid::Uuid::from_slice(bytes).ok().map(SessionId)
}

/// A session that was just ended, or was ended before.
pub(super) struct EndedSession {
    pub(super) id: SessionId,
    pub(super) until: Timestamp,
    /// The session as it was; `None` if it had ended before.
    pub(super) session: Option<Box<Session>>,
}

impl EndedSession {
    /// A live session that has just been ended.
    pub(super) fn new(session: &Session, until: Timestamp) -> Self {
        Self { id: session.id, until, session: Some(Box::new(session.clone())) }
    }
}
