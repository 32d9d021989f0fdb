//! Operations on sessions and their refresh tokens: store, find, rotate, revoke.
//!
//! Each function is one step inside the writer's transaction. One thread carries out all of them,
//! so nothing that a function has read can change before it writes. The functions do not touch
//! memory: they collect `CommitEffects`, which are applied after the commit.

use std::num::NonZeroUsize;
use std::ops::Bound;

use redb::ReadableTable;

use super::cutoffs;
use super::effects::LiveSession;
use super::opaque_tokens;
use super::rehashed_versions;
use super::seen;
use super::session_rows::{all, load, of_subject, save, session_id, user_key};
use super::tables::{ExpiryKind, ShortId, StoreFault, Tables};
use crate::rotation::{self, RotationStep};
use crate::{
    OpaqueToken, RefreshRotation, RevocationTarget, RotationOutcome, SealedCredential, Session,
    SessionPage,
};
use tollhouse_core::clock::Timestamp;
use tollhouse_core::identity::{SessionId, Subject};
use tollhouse_core::secret::Digest;

/// Number of sessions that one page of a walk over all sessions looks at.
const PAGE: usize = 500;

/// Stores a new session and ends the subject's oldest sessions beyond `limit`.
pub(super) fn put(
    tables: &mut Tables<'_>,
    session: &Session,
    limit: NonZeroUsize,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreFault> {
    // A session that was revoked before it is stored must not come back: `put` may run after the
    // revocation of the same id. The row in `revoked` shows it; no session is stored then.
    if tables.revoked(&session.id) || tables.rows().revoked.get(session.id.0.as_bytes())?.is_some()
    {
        return Ok(Vec::new());
    }
    // The user's password may have been re-hashed since this login began. The session then gets the
    // new user version; else the next review would end it.
    let mut session = session.clone();
    let version = session.user_version;
    session.user_version =
        rehashed_versions::latest(tables, &session.source, &session.user_id, version)?;
    if let Some(before) = load(tables, session.id)? {
        tables.change().by_user.remove(user_key(&before))?;
        opaque_tokens::remove(tables, &before.tokens)?;
    }
    save(tables, &session)?;
    tables.change().by_user.insert(user_key(&session), ())?;
    if let Some(token) = &session.traded {
        tables.change().by_token.insert((&token.0, session.id.0.as_bytes()), ())?;
    }
    opaque_tokens::index(tables, &session)?;
    tables.expire(ExpiryKind::Session, tables.outlived(&session), session.id.0.as_bytes())?;
    note_live(tables, &session);
    end_oldest(tables, &session, limit, now)
}

fn end_oldest(
    tables: &mut Tables<'_>,
    newest: &Session,
    limit: NonZeroUsize,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreFault> {
    let others = of_subject(tables, &newest.subject, Some(&newest.realm))?;
    if others.len() <= limit.get() {
        return Ok(Vec::new());
    }
    // Only now are the session rows read. Sessions that have ended but wait for the sweep do not
    // count against `limit`. The count of ids alone usually shows that there is nothing to end, so
    // most logins skip this step.
    let mut live = Vec::new();
    for id in others {
        live.extend(find(tables, id, now)?);
    }
    let excess = live.len().saturating_sub(limit.get());
    let mut ended = Vec::new();
    for session in live.iter().filter(|session| session.id != newest.id).take(excess) {
        end(tables, session, now)?;
        ended.push(session.id);
    }
    Ok(ended)
}

/// The session, if it exists, has not ended and is not revoked.
pub(super) fn find(
    tables: &Tables<'_>,
    id: SessionId,
    now: Timestamp,
) -> Result<Option<Session>, StoreFault> {
    Ok(load(tables, id)?.filter(|session| session.ends() > now && !tables.revoked(&id)))
}

/// The live session that lists this opaque token.
pub(super) fn find_by_token(
    tables: &Tables<'_>,
    token: &Digest,
    now: Timestamp,
) -> Result<Option<Session>, StoreFault> {
    let Some(id) = opaque_tokens::session_of(tables, token)? else { return Ok(None) };
    Ok(find(tables, id, now)?.filter(|session| session.token(token).is_some()))
}

/// Live sessions, oldest first, at most `limit`.
pub(super) fn list(
    tables: &Tables<'_>,
    subject: Option<&Subject>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Session>, StoreFault> {
    let ids = match subject {
        Some(subject) => of_subject(tables, subject, None)?,
        None => all(tables)?,
    };
    let mut live = Vec::new();
    for id in ids {
        if live.len() == limit {
            break;
        }
        live.extend(find(tables, id, now)?);
    }
    Ok(live)
}

/// The live sessions among the next `PAGE` rows after `after`.
pub(super) fn page(
    tables: &Tables<'_>,
    after: Option<SessionId>,
    now: Timestamp,
) -> Result<SessionPage, StoreFault> {
    let first = after.map_or([0; 16], |id| *id.0.as_bytes());
    let first = if after.is_some() { Bound::Excluded(&first) } else { Bound::Included(&first) };
    let mut page = SessionPage { sessions: Vec::new(), next: None };
    let mut looked = 0;
    for row in tables.rows().sessions.range::<&ShortId>((first, Bound::Unbounded))?.take(PAGE) {
        let id = session_id(row?.0.value());
        page.sessions.extend(find(tables, id, now)?);
        page.next = Some(id);
        looked += 1;
    }
    page.next = page.next.filter(|_| looked == PAGE);
    Ok(page)
}

/// Rotates the session's refresh token, or says why it is not rotated.
///
/// Reuse of a retired token after the grace period means that somebody else has a copy: the session
/// is ended (RFC 9700, section 4.14.2).
pub(super) fn rotate(
    tables: &mut Tables<'_>,
    id: SessionId,
    rotation: &RefreshRotation,
    now: Timestamp,
) -> Result<RotationOutcome, StoreFault> {
    let Some(mut session) = find(tables, id, now)? else { return Ok(RotationOutcome::Gone) };
    let Some(generation) = session.refresh.clone() else { return Ok(RotationOutcome::Unknown) };
    match rotation::next_step(&generation, rotation, now) {
        RotationStep::Rotate => {
            session.refresh = Some(rotation::successor(&generation, rotation, now));
            session.last_used = session.last_used.max(now);
            opaque_tokens::add(tables, &mut session, rotation.issued)?;
            use_until(tables, &mut session, rotation.access_until)?;
            tables.effects.rotated.push(id);
            Ok(RotationOutcome::Rotated(Box::new(session)))
        }
        RotationStep::Fresh => {
            if rotation.issued.is_some() {
                opaque_tokens::add(tables, &mut session, rotation.issued)?;
                use_until(tables, &mut session, rotation.access_until)?;
            } else {
                extend(tables, &mut session, rotation.access_until)?;
            }
            Ok(RotationOutcome::Fresh(Box::new(session)))
        }
        RotationStep::Grace => {
            // A repeated refresh does not count as use. Else a client with a stolen, retired token
            // could keep an idle session alive.
            session.refresh = Some(rotation::repeated(&generation, now));
            opaque_tokens::add(tables, &mut session, rotation.issued)?;
            use_until(tables, &mut session, rotation.access_until)?;
            Ok(RotationOutcome::Grace(Box::new(session)))
        }
        RotationStep::Reuse => reuse(tables, session, now),
        RotationStep::Unnamed if is_retired(tables, id, rotation.presented)? => {
            reuse(tables, session, now)
        }
        RotationStep::Unnamed | RotationStep::Unknown => Ok(RotationOutcome::Unknown),
    }
}

/// True if the table of tokens from before schema 4, which have no generation number, names this
/// one as retired.
fn is_retired(tables: &Tables<'_>, id: SessionId, token: Digest) -> Result<bool, StoreFault> {
    let key = (id.0.as_bytes(), &half(token));
    Ok(tables.rows().retired.get(key)?.is_some())
}

fn reuse(
    tables: &mut Tables<'_>,
    session: Session,
    now: Timestamp,
) -> Result<RotationOutcome, StoreFault> {
    end(tables, &session, now)?;
    Ok(RotationOutcome::Reuse(Box::new(session)))
}

/// The values that a refresh without rotation records, see `SessionStore::renew`.
pub(super) struct SessionRenewal {
    pub(super) presented: Option<Digest>,
    pub(super) access_until: Timestamp,
    pub(super) issued: Option<OpaqueToken>,
}

/// Records a refresh without rotation; `None` if the session is gone or the token is not the
/// current one. Invariant: a refresh never moves `last_used` or `access_until` back.
pub(super) fn renew(
    tables: &mut Tables<'_>,
    id: SessionId,
    renewal: &SessionRenewal,
    now: Timestamp,
) -> Result<Option<Session>, StoreFault> {
    let Some(mut session) = find(tables, id, now)? else { return Ok(None) };
    let working = session.refresh.as_ref().map(|generation| generation.current);
    if renewal.presented.is_some() && renewal.presented != working {
        return Ok(None);
    }
    session.last_used = session.last_used.max(now);
    opaque_tokens::add(tables, &mut session, renewal.issued)?;
    use_until(tables, &mut session, renewal.access_until)?;
    Ok(Some(session))
}

/// Moves the end of an opaque token that the session lists, see `SessionStore::move_token`.
pub(super) fn move_token(
    tables: &mut Tables<'_>,
    id: SessionId,
    token: &Digest,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<Session>, StoreFault> {
    let Some(mut session) = find(tables, id, now)? else { return Ok(None) };
    if !session.move_token(token, until, now) {
        return Ok(None);
    }
    let access_until = until.min(session.expires);
    use_until(tables, &mut session, access_until)?;
    Ok(Some(session))
}

/// Replaces the credential that is kept with a live session. When the session ends does not change.
pub(super) fn keep_credential(
    tables: &mut Tables<'_>,
    id: SessionId,
    credential: &SealedCredential,
    now: Timestamp,
) -> Result<bool, StoreFault> {
    let Some(mut session) = find(tables, id, now)? else { return Ok(false) };
    session.kept = Some(credential.clone());
    save(tables, &session)?;
    Ok(true)
}

/// Ends sessions, or refuses one token, or sets cut-offs. Returns the ids of the sessions that
/// ended. The effects reach memory after the commit.
pub(super) fn revoke(
    tables: &mut Tables<'_>,
    what: &RevocationTarget,
    now: Timestamp,
) -> Result<Vec<SessionId>, StoreFault> {
    let ids = match what {
        RevocationTarget::Session(id) => vec![*id],
        RevocationTarget::Siblings(id) => match load(tables, *id)? {
            Some(session) => of_subject(tables, &session.subject, Some(&session.realm))?,
            None => Vec::new(),
        },
        RevocationTarget::Subject { subject, realm } => {
            of_subject(tables, subject, realm.as_deref())?
        }
        RevocationTarget::All => {
            seen::settle(tables)?;
            all(tables)?
        }
        RevocationTarget::Token { digest, until } => {
            revoke_token(tables, *digest, *until)?;
            of_token(tables, *digest)?
        }
        RevocationTarget::Tokens { of } => {
            for owner in of {
                cutoffs::keep(tables, owner, now)?;
            }
            Vec::new()
        }
    };
    let mut ended = Vec::new();
    for id in ids {
        // A session that has idled out and waits for the sweep is ended too: an access token of it
        // may still be valid. Its revocation must be recorded like every other.
        if let Some(session) = load(tables, id)? {
            end(tables, &session, now)?;
            ended.push(id);
        }
    }
    Ok(ended)
}

fn revoke_token(
    tables: &mut Tables<'_>,
    digest: Digest,
    until: Timestamp,
) -> Result<(), StoreFault> {
    let marked_until =
        tables.rows().outlawed.get(&digest.0)?.map(|marked_until| marked_until.value());
    if marked_until.is_none_or(|marked_until| marked_until < until.millis()) {
        tables.change().outlawed.insert(&digest.0, until.millis())?;
        tables.expire(ExpiryKind::Outlawed, until, &digest.0)?;
    }
    tables.effects.outlawed.push((digest, until));
    Ok(())
}

/// Ends a session and records that its tokens are refused until the last of them has expired.
fn end(tables: &mut Tables<'_>, session: &Session, now: Timestamp) -> Result<(), StoreFault> {
    let until = tables.revoked_until(session);
    remove(tables, session, now)?;
    tables.change().revoked.insert(session.id.0.as_bytes(), until.millis())?;
    tables.expire(ExpiryKind::Revoked, until, session.id.0.as_bytes())?;
    tables.effects.revoked.push((session.id, until));
    Ok(())
}

/// Removes the rows of a session. A session from before schema 4 may have thousands of retired
/// tokens; the sweep removes those piece by piece, so that this step stays short.
pub(super) fn remove(
    tables: &mut Tables<'_>,
    session: &Session,
    now: Timestamp,
) -> Result<(), StoreFault> {
    let id = session.id.0.as_bytes();
    tables.change().sessions.remove(id)?;
    tables.change().by_user.remove(user_key(session))?;
    if let Some(token) = &session.traded {
        tables.change().by_token.remove((&token.0, id))?;
    }
    opaque_tokens::remove(tables, &session.tokens)?;
    if tables.rows().retired.range((id, &[0; 16])..=(id, &[u8::MAX; 16]))?.next().is_some() {
        tables.expire(ExpiryKind::Retired, now, id)?;
    }
    tables.effects.live.push((session.id, None));
    Ok(())
}

/// Restarts the grace period of the last rotation at `now`. It is called after a crash, when the
/// answer to that rotation may never have reached the client.
pub(super) fn begin_grace_anew(
    tables: &mut Tables<'_>,
    id: SessionId,
    now: Timestamp,
) -> Result<(), StoreFault> {
    let Some(mut session) = load(tables, id)? else { return Ok(()) };
    if let Some((_, at)) = session.refresh.as_mut().and_then(|refresh| refresh.retired.as_mut()) {
        *at = (*at).max(now);
        save(tables, &session)?;
    }
    Ok(())
}

/// The ids of the sessions that this foreign token was exchanged for.
fn of_token(tables: &Tables<'_>, token: Digest) -> Result<Vec<SessionId>, StoreFault> {
    let first: ShortId = [0; 16];
    let last: ShortId = [u8::MAX; 16];
    let mut ids = Vec::new();
    for row in tables.rows().by_token.range((&token.0, &first)..=(&token.0, &last))? {
        ids.push(session_id(row?.0.value().1));
    }
    Ok(ids)
}

/// Like `use_until`, for a session in which nothing else has changed: if an access token valid for
/// as long was issued before, nothing is written.
fn extend(
    tables: &mut Tables<'_>,
    session: &mut Session,
    until: Timestamp,
) -> Result<(), StoreFault> {
    if until > session.access_until { use_until(tables, session, until) } else { Ok(()) }
}

/// Saves the session after an access token valid until `until` was issued for it.
fn use_until(
    tables: &mut Tables<'_>,
    session: &mut Session,
    until: Timestamp,
) -> Result<(), StoreFault> {
    let before = tables.revoked_until(session);
    session.access_until = session.access_until.max(until);
    // Memory keeps its own copy of this time, for revocations while the disk fails.
    if tables.revoked_until(session) != before {
        note_live(tables, session);
    }
    save(tables, session)
}

fn note_live(tables: &mut Tables<'_>, session: &Session) {
    let live = LiveSession::of(session, tables.revoked_until(session));
    tables.effects.live.push((session.id, Some(live)));
}

fn half(digest: Digest) -> ShortId {
    let mut half = [0; 16];
    half.copy_from_slice(digest.0.split_at(16).0);
    half
}
