//! The opaque access tokens of sessions, by digest.
//!
//! The session's own row lists its tokens; the table `opaque_tokens` only leads from a token to its
//! session. Invariant: it has exactly the tokens that the rows of sessions list, so its rows need no
//! expiry of their own. A session that is gone, or that has forgotten the token, takes the row along.

use redb::ReadableTable;

use super::session_rows::session_id;
use super::tables::{StoreFault, Tables};
use crate::{OpaqueToken, Session};
use tollhouse_core::identity::SessionId;
use tollhouse_core::secret::Digest;

/// The session that a token leads to. It may have ended.
pub(super) fn session_of(
    tables: &Tables<'_>,
    token: &Digest,
) -> Result<Option<SessionId>, StoreFault> {
    let row = tables.rows().opaque_tokens.get(&token.0)?;
    Ok(row.map(|id| session_id(id.value())))
}

/// Makes all tokens of a session findable that is being stored.
pub(super) fn index(tables: &mut Tables<'_>, session: &Session) -> Result<(), StoreFault> {
    for token in &session.tokens {
        tables.change().opaque_tokens.insert(&token.digest.0, session.id.0.as_bytes())?;
    }
    Ok(())
}

/// Adds a token that is being issued to a session, if there is one. The caller saves the session.
pub(super) fn add(
    tables: &mut Tables<'_>,
    session: &mut Session,
    issued: Option<OpaqueToken>,
) -> Result<(), StoreFault> {
    let Some(token) = issued else { return Ok(()) };
    let forgotten = session.add_token(token);
    remove(tables, &forgotten)?;
    tables.change().opaque_tokens.insert(&token.digest.0, session.id.0.as_bytes())?;
    Ok(())
}

/// Removes the rows of tokens that no session lists any more.
pub(super) fn remove(tables: &mut Tables<'_>, tokens: &[OpaqueToken]) -> Result<(), StoreFault> {
    for token in tokens {
        tables.change().opaque_tokens.remove(&token.digest.0)?;
    }
    Ok(())
}
