//! The effects of a transaction on memory: changes of the values that memory has a copy of.
//!
//! Operations collect `CommitEffects`; memory takes them over after the commit. The types are here,
//! below both, and know neither tables nor locks.

use crate::{Session, TokenOwner};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject};
use tollhouse_core::secret::Digest;

/// The changes that memory learns once a transaction is durable.
#[derive(Debug, Default)]
pub(super) struct CommitEffects {
    /// Sessions that were added or changed, and sessions that were removed (`None`), in order.
    pub(super) live: Vec<(SessionId, Option<LiveSession>)>,
    pub(super) revoked: Vec<(SessionId, Timestamp)>,
    pub(super) outlawed: Vec<(Digest, Timestamp)>,
    pub(super) cutoffs: Vec<(TokenOwner, Timestamp)>,
    /// Sessions whose refresh token was rotated by this transaction.
    pub(super) rotated: Vec<SessionId>,
    /// Whether the store is an older copy that replaced a newer one; `None` if that did not change.
    pub(super) restored: Option<Option<RestoredStore>>,
}

/// The part of a session that a revocation needs. The whole session stays in the file, so that
/// memory grows little with each session. The copy is updated with each commit that changes one of
/// these values.
#[derive(Clone, Debug)]
pub(super) struct LiveSession {
    pub(super) subject: Subject,
    pub(super) realm: String,
    pub(super) traded: Option<Digest>,
    pub(super) revoked_until: Timestamp,
}

impl LiveSession {
    pub(super) fn of(session: &Session, revoked_until: Timestamp) -> Self {
        Self {
            subject: session.subject.clone(),
            realm: session.realm.clone(),
            traded: session.traded,
            revoked_until,
        }
    }

    pub(super) fn is_of(&self, subject: &Subject, realm: Option<&str>) -> bool {
        self.subject == *subject && realm.is_none_or(|realm| self.realm == realm)
    }
}

/// A store that was put in the place of a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RestoredStore {
    /// The highest time that was seen here before the store was replaced.
    pub(super) seen: Timestamp,
    /// When the last session of the store ends.
    pub(super) until: Timestamp,
}

impl RestoredStore {
    pub(super) fn new(seen: Timestamp, until: Timestamp) -> Self {
        Self { seen, until }
    }

    /// The note for the operator; `None` once every session of the restored store has ended.
    pub(super) fn note(&self, now: Timestamp) -> Option<String> {
        (now < self.until).then(|| {
            format!(
                "the store was restored from a backup: it is older than what was seen here at {}, \
                 and sessions that ended between are alive again; `tollhouse session revoke --all` \
                 ends all",
                self.seen
            )
        })
    }
}
