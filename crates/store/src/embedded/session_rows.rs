//! The rows of sessions: read, write, and find by subject.
//!
//! Nothing here decides anything. What happens to a session is in `sessions`; re-hashes and
//! upgrades change rows of sessions, too.

use redb::ReadableTable;

use super::tables::{ShortId, StoreFault, Tables};
use crate::Session;
use tollhouse_core::identity::{SessionId, Subject};

/// The session row, whether or not the session has ended, until the sweep removes it.
pub(super) fn load(tables: &Tables<'_>, id: SessionId) -> Result<Option<Session>, StoreFault> {
    let row = tables.rows().sessions.get(id.0.as_bytes())?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

pub(super) fn save(tables: &mut Tables<'_>, session: &Session) -> Result<(), StoreFault> {
    let row = serde_json::to_vec(session)?;
    tables.change().sessions.insert(session.id.0.as_bytes(), row.as_slice())?;
    Ok(())
}

/// The ids of a subject's sessions in this realm, or in all realms; oldest first.
pub(super) fn of_subject(
    tables: &Tables<'_>,
    subject: &Subject,
    realm: Option<&str>,
) -> Result<Vec<SessionId>, StoreFault> {
    let mut found = Vec::new();
    let first = (subject.as_str(), realm.unwrap_or_default(), 0, &[0; 16]);
    for row in tables.rows().by_user.range(first..)? {
        let row = row?.0;
        let (of, within, created, id) = row.value();
        if of != subject.as_str() || realm.is_some_and(|realm| realm != within) {
            break;
        }
        found.push((created, session_id(id)));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

/// The ids of all sessions, oldest first.
pub(super) fn all(tables: &Tables<'_>) -> Result<Vec<SessionId>, StoreFault> {
    let mut ids = Vec::new();
    for row in tables.rows().sessions.iter()? {
        ids.push(session_id(row?.0.value()));
    }
    Ok(ids)
}

/// The key of a session in the table `by_user`.
type UserKey<'a> = (&'a str, &'a str, u64, &'a ShortId);

pub(super) fn user_key(session: &Session) -> UserKey<'_> {
    let subject = session.subject.as_str();
    let realm = session.realm.as_str();
    (subject, realm, session.created.millis(), session.id.0.as_bytes())
}

pub(super) fn session_id(bytes: &ShortId) -> SessionId {
    SessionId(uuid::Uuid::from_bytes(*bytes))
}
